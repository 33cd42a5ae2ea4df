// One answer over as many connections as it takes. A body that ends without `[DONE]` or an error event is a
// broken connection, never an end: the answer is then read on from the last offset.

import { authorized, withKey, wordsFor } from "./key.js";
import { SSEDecoder } from "./sse.js";

const SILENCE_MS = 45_000; // the gateway writes a comment every 15 s; three missed ones mean a dead connection
const STALE_MS = 16_000; // and one is enough when the page wakes: it, or the network, has been asleep
const RETRY_MS = [250, 500, 1000, 2000, 5000]; // then every 5 s for as long as the page is open
const POSTS = 4; // a question that got no answer is sent so often; its key makes that one question
const STOP_MS = 3000; // how long a stop waits for the gateway to confirm it

export const COMPLETED = "completed";
export const STOPPED = "stopped";
export const INTERRUPTED = "interrupted";

export class Answer {
  /** The stream id, once the gateway has said it. */
  id = null;

  #offset = "";
  #finish = null;
  #begun = false; // something has been answered
  #stopping = false;
  #abort = new AbortController();
  #stopPressed;
  #stopNow; // settles when Stop is pressed
  #on;

  /** `on` has text(string), reasoning(string), chunk(object), named(id) and connection("open" | "lost" | "away"). */
  constructor(on) {
    this.#on = on;
    this.#stopNow = new Promise((resolve) => (this.#stopPressed = resolve));
  }

  /** POST a chat request and read its answer: {outcome, finish, message, error}. With the same `key`: the same answer. */
  ask(body, key) {
    return this.#read(() =>
      authorized("v1/chat/completions", {
        method: "POST",
        headers: { "Content-Type": "application/json", "Idempotency-Key": key },
        body: JSON.stringify({ ...body, stream: true }),
        signal: this.#abort.signal,
      }),
    );
  }

  /** Read an answer that exists, from its start. */
  follow(id) {
    this.id = id;
    return this.#read(() => this.#resume());
  }

  /** Stop generation for every reader. The answer then ends by the gateway's word, or ours if it is silent. */
  stop() {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#stopPressed();
    if (this.id) this.#cancel();
  }

  /** Stop reading. The answer itself goes on. */
  leave() {
    this.#abort.abort();
  }

  #cancel() {
    fetch(`v1/stream/${this.id}/cancel`, { method: "POST", headers: withKey(), keepalive: true }).catch(() => {});
    setTimeout(() => this.#abort.abort(), STOP_MS);
  }

  #resume() {
    const query = this.#offset ? `?offset=${encodeURIComponent(this.#offset)}` : "";
    return authorized(`v1/stream/${this.id}/events${query}`, { signal: this.#abort.signal });
  }

  async #read(request) {
    for (let failures = 0; ; failures++) {
      const before = this.#offset;
      try {
        const end = await this.#once(request);
        if (end) return end;
      } catch (error) {
        if (this.#abort.signal.aborted) return this.#ended(STOPPED);
        if (!(error instanceof TypeError) && error.name !== "TimeoutError") throw error;
      }
      if (this.#offset !== before) failures = 0; // it moved: a new failure, not one more in a row
      if (this.#stopping) return this.#ended(STOPPED);
      if (!this.id && (this.#begun || failures + 1 >= POSTS)) {
        return this.#ended(INTERRUPTED, "The server cannot be reached. Is it running?");
      }
      this.#on.connection(failures < 3 ? "lost" : "away");
      await pause(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)], this.#abort.signal, this.id ? null : this.#stopNow);
      if (this.#stopping && !this.id) return this.#ended(STOPPED);
      if (this.id) request = () => this.#resume();
    }
  }

  // One connection. Returns how the answer ended, or null when only the connection did.
  async #once(request) {
    const asked = request();
    const response = await Promise.race([asked, this.id ? asked : this.#stopNow]);
    if (!response) {
      // Stopped before the gateway has said the stream's name: show it now, cancel when the name is known.
      asked.then((late) => this.#named(late) && this.#cancel()).catch(() => {});
      return this.#ended(STOPPED);
    }
    if (response.status === 204) {
      // Closed, and we have read all of it; every other end than a completed one is a record we would have seen.
      return this.#finish
        ? this.#ended(COMPLETED)
        : this.#ended(INTERRUPTED, "The answer ended without saying that it is complete.");
    }
    if (!response.ok) {
      const { message, error } = await refusalOf(response);
      const passing = this.id && (response.status >= 500 || response.status === 429);
      return passing ? null : this.#ended(INTERRUPTED, message, error);
    }
    this.#begun = true;
    if (this.#named(response)) this.#on.named(this.id);
    this.#on.connection("open");

    const reader = response.body.getReader();
    const utf8 = new TextDecoder();
    const sse = new SSEDecoder();
    try {
      for (;;) {
        const { done, value } = await within(reader.read(), SILENCE_MS);
        if (done) return null;
        for (const event of sse.feed(utf8.decode(value, { stream: true }))) {
          const end = this.#event(event);
          if (end) return end;
        }
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  #named(response) {
    this.id ??= response.headers.get("Location")?.match(/\/v1\/stream\/([^/?]+)$/)?.[1] ?? null;
    return this.id;
  }

  #event({ data, id }) {
    if (data === "[DONE]") return this.#ended(COMPLETED);
    let chunk;
    try {
      chunk = JSON.parse(data);
    } catch {
      return this.#ended(INTERRUPTED, "The server sent something that is not JSON.");
    }
    if (chunk.error) {
      if (chunk.error.code === "cancelled") return this.#ended(STOPPED);
      return this.#ended(INTERRUPTED, chunk.error.message, chunk.error);
    }
    this.#on.chunk?.(chunk);
    const choice = chunk.choices?.[0];
    const delta = choice?.delta;
    const reasoning = delta?.reasoning_content ?? delta?.reasoning;
    if (reasoning) this.#on.reasoning(reasoning);
    const text = delta?.content ?? delta?.refusal;
    if (text) this.#on.text(text);
    this.#finish = choice?.finish_reason ?? this.#finish;
    if (id) this.#offset = id; // only now: an offset is committed together with its data
    return null;
  }

  #ended(outcome, message = "", error = null) {
    return { outcome, message, finish: this.#finish, error };
  }
}

async function refusalOf(response) {
  const text = await response.text().catch(() => "");
  try {
    const { error } = JSON.parse(text);
    return { message: wordsFor(error) ?? error.message, error };
  } catch {
    return { message: `The server answered ${response.status} ${response.statusText}`.trim() + ".", error: null };
  }
}

// A read that must come; when the page wakes it must have come already.
function within(promise, ms) {
  const begun = Date.now(); // other clocks stand still while a laptop sleeps
  let timer, sleep;
  const late = new Promise((_, reject) => {
    const fail = () => reject(new DOMException("silent", "TimeoutError"));
    timer = setTimeout(fail, ms);
    sleep = onWake(() => Date.now() - begun >= STALE_MS && fail());
  });
  return Promise.race([promise, late]).finally(() => (clearTimeout(timer), sleep()));
}

// Wait, but not a moment longer than the network is away, the page is looked away from, or the reader wants.
function pause(ms, signal, stopped) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      sleep();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    const sleep = onWake(done);
    signal.addEventListener("abort", done);
    stopped?.then(done);
  });
}

// Call `listener` when the network is back or the page is looked at again; returns how to stop that.
function onWake(listener) {
  const woken = () => document.hidden || listener();
  addEventListener("online", woken);
  document.addEventListener("visibilitychange", woken);
  return () => {
    removeEventListener("online", woken);
    document.removeEventListener("visibilitychange", woken);
  };
}
