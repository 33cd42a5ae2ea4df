import { systemClock, type Clock } from "./clock.js";

/** How long to wait and how often to try; seconds. The gateway and the Python client use the same names and values. */
export interface Policy {
  /** Until the request is on its way. */
  connect: number;
  /** From there to the first content; comments and empty deltas are not content. */
  firstContent: number;
  /** Between two pieces of content. Behind the gateway, which knows better, only `silence` counts. */
  contentGap: number;
  /** In place of both while bytes of any kind come; ten times as long if it is not given. */
  thinking?: number;
  /** In place of both for the last attempt, which nothing can replace; twenty times as long if it is not given. */
  giveUp?: number;
  /** For a whole answer in one piece. */
  nonStreaming: number;
  /** How long usage and `[DONE]` may lag behind the finish_reason. */
  linger: number;
  /** Without a byte from the gateway, which sends a comment every 15 s. */
  silence: number;
  /** How many may fail. */
  attempts: number;
  /** Doubles with every failure up to `backoffMax`; half of it is jitter. */
  backoff: number;
  backoffMax: number;
  /** The longest `Retry-After` that is waited for. */
  retryAfterMax: number;
  /** How long the gateway may be out of reach, or give nothing new, before reading ends. */
  away: number;
}

export const DEFAULTS: Policy = {
  connect: 10,
  firstContent: 30,
  contentGap: 30,
  nonStreaming: 300,
  linger: 10,
  silence: 45,
  attempts: 3,
  backoff: 0.5,
  backoffMax: 8,
  retryAfterMax: 30,
  away: 300,
};

/** What reading needs from outside. */
export interface Surroundings {
  fetch: typeof globalThis.fetch;
  policy: Policy;
  clock: Clock;
}

export interface ReadOptions {
  /** The defaults are the gateway's. */
  policy?: Partial<Policy>;
  /** What to ask with, in place of the platform's `fetch`. */
  fetch?: typeof globalThis.fetch;
  /** For tests. */
  clock?: Clock;
}

export const surroundings = ({ policy, fetch, clock = systemClock }: ReadOptions): Surroundings => ({
  // Looked up at each call: a page or a test may replace it, and browsers insist on its `this`.
  fetch: fetch ?? ((input, init) => globalThis.fetch(input, init)),
  policy: { ...DEFAULTS, ...policy },
  clock,
});

/** Milliseconds before the next try after `failures` in a row. */
export const backOff = ({ policy, clock }: Surroundings, failures: number) =>
  Math.min(policy.backoff * 2 ** (failures - 1), policy.backoffMax) * (500 + 500 * clock.random());

/** Seconds that an attempt may take for what has the limit `seconds`. The last one is not given up for nothing. */
export const limitOf = ({ giveUp }: Policy, seconds: number, last: boolean) =>
  last ? Math.max(seconds, giveUp ?? 20 * seconds) : seconds;
