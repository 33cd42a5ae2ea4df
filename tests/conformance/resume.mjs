// Read one stream many times with one client, each time through a connection that is cut somewhere else.
//
// On standard input: {client, url, text, ends, cuts: ["rst-17", ...]}. On standard output: the cuts after which the text was
// not exact, as [{cut, got}]. `ends`: whether the stream is closed, so that the client has to notice its end.

import { setTimeout as sleep } from "node:timers/promises";
import { stream } from "@durable-streams/client";
import { EventSource } from "eventsource";

const AT_ONCE = 16;
const LATE_MS = 30_000; // until a reader counts as hanging: no exact one waits for it, however busy the machine is

// Nobody told them when to come back yet: then they wait for seconds.
const { setTimeout: later } = globalThis;
globalThis.setTimeout = (call, ms, ...rest) => later(call, ms >= 500 ? 1 : ms, ...rest);

// The package expects a browser.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import("@microsoft/fetch-event-source");

const delta = (chunk) => chunk.choices?.[0]?.delta?.content ?? "";
const deltas = (chunks) => chunks.map(delta).join("");

/** What the clients write into; `whole` is settled as soon as it is as long as it should be. */
class Page {
  text = "";
  #expected;
  constructor(expected) {
    this.#expected = expected;
    this.whole = new Promise((resolve) => (this.resolve = resolve));
  }
  write(text) {
    this.text += text;
    if (this.text.length >= this.#expected.length) this.resolve();
  }
}

const clients = {
  /** npm eventsource on OpenAI events. */
  eventsource: (url, page) => eventSource(url, page, "message", (data) => data !== "[DONE]" && delta(JSON.parse(data))),

  /** npm eventsource on the protocol's own events. */
  "eventsource-durable": (url, page) => eventSource(url, page, "data", (data) => deltas(JSON.parse(data))),

  /** As it comes: never told that there is nothing left, it asks for ever. */
  "fetch-event-source": (url, page, { abort }) =>
    fetchEventSource(url, {
      signal: abort,
      onmessage: ({ data }) => data && data !== "[DONE]" && page.write(delta(JSON.parse(data))),
    }).catch(ended),

  /**
   * The same, made safe. It takes an id as read before its event is whole: so the last event handled says where to go on.
   * And it takes any end of the body for the stream's: so an end that was not announced is an error, after which it retries,
   * and a 204 is one after which it does not.
   */
  "fetch-event-source-safe": (url, page, { abort }) => {
    let last = "";
    let done = false;
    return fetchEventSource(url, {
      signal: abort,
      fetch(input, { headers: { "last-event-id": _, ...headers }, ...init }) {
        if (last) headers["last-event-id"] = last;
        return fetch(input, { ...init, headers });
      },
      async onopen({ status }) {
        done = status === 204;
        if (done) throw new Error("nothing is left to read");
      },
      onerror(error) {
        if (done) throw error;
      },
      onmessage({ data, id }) {
        done ||= data === "[DONE]";
        if (data && !done) page.write(delta(JSON.parse(data)));
        last = id || last;
      },
      onclose() {
        if (!done) throw new Error("cut off");
      },
    }).catch(() => {});
  },

  "durable-sse": (url, page, options) => durable(url, page, { ...options, live: "sse" }),
  "durable-long-poll": (url, page, options) => durable(url, page, { ...options, live: "long-poll" }),

  /** Catch-up, piece by piece: the offset moves with what has been read to its end, never before. */
  async "durable-catch-up"(url, page, { abort }) {
    for (let offset = "-1"; !abort.aborted; ) {
      try {
        const response = await stream({ url, offset, live: false, json: true, signal: abort, backoffOptions: QUICK });
        const items = await response.json();
        page.write(deltas(items));
        offset = response.offset;
        if (response.streamClosed) return;
      } catch {
        await sleep(1);
      }
    }
  },
};

const QUICK = { initialDelay: 1, maxDelay: 2, multiplier: 1, maxRetries: 20 };

/** Read live; a batch and its offset are committed together, and after any failure we begin anew from there. */
async function durable(url, page, { abort, live }) {
  let offset = "-1";
  let closed = false;
  while (!closed && !abort.aborted) {
    try {
      const response = await stream({ url, offset, live, json: true, signal: abort, backoffOptions: QUICK });
      response.subscribeJson((batch) => {
        page.write(deltas(batch.items));
        offset = batch.offset;
        closed ||= batch.streamClosed;
      });
      await response.closed;
    } catch {
      await sleep(1);
    }
  }
}

function eventSource(url, page, name, read) {
  return new Promise((resolve) => {
    const source = new EventSource(url);
    source.addEventListener(name, ({ data }) => page.write(read(data) || ""));
    source.addEventListener("error", () => source.readyState === source.CLOSED && resolve());
    page.close = () => source.close();
  });
}

function ended(error) {
  if (error.name !== "AbortError") throw error;
}

async function attempt({ client, url, text, ends }, cut, number) {
  const page = new Page(text);
  const controller = new AbortController();
  const over = clients[client](`${url}${url.includes("?") ? "&" : "?"}cut=${cut}-${number}`, page, {
    abort: controller.signal,
  });
  const late = sleep(LATE_MS, "late");
  const how = await Promise.race([ends ? over : page.whole, late]);
  page.close?.();
  controller.abort();
  return how === "late" ? `${page.text} (and then nothing)` : page.text;
}

// A connection that is cut inside a client of the protocol leaves rejections that nobody can catch.
process.on("unhandledRejection", () => {});

let input = "";
for await (const piece of process.stdin) input += piece;
const job = JSON.parse(input);
const wrong = [];
const waiting = job.cuts.map((cut, number) => [cut, number]);
async function work() {
  for (let next; (next = waiting.shift()); ) {
    const [cut, number] = next;
    const got = await attempt(job, cut, `${job.client}${number}`);
    if (got !== job.text) wrong.push({ cut, got });
  }
}
await Promise.all(Array.from({ length: AT_ONCE }, work));
console.log(JSON.stringify(wrong));
process.exit();
