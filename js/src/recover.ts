// A streamed answer of a server that cannot be asked for the rest of it: the same request again, with the same seed,
// and what repeats the delivered text is dropped, byte for byte. Never a doubled, shortened or spliced answer.

import { DONE, errorIn, errorOf, isChunk, isEventStream, readJson, retryAfter, type Chunk, type Delta } from "./chunk.js";
import { pause } from "./clock.js";
import { asError, EverytokenError, notAnEventStream, truncated } from "./errors.js";
import { backOff, type Surroundings } from "./policy.js";
import { read } from "./read.js";

const TEXTS = ["content", "reasoning_content", "reasoning", "refusal"];

// Every text in a delta: its name in the whole answer, and where it stands.
function* texts(delta: Delta): Generator<[string, Record<string, any>, string]> {
  for (const name of TEXTS) yield [name, delta, name];
  const calls = [...(delta.tool_calls ?? []), { index: "f", function: delta.function_call }];
  for (const [position, call] of calls.entries()) {
    for (const name of ["name", "arguments"]) yield [`${call.index ?? position}.${name}`, call.function ?? {}, name];
  }
}

/** What has been delivered, and how much of it has come again. */
class Transcript {
  /** Whether any content has been delivered. */
  begun = false;
  /** Whether it can be compared with a repetition. */
  plain = true;
  #said: Record<string, string> = {};
  #again: Record<string, number> = {};
  #identity: Partial<Chunk> | undefined;
  #attempt = 0;

  next() {
    this.#again = {};
    this.#attempt++;
  }

  /** Take a chunk, as sent; return what of it is to be delivered, "" for nothing. Throws `upstream-diverged`. */
  add(chunk: Chunk, data: string): { fresh: boolean; out: string } {
    const [choice, second] = chunk.choices;
    const delta = choice?.delta ?? {};
    let fresh = false;
    let repeated = false;
    for (const [key, holder, name] of texts(delta)) {
      const piece: unknown = holder[name];
      if (!piece) continue;
      fresh = true;
      if (typeof piece !== "string") {
        this.plain = false;
        continue;
      }
      const said = (this.#said[key] ??= "");
      const from = this.#again[key] ?? 0;
      const known = Math.min(piece.length, said.length - from);
      if (!said.startsWith(piece.slice(0, known), from)) throw diverged();
      this.#again[key] = from + piece.length;
      this.#said[key] += holder[name] = piece.slice(known);
      repeated ||= known > 0;
    }
    if (fresh && (second || choice?.index || choice?.logprobs)) this.plain = false;
    this.begun ||= fresh;
    if (!this.#attempt) {
      this.#identity ??= { id: chunk.id, created: chunk.created };
      return { fresh, out: data };
    }
    return { fresh, out: this.#rejoin(chunk, delta, repeated) };
  }

  #rejoin(chunk: Chunk, delta: Delta, repeated: boolean): string {
    delete delta.role;
    for (const name of TEXTS as (keyof Delta)[]) if (!delta[name]) delete delta[name];
    if (delta.tool_calls) {
      delta.tool_calls = delta.tool_calls.filter((call) => call.function?.name || call.function?.arguments);
      // The id that came with a call's first fragment stands.
      if (repeated) for (const call of delta.tool_calls) (delete call.id, delete call.type);
      if (!delta.tool_calls.length) delete delta.tool_calls;
    }
    const ends = chunk.choices.some((choice) => choice.finish_reason);
    const says = Object.keys(delta).length > 0;
    if ((ends || says) && Object.keys(this.#said).some((key) => this.#said[key]!.length > (this.#again[key] ?? 0))) {
      throw diverged();
    }
    return ends || says || !chunk.choices.length ? JSON.stringify({ ...chunk, ...this.#identity }) : "";
  }
}

const diverged = () => new EverytokenError("upstream-diverged", "the repeated answer differs from what was delivered");

// A whole answer as its only event.
function whole(completion: any): { event?: string; data: string } {
  for (const choice of completion.choices ?? []) {
    choice.delta = choice.message;
    delete choice.message;
    choice.delta?.tool_calls?.forEach((call: any, index: number) => (call.index = index));
  }
  return { data: JSON.stringify({ ...completion, object: "chat.completion.chunk" }) };
}

/**
 * Give the data of every event of an answer, of which `response` is the first try; `again(streamed, patience)` asks once
 * more. Ends with `[DONE]`, or throws.
 */
export async function* recover(
  response: Response,
  again: (streamed: boolean, patience: number) => Promise<Response>,
  around: Surroundings,
  signal: AbortSignal,
): AsyncGenerator<string, void> {
  const { policy, clock } = around;
  const transcript = new Transcript();
  const causes: EverytokenError[] = [];
  const stalled = () =>
    new EverytokenError(`upstream-stalled-${transcript.begun ? "gap" : "first-content"}`, "no content for too long");
  for (let next: Response | undefined = response; ; transcript.next()) {
    const last = causes.length && causes.length === policy.attempts - 1;
    const patience = last ? 2 : 1;
    let finished = false;
    let deadline = 0;
    const allow = (seconds: number) => (deadline = clock.now() + seconds * 1000);
    try {
      // It was streaming that broke, every time; silence would only be a longer silence.
      const streamed = !last || causes.length < 2 || causes.some(({ code }) => /connect|status|stalled/.test(code));
      next ??= await again(streamed, patience);
      if (!next.ok) throw await errorOf(next);
      const events = isEventStream(next);
      allow(patience * (events ? policy.firstContent : policy.nonStreaming));
      const left = () => deadline - clock.now();
      for await (const { event, data } of events ? read(next, clock, left, stalled) : json(next)) {
        if (data === DONE) break;
        const value = readJson(data);
        const error = errorIn(value, event);
        if (error) throw error;
        if (!isChunk(value)) continue;
        const { fresh, out } = transcript.add(value, data);
        if (out) yield out;
        finished ||= value.choices.some((choice) => choice.finish_reason);
        if (finished) allow(policy.linger);
        else if (fresh) allow(patience * policy.contentGap);
      }
      if (!finished) throw truncated();
      yield DONE;
      return;
    } catch (cause) {
      signal.throwIfAborted();
      if (finished) {
        yield DONE;
        return;
      }
      const error = asError(cause);
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

async function* json(response: Response) {
  const value = readJson(await response.text());
  if (!value?.choices?.length && !errorIn(value)) throw notAnEventStream();
  yield whole(value);
}
