// One response of the gateway over as many connections as it takes, by its offsets.

import { DONE, ENDS, errorIn, errorOf, isChunk, isEventStream, isTyped, readJson, retryAfter, type Choice, type Chunk } from "./chunk.js";
import { pause } from "./clock.js";
import { asError, EverytokenError, notAnEventStream, truncated } from "./errors.js";
import { backOff, type Surroundings } from "./policy.js";
import { ask, read } from "./read.js";

const KEEP_ALIVE_MS = 16_000; // the gateway is never quiet for longer

/** How the path of a request for an answer of a model ends, or for one that is kept. */
export const API = /\/(chat\/completions|messages|responses(?:\/([^/]+))?)$/;

/** One event: a chunk (of Messages and Responses an event), the error with which the response ended, or (neither) the end mark. */
export interface Piece {
  data: string;
  id: string;
  event?: string;
  chunk?: Chunk | undefined;
  error?: EverytokenError | undefined;
}

export interface Following {
  /** The response's own URL, "" until the gateway has said it. */
  url: string;
  /** Behind the last record that was given out; "" for the start. */
  offset: string;
  /** Whether there may be nothing behind that. */
  rest?: boolean;
  /** The request that begins the response; its Idempotency-Key lets it be sent again. */
  post?: { url: string; init: RequestInit };
  /** What every other request has. */
  init: RequestInit;
  signal: AbortSignal;
  /** Called when a connection is there, and when it is lost. */
  changed?: (open: boolean) => void;
}

/** The response's URL in an answer of the gateway, on the host that was asked whatever the header says; "" for others. */
export function streamUrl(response: Response, asked: string): string {
  const location = /\/stream\/[\w-]+$/.exec(response.headers.get("Location") ?? "");
  if (!location) return "";
  const url = new URL(response.url || asked, asked);
  // A redirect to another host is not followed with our credentials.
  if (url.origin !== new URL(asked).origin) return "";
  // Beside the request, where a proxy has it under a prefix that the gateway does not know of.
  const beside = url.pathname.replace(API, location[0]);
  return url.origin + (beside === url.pathname ? new URL(location.input, url).pathname : beside);
}

/** The headers of a request as far as they are not about its body. */
export function withoutBody(headers: Headers): Headers {
  const kept = new Headers(headers);
  for (const name of ["Content-Type", "Content-Length", "Idempotency-Key"]) kept.delete(name);
  return kept;
}

/** Give every event of a response exactly once and in order, from `of.offset` on, its end as the last. */
export async function* follow(of: Following, around: Surroundings, response?: Response): AsyncGenerator<Piece, void> {
  const { clock, policy } = around;
  const { signal } = of;
  const silent = () => new EverytokenError("upstream-stalled-gap", "the connection is silent");
  let finished = false;
  let given = false;
  let seen = ""; // the offset that was read up to before, when only the end is wanted
  let failures = 0;
  let since = clock.now();
  for (;;) {
    const { offset } = of;
    let wait: number | undefined;
    try {
      if (!response) {
        const [url, init] = of.url ? resume(of) : [of.post!.url, of.post!.init];
        response = await ask(around, url, { ...init, signal }, (policy.connect + policy.firstContent) * 1000, silent);
        of.url ||= streamUrl(response, url);
      }
      if (response.status === 204 && of.rest && !given) return;
      if (response.status === 204 && finished) {
        yield { data: DONE, id: offset }; // closed, and we have all of it
        return;
      }
      if (response.status === 204 && offset) {
        // Somebody has come back behind the last record, and only the records tell how it ended.
        seen = offset;
        of.offset = "";
        response = undefined;
        continue;
      }
      if (!response.ok) throw await errorOf(response);
      if (!isEventStream(response)) throw notAnEventStream();
      of.changed?.(true);
      for await (const { event, data, id } of read(response, clock, () => policy.silence * 1000, silent, KEEP_ALIVE_MS)) {
        const value = data !== DONE && readJson(data);
        const error = errorIn(value, event);
        const chunk = !error && (isChunk(value) || isTyped(value)) ? value : undefined;
        const end = error || data === DONE || ENDS.test(value?.type);
        finished ||= !!chunk?.choices?.some((choice: Choice) => choice.finish_reason);
        of.offset = id; // only now: an offset is committed together with its data
        if (end || (chunk && !seen)) {
          given = true;
          yield { data, id, event, chunk, error };
          if (end) return;
        }
        if (id === seen) seen = "";
      }
      if (finished && !of.url) {
        yield { data: DONE, id: "" }; // another server, which does not send it
        return;
      }
      throw truncated();
    } catch (cause) {
      signal.throwIfAborted();
      const error = asError(cause);
      if (of.offset !== offset) {
        failures = 0; // it moved: a new failure, not one more in a row
        since = clock.now();
      }
      failures++;
      // Where text for people came first, the events are at the Location.
      wait = of.url && error.code === "not-an-event-stream" && failures < 2 ? 0 : retryAfter(error.cause, clock.now());
      const over = of.url ? clock.now() - since >= policy.away * 1000 : given || failures >= policy.attempts;
      if (over || !error.retryable || wait! > policy.retryAfterMax * 1000) throw error;
    }
    response?.body?.cancel().catch(() => {});
    response = undefined;
    of.changed?.(false);
    await pause(clock, wait ?? backOff(around, failures), signal);
    signal.throwIfAborted();
  }
}

function resume({ url, offset, init }: Following): [string, RequestInit] {
  const sent = new Headers(init.headers);
  sent.set("Accept", "text/event-stream");
  if (offset) sent.set("Last-Event-ID", offset);
  return [`${url}/events`, { ...init, headers: sent, cache: "no-store" }];
}
