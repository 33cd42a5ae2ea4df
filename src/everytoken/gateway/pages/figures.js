// What stands under an answer: its tokens, how fast they came, what they cost, and what it took to bring them here.

import { el } from "./elements.js";
import { authorized } from "./key.js";

const LONG_MS = 150; // a pause that counts as one
const PAUSES = 50; // of them, the longest are kept
const LATE_MS = 2000; // what an answer may take from the gateway to the page
const SHORT_MS = 50; // text that came in less has no speed

/** The result of a response, as the gateway tells it: {outcome, usage, cost, attempts}; null if it does not know it. Rejects if it cannot be asked now. */
export async function resultOf(stream) {
  const response = await authorized(`v1/stream/${stream}/result`);
  if (response.status >= 500 || response.status === 429) throw new TypeError(`the gateway answers ${response.status}`);
  if (!response.ok) return null;
  const told = await response.json();
  return Array.isArray(told?.attempts) ? told : null;
}

/** Notes when an answer's text came, and when its connection was away. Times are `now()`, in milliseconds. */
export class Timing {
  #now;
  #last = null; // when text came last
  #lost = null; // since when the connection is away
  #pauses = []; // {from, to}
  connections = []; // {at, seconds, early}: each time the page has resumed; `early`: before there was text

  /** `asked`: when the question was asked; `first`: when the first text came, if another visit has seen that. */
  constructor({ asked, first = null }, now = Date.now) {
    this.#now = now;
    this.times = { asked, first, ended: null };
  }

