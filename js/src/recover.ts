// A streamed answer of a server that cannot be asked for the rest of it: the same request again, with the same seed,
// and what repeats the delivered text is dropped, byte for byte. Never a doubled, shortened or spliced answer.

import { DONE, errorIn, errorOf, isChunk, isEventStream, isHeartbeat, readJson, retryAfter, type Chunk } from "./chunk.js";
import { pause } from "./clock.js";
import { asError, diverged, EverytokenError, notAnEventStream, truncated } from "./errors.js";
import type { Events } from "./events.js";
import { backOff, limitOf, type Surroundings } from "./policy.js";
import { read } from "./read.js";

// Fields that a server repeats with every piece rather than continues, and those that another attempt has otherwise.
const CONSTANT = /^(format|index|object|role|type)$/;
const IDENTITY = /^(id|created|expires_at)$/;
// What is known not to be content: in a delta, and beside the deltas.
const OF_DELTA = /^(role|id|index|type|object|name|created|model|status|finish_reason|logprobs|(prompt_)?token_ids)$/;
const BESIDE =
  /^(index|delta|message|choices|usage|errors?|logprobs|timings|time_info|x_groq|nvext|stats|metrics|metadata|everytoken|(prompt_)?token_ids|(prompt|content)_filter.*|prompt_progress)$/;

// True and false tell of what they stand beside, and come again with it.
const flagsOf = (value: any): any => {
  if (typeof value === "boolean") return value;
  if (!isObject(value) || Array.isArray(value)) return;
  const found = Object.entries(value).flatMap(([key, item]) => ((item = flagsOf(item)) === undefined ? [] : [[key, item]]));
  return found.length ? Object.fromEntries(found) : undefined;
};

const isObject = (value: any) => typeof value === "object" && value !== null;

/** What a reader gets: the data of an event, and its name. */
export interface Sent {
  data: string;
  event?: string | undefined;
}

/** What of an event is to be delivered, whether it has content, and whether it ends the answer. */
export interface Told {
  out: Sent[];
  fresh?: boolean;
  ends?: boolean;
}

/** What has been delivered, and how much of it has come again: each text by the path at which it stands. */
export class Transcript {
  /** Whether any content has been delivered. */
  begun = false;
  /** Whether it can be compared with a repetition. */
  plain = true;
  /** Whether more has come behind a finish_reason, so that none is proof of the end. */
  continued = false;
  /** Whether its events have a type, and the last one says that it is the last. */
  readonly typed = false;
  /** Whether another attempt only gives the rest. */
  readonly kept = false;

  /** A whole answer as its only event. */
  eventsIn(completion: any): Record<string, any>[] | undefined {
    if (!completion?.choices?.length) return;
    for (const choice of completion.choices) {
      choice.delta = choice.message;
      delete choice.message;
      choice.delta?.tool_calls?.forEach((call: any, index: number) => (call.index = index));
    }
    return [{ ...completion, object: "chat.completion.chunk" }];
  }
  takes = isChunk;
  #ended = false; // a finish_reason stands behind all that was delivered
  #said: Record<string, string> = {};
  #again: Record<string, number> = {};
  #fixed: Record<string, unknown> = {};
  #items: Record<string, number> = {};
  #identity: Partial<Chunk> | undefined;
  #repeats = false;

  next() {
    this.#again = {};
    this.#items = {};
    this.#repeats = !!this.#identity; // else nothing has been delivered, and all of it is new
  }

