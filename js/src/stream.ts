// `stream()`: a response as an async iterable that knows its text, where it is and how it stands.

import type { Chunk } from "./chunk.js";
import { pause } from "./clock.js";
import { EverytokenError } from "./errors.js";
import { follow, streamUrl, withoutBody, type Following } from "./follow.js";
import { surroundings, type ReadOptions, type Surroundings } from "./policy.js";

const STOP_MS = 3000; // how long a stop waits for the gateway's word

export type State =
  | "connecting"
  | "streaming"
  /** The connection is lost; the response goes on, and is read on from `offset`. */
  | "reconnecting"
  | "completed"
  /** What there is of the text is kept. */
  | "interrupted"
  /** Somebody has stopped it. */
  | "cancelled"
  /** Nothing has come. */
  | "failed";

export interface StreamOptions extends ReadOptions {
  /** A chat completion request, to be POSTed; an object gets `stream: true`. Without one an existing response is read. */
  body?: object | string;
  headers?: HeadersInit;
  /** Read on behind this offset. */
  offset?: string;
  /** Leave the response; it goes on without this reader. To end it: `stop()`. */
  signal?: AbortSignal;
  onState?: (state: State, stream: Stream) => void;
}

/** A key that nobody else has; `crypto.randomUUID` is not there on plain HTTP. */
export const newKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

/** One response, to be iterated once. The loop ends when it has completed or you have stopped it, else it throws. */
export class Stream implements AsyncIterable<Chunk> {
  /** All text so far. */
  text = "";
  state: State = "connecting";
  finishReason: string | null = null;
  /** Why it is `interrupted` or `failed`. */
  error: EverytokenError | null = null;
  #of: Following;
  #around: Surroundings;
  #fetch: typeof fetch;
  #options: StreamOptions;
  #abort = new AbortController();
  #stopped = false;
  #pieces: AsyncGenerator<Chunk, void> | undefined;

  constructor(input: string | URL | Request, options: StreamOptions = {}) {
    const asked = input instanceof Request;
    const url = new URL(asked ? input.url : input, globalThis.location?.href).href;
    const around = surroundings(options);
    this.#around = around;
    this.#fetch = around.fetch;
    this.#options = options;
    const own = this.#abort.signal;
    const headers = new Headers(options.headers ?? (asked ? input.headers : undefined));
    const { body } = options;
    const given = body ?? (asked && input.body && input.text());
    Promise.resolve(given).catch(() => {}); // the loop is told, if there is one
    const text = typeof body === "object" ? JSON.stringify({ ...body, stream: true }) : (given as string | Promise<string> | undefined);
    this.#of = {
      init: { headers: withoutBody(headers) },
      url: text ? "" : url.replace(/\/events$/, ""),
      offset: options.offset ?? "",
      signal: options.signal ? AbortSignal.any([own, options.signal]) : own,
      changed: (open) => this.#set(open ? "streaming" : "reconnecting"),
    };
    if (text) {
      if (!headers.has("Idempotency-Key")) headers.set("Idempotency-Key", newKey());
      if (body || !headers.has("Content-Type")) headers.set("Content-Type", "application/json");
      headers.set("Accept", "text/event-stream"); // lets the gateway send a first byte, and with it the head, at once
      this.#of.post = { url, init: { method: "POST", headers } };
      this.#around = { ...around, fetch: (to, init) => (init?.method ? this.#post(init, text) : around.fetch(to, init)) };
    }
  }

  /** The response's own URL, which any number of readers may read; "" until the gateway has said it. */
  get url(): string {
    return this.#of.url;
  }

  /** The stream id, the last part of `url`. */
  get id(): string {
    return this.url.slice(this.url.lastIndexOf("/") + 1);
  }

  /** Behind the last chunk given: what to pass as `offset` to read on. */
  get offset(): string {
    return this.#of.offset;
  }

  [Symbol.asyncIterator](): AsyncGenerator<Chunk, void> {
    return (this.#pieces ??= this.#read());
  }

  /** End the response, for every reader and at the model. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    if (!this.url) this.#abort.abort();
    else this.#cancel();
  }

  #cancel() {
    const { signal, init } = this.#of;
    this.#fetch(`${this.url}/cancel`, { ...init, method: "POST", keepalive: true }).catch(() => {});
    void pause(this.#around.clock, STOP_MS, signal).then(() => this.#abort.abort());
  }

  // A stop that comes before the answer has begun ends the reading at once; the answer is cancelled when it has a name.
  async #post(init: RequestInit, text: string | Promise<string>): Promise<Response> {
    const signal = init.signal!;
    const abort = new AbortController();
    const { url } = this.#of.post!;
    let begun = false;
    init.body = await text;
    signal.throwIfAborted(); // nobody wants it any more
    const asked = this.#fetch(url, { ...init, signal: abort.signal }).finally(() => (begun = true));
    return new Promise((resolve, reject) => {
      asked.then(resolve, reject);
      signal.addEventListener("abort", () => {
        reject(signal.reason);
        if (begun || !this.#stopped) return abort.abort();
        asked.then((late) => {
          if ((this.#of.url = streamUrl(late, url))) this.#cancel();
          return late.body?.cancel();
        }).catch(() => {}); // it may have broken already
      });
    });
  }

  async *#read(): AsyncGenerator<Chunk, void> {
    try {
      for await (const { chunk, error } of follow(this.#of, this.#around)) {
        if (error) throw error;
        if (!chunk) break;
        const choice = chunk.choices?.find(({ index }) => !index);
        this.text += choice?.delta?.content ?? choice?.delta?.refusal ?? "";
        this.finishReason = choice?.finish_reason ?? this.finishReason;
        yield chunk;
      }
      this.#set("completed");
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#abort.abort();
    }
  }

  #fail(error: unknown) {
    if (this.#stopped) return this.#set("cancelled");
    if (this.#options.signal?.aborted) throw error; // who has left does not know how it stands
    if (error instanceof EverytokenError) this.error = error;
    const cancelled = this.error?.code === "cancelled";
    this.#set(cancelled ? "cancelled" : this.text ? "interrupted" : "failed");
    throw error;
  }

  #set(state: State) {
    if (state === this.state) return;
    this.state = state;
    this.#options.onState?.(state, this);
  }
}

/**
 * Read a response: one that exists, by its URL (`/v1/stream/<id>`), or the answer to a chat completion request, which is
 * POSTed when there is a `body` or `input` is a `Request` with one. It reads on by itself wherever a connection breaks.
 */
export const stream = (input: string | URL | Request, options?: StreamOptions) => new Stream(input, options);