  /** Text has come. `live`: it is new, and not what was written before this page has begun to read. */
  text(live = true) {
    const now = this.#now();
    if (live) this.times.first ??= now;
    if (this.#last !== null && now - this.#last >= LONG_MS) {
      this.#pauses.push({ from: this.#last, to: now });
      if (this.#pauses.length > PAUSES) this.#pauses.sort((a, b) => b.to - b.from - (a.to - a.from)).pop();
    }
    this.#last = now;
  }

  /** The connection is "lost" or "away", or "open" again. */
  connection(state) {
    if (state !== "open") {
      this.#lost ??= this.#now();
    } else if (this.#lost !== null) {
      this.connections.push({ at: this.#lost - this.times.asked, seconds: (this.#now() - this.#lost) / 1000, early: this.#last === null });
      this.#lost = null;
    }
  }

  end() {
    this.times.ended = this.#now();
  }

  /** How long no text came around a moment, in seconds; null if that was not seen here. */
  pauseAt(ms) {
    const found = this.#pauses.find(({ from, to }) => from - LONG_MS <= ms && ms <= to);
    return found ? (found.to - found.from) / 1000 : null;
  }
}

/**
 * The times of an answer, by what the gateway says where this page was not there: `ended` when it came to its end, and not
 * when that was read; `first` only if it was seen.
 */
export function settled(times, told) {
  const last = Math.max(...(told?.attempts ?? []).map(({ ended }) => ended ?? 0), 0);
  if (!last || !times?.asked) return times;
  const ended = times.asked + last * 1000;
  if (times.ended && times.ended <= ended + LATE_MS) return times;
  return { ...times, ended, first: times.first && times.first < ended ? times.first : null };
}

/** What an answer's node keeps of what recovery did, oldest first: the page's own part, and the gateway's. */
export function recoveryOf(timing, told) {
  const own = timing.connections.map(({ at, ...rest }) => ({ kind: "connection", at: at / 1000, ...rest }));
  const attempts = told?.attempts ?? [];
  const theirs = attempts.length < 2 ? [] : attempts.map((attempt, place) => ({
    kind: "attempt",
    at: attempt.started ?? 0,
    ...Object.fromEntries(["number", "upstream", "model", "strategy", "offset", "ended", "cause", "continues"].map((name) => [name, attempt[name] ?? null])),
    seconds: attempt.cause && place + 1 < attempts.length ? timing.pauseAt(timing.times.asked + (attempt.ended ?? 0) * 1000) : null,
  }));
  return [...own, ...theirs].sort((a, b) => a.at - b.at);
}

const CAUSES = [
  ["upstream-truncated", "The provider’s answer was cut"],
  ["upstream-stalled", "The provider went silent"],
  ["upstream-connect", "The provider could not be reached"],
  ["upstream-diverged", "The provider gave another answer"],
  ["upstream-status", "The provider refused"],
  ["node-lost", "The gateway was restarted"],
];

const causeOf = (code) => CAUSES.find(([start]) => code?.startsWith(start))?.[1] ?? "The provider failed";
const times = (count) => ["never", "once", "twice"][count] ?? `${count} times`;
const seconds = (value) => `${value < 10 ? Number(value.toFixed(1)) || 0.1 : Math.round(value)} s`;

/** The quiet mark: {words, details}, or null where nothing had to be recovered. */
export function markOf(recovery) {
  const resumed = [];
  const again = [];
  const details = [];
  const attempts = (recovery ?? []).filter(({ kind }) => kind === "attempt");
  for (const one of recovery ?? []) {
    if (one.kind === "connection") {
      (one.early ? again : resumed).push(one);
      const then = one.early ? "the question was sent again, as the same one" : "the text went on where it was";
      details.push(`Your connection was away for ${seconds(one.seconds)}; ${then}.`);
      continue;
    }
    const where = [one.upstream, one.model].filter(Boolean).join(", ");
    const next = attempts[attempts.indexOf(one) + 1];
    if (!one.cause) {
      details.push(`Attempt ${one.number}${where ? ` (${where})` : ""} ${next ? "was overtaken by another." : "went to the end."}`);
      continue;
    }
    const message = one.cause.message?.replace(/[.\s]+$/, "");
    const what = `${causeOf(one.cause.code)} after ${seconds(one.ended ?? one.at)}${where ? ` (${where})` : ""}${message ? `: ${message}` : ""}.`;
    if (!next) {
      details.push(`${what} Nothing was left to try.`);
    } else if (next.offset > 0) {
      resumed.push(one);
      const mixed = next.continues ? `, with another model than ${next.continues}` : "";
      details.push(`${what} Another attempt continued${one.seconds ? ` after ${seconds(one.seconds)}` : ""}${mixed}.`);
    } else {
      again.push(one);
      details.push(`${what} It was asked again.`);
    }
  }
  if (!resumed.length && !again.length) return null;
  const away = resumed.reduce((sum, one) => sum + (one.seconds ?? 0), 0);
  const words = resumed.length
    ? `Resumed ${times(resumed.length)}${away ? `, ${seconds(away)}` : ""}`
    : `Asked again ${times(again.length)}`;
  return { words, details };
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** US dollars as people read them: "$0.0031", "$1.20"; "" if they are not known. */
export function dollars(cost) {
  if (typeof cost !== "number") return "";
  if (cost === 0) return "$0";
  if (cost < 0.000_001) return "under $0.000001";
  return cost < 1 ? `$${Number(cost.toPrecision(2)).toFixed(Math.max(2, 1 - Math.floor(Math.log10(cost))))}` : `$${cost.toFixed(2)}`;
}

/** The figures of an answer: [{words, title}], only those that are known. */
export function figuresOf({ usage, times: { first, ended, asked } = {}, cost } = {}) {
  const found = [];
  const tokens = usage?.completion_tokens;
  const about = usage?.estimated ? "about " : "";
  if (typeof tokens === "number") {
    const prompt = typeof usage.prompt_tokens === "number" ? `, ${whole.format(usage.prompt_tokens)} in the question and what was before it` : "";
    found.push({ words: `${about}${whole.format(tokens)} token${tokens === 1 ? "" : "s"}`, title: `${whole.format(tokens)} tokens in the answer${prompt}` });
    const took = ended && first ? ended - first : 0;
    if (tokens > 1 && took >= SHORT_MS) {
      const speed = tokens / (took / 1000);
      found.push({ words: `${speed < 10 ? speed.toFixed(1) : whole.format(speed)} tokens/s`, title: "From the first token to the end" });
    }
  }
  if (first && asked && first >= asked) found.push({ words: `first after ${((first - asked) / 1000).toFixed(first - asked < 10_000 ? 1 : 0)} s`, title: "Until the first token" });
  if (dollars(cost)) found.push({ words: dollars(cost), title: "Of all attempts together, in US dollars" });
  return found;
}

/** What stands under an answer for what its node keeps: elements. */
export function figuresLine({ usage, times, cost, recovery }) {
  const figures = figuresOf({ usage, times, cost });
  const mark = markOf(recovery);
  const found = [];
  if (figures.length) found.push(el("ul", { "aria-label": "Figures of this answer" }, ...figures.map(({ words, title }) => el("li", { title }, words))));
  if (mark) {
    const list = el("ol", {}, ...mark.details.map((line) => el("li", { dir: "auto" }, line)));
    found.push(el("details", { class: "recovery", ontoggle: ({ target }) => target.dispatchEvent(new CustomEvent("grown", { bubbles: true })) }, el("summary", {}, mark.words), list));
  }
  return found;
}