  /** Take a chunk, as sent. Throws `upstream-diverged`. */
  add(chunk: Chunk, data: string, _event?: string): Told {
    const [choice, second] = chunk.choices;
    const delta: Record<string, any> = choice?.delta ?? {};
    const said: Record<string, any> = {};
    const flags: Record<string, any> = {};
    let fresh = false;
    for (const [name, value] of Object.entries(delta)) {
      const known = OF_DELTA.test(name);
      fresh ||= !known && !!value && !(Array.isArray(value) && !value.length);
      const item = known ? value : this.#new(name, name, value);
      if (item === undefined) flags[name] = flagsOf(value);
      else if (name !== "role") said[name] = item;
    }
    if (Array.isArray(delta.content)) this.plain = false;
    let beside = false;
    for (const holder of [chunk, choice ?? {}] as Record<string, any>[]) {
      for (const [name, value] of Object.entries(holder)) {
        if (!isObject(value) || BESIDE.test(name)) continue;
        fresh = true;
        if (this.#isNew(name, value)) beside = true;
        else delete holder[name];
      }
    }
    const ends = chunk.choices.some(({ finish_reason }) => finish_reason && finish_reason !== "null");
    if (fresh && (second || choice?.index || choice?.logprobs)) this.plain = false;
    this.begun ||= fresh;
    const says = this.#repeats ? Object.keys(said).length > 0 || beside : fresh;
    fresh ||= !!chunk.prompt_progress;
    const behind = this.#repeats && Object.keys(this.#said).some((key) => this.#said[key]!.length > (this.#again[key] ?? 0));
    if (behind && (says || (ends && !this.#ended && !this.continued))) throw diverged();
    // A finish_reason that has been delivered: in the middle, or behind it all.
    const known = ends && !says && this.#repeats && (behind || this.#ended);
    this.continued ||= says && this.#ended;
    this.#ended = ends ? this.#ended || !behind : this.#ended && !says;
    if (!this.#repeats) {
      this.#identity ??= { id: chunk.id, created: chunk.created };
      return { fresh, out: [{ data }], ends };
    }
    if (choice?.delta) choice.delta = said;
    Object.assign(said, flags); // JSON has no undefined
    const out = !known && (ends || says || !chunk.choices.length);
    return { fresh, out: out ? [{ data: JSON.stringify({ ...chunk, ...this.#identity }) }] : [], ends: ends && !behind };
  }

  // What is new in a value, undefined if nothing is.
  #new(path: string, name: string, value: any): any {
    if (value == null || value === "" || typeof value === "boolean") return;
    if (isObject(value)) {
      const list = Array.isArray(value);
      const found: any = list ? [] : {};
      let any = false;
      for (const [key, item] of Object.entries<any>(value)) {
        if (typeof item === "boolean") {
          found[key] = item;
          continue;
        }
        const part = this.#new(`${path}.${list ? this.#place(path, item, key) : key}`, list ? name : key, item);
        if (part === undefined) continue;
        if (list) found.push(part);
        else found[key] = part;
        any ||= key !== "index";
      }
      return any ? found : undefined;
    }
    if (CONSTANT.test(name) || IDENTITY.test(name)) {
      const known = this.#fixed[path];
      this.#fixed[path] ??= value;
      if (known !== undefined && known !== value && CONSTANT.test(name)) throw diverged();
      return known === undefined || name === "index" ? value : undefined;
    }
    const text = typeof value === "string";
    const piece = text ? value : `${value}\n`;
    const said = (this.#said[path] ??= "");
    const from = this.#again[path] ?? 0;
    const known = Math.min(piece.length, said.length - from);
    if (!said.startsWith(piece.slice(0, known), from)) throw diverged();
    this.#again[path] = from + piece.length;
    this.#said[path] += piece.slice(known);
    return known === piece.length ? undefined : text ? piece.slice(known) : value;
  }

  // Items of a list are told apart by their index, where they have one.
  #place(path: string, item: any, key: string): string | number {
    const index = item?.index;
    if (typeof index === "number") return `#${index}`;
    return path === "tool_calls" ? `#${key}` : (this.#items[path] = (this.#items[path] ?? -1) + 1);
  }

  // Whether what stands beside the deltas, and is given whole each time, has not been delivered.
  #isNew(name: string, value: any): boolean {
    const all = (this.#fixed[name] ??= []) as string[];
    const whole = JSON.stringify(value);
    if (all.includes(whole)) return false;
    // A longer list begins as the one before it.
    if (all.length && Array.isArray(value) && !whole.startsWith(all.at(-1)!.slice(0, -1))) throw diverged();
    return all.push(whole) > 0;
  }
}

/**
 * Give every event of an answer, of which `response` is the first try; `again(streamed, last)` asks once more. Ends with
 * the answer's own end mark, or throws.
 */
export async function* recover(
  response: Response,
  again: (streamed: boolean, last: boolean) => Promise<Response>,
  around: Surroundings,
  signal: AbortSignal,
  transcript: Transcript | Events,
): AsyncGenerator<Sent, void> {
  const { policy, clock } = around;
  const causes: EverytokenError[] = [];
  const stalled = () =>
    new EverytokenError(`upstream-stalled-${transcript.begun ? "gap" : "first-content"}`, "no content for too long");
  for (let next: Response | undefined = response; ; transcript.next()) {
    const last = causes.length === policy.attempts - 1;
    let finished = false;
    let half = false; // a tool call has begun behind a finish_reason: half of one must never be run
    let mark = 0;
    let limit = 0;
    const allow = (seconds: number) => {
      mark = clock.now();
      limit = finished && !half ? policy.linger : limitOf(policy, seconds, last || transcript.kept);
    };
    // Asked before each read, so behind the first bytes have come: then a model may be thinking.
    const left = () => {
      const now = clock.now();
      const thinking = finished && !half ? limit : Math.max(limit, policy.thinking ?? 10 * limit);
      return mark + 1000 * Math.max(limit, Math.min((now - mark) / 1000 + limit, thinking)) - now;
    };
    try {
      // It was streaming that broke, every time; silence would only be a longer silence.
      const streamed = transcript.kept || !last || !causes.length || causes.length < 2 || causes.some(({ code }) => /connect|status|stalled/.test(code));
      next ??= await again(streamed, last);
      if (!next.ok) throw await errorOf(next);
      const events = isEventStream(next);
      allow(events ? policy.firstContent : policy.nonStreaming);
      let done = false;
      for await (const { event, data } of events ? read(next, clock, left, stalled) : json(next, transcript)) {
        if (data === DONE) {
          done = true;
          break;
        }
        if (isHeartbeat(event, data)) continue;
        const value = readJson(data);
        const error = errorIn(value, event);
        if (error) throw error;
        if (!transcript.takes(value)) continue;
        const calls = finished && (value as Chunk).choices.some(({ delta }) => delta?.tool_calls?.length || delta?.function_call);
        const { fresh, out, ends } = transcript.add(value, data, event);
        yield* out;
        if (ends && transcript.typed) return;
        half = !ends && (half || calls);
        finished ||= !!ends;
        if (fresh || ends) allow(policy.contentGap);
      }
      if (!finished || (half && !done)) throw truncated();
      yield { data: DONE };
      return;
    } catch (cause) {
      signal.throwIfAborted();
      const error = asError(cause);
      // Silence is an end behind any finish_reason, a broken connection only where nothing has followed one.
      if (finished && !half && (!transcript.continued || /stalled/.test(error.code))) {
        yield { data: DONE };
        return;
      }
      causes.push(error);
      const wait = retryAfter(error.cause, clock.now()) ?? backOff(around, causes.length);
      const refused = error.cause instanceof Response && !error.retryable;
      const hopeless = refused || error.code === "upstream-diverged" || (transcript.begun && !transcript.plain);
      if (hopeless || causes.length >= policy.attempts || wait > policy.retryAfterMax * 1000) {
        if (causes.length < 2) throw error;
        const message = `${causes.length} attempts failed; the last: ${error.message}`;
        throw new EverytokenError("recovery-exhausted", message, true, { cause: causes[0] });
      }
      await pause(clock, wait, signal);
      signal.throwIfAborted();
    }
    next = undefined;
  }
}

async function* json(response: Response, transcript: Transcript | Events): AsyncGenerator<Sent> {
  const value = readJson(await response.text());
  const events = transcript.eventsIn(value);
  if (!events && !errorIn(value)) throw notAnEventStream();
  for (const event of events ?? [value]) yield { event: event.type, data: JSON.stringify(event) };
}
