// What the tests have in common: time that a test moves, servers that a test writes, processes, a wire that cuts.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer } from "node:net";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const EVERYTOKEN = process.env.EVERYTOKEN ?? fileURLToPath(new URL("../../.venv/bin/everytoken", import.meta.url));
export const PYTHON = join(dirname(EVERYTOKEN), "python");
export const MESSAGES = [{ role: "user", content: "Hello" }];

/** A clock that stands still until a test moves it. */
export class ManualClock {
  #now = 0;
  #timers = new Map();
  #next = 1;

  now = () => this.#now;
  random = () => 0.5;
  setTimeout = (callback, ms) => {
    this.#timers.set(this.#next, { at: this.#now + ms, callback });
    return this.#next++;
  };
  clearTimeout = (timer) => this.#timers.delete(timer);

  /** How many milliseconds the waits that are under way have left, in order. */
  get waits() {
    return [...this.#timers.values()].map(({ at }) => at - this.#now).sort((a, b) => a - b);
  }

  async advance(ms) {
    const end = this.#now + ms;
    for (;;) {
      await settled();
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.#now = due[1].at;
      due[1].callback();
    }
    this.#now = end;
    await settled();
  }
}

/** Let everything run that needs no time. */
export async function settled() {
  for (let i = 0; i < 30; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** A body that a test writes. */
export class Body {
  stream = new ReadableStream({
    start: (controller) => (this.controller = controller),
    cancel: () => (this.cancelled = true),
  });
  #utf8 = new TextEncoder();

  write(text) {
    this.controller.enqueue(this.#utf8.encode(text));
    return this;
  }
  end() {
    this.controller.close();
    return this;
  }
  break() {
    this.controller.error(new TypeError("terminated"));
    return this;
  }
}

export const chunk = (content, more = {}, finish_reason = null) => ({
  id: "c1",
  object: "chat.completion.chunk",
  created: 1,
  model: "m",
  choices: [{ index: 0, delta: { ...(content !== null && { content }), ...more }, finish_reason }],
});

/** Events as the gateway sends them: with an offset, or as others do: without. */
export const event = (value, id) => `data: ${typeof value === "string" ? value : JSON.stringify(value)}\n${id === undefined ? "" : `id: ${offset(id)}\n`}\n`;
export const offset = (n) => String(n).padStart(16, "0");
export const FINISH = chunk(null, {}, "stop");

/** A `fetch` that answers with what the test has lined up, and remembers what it was asked. */
export class Server {
  asked = [];
  #answers;

  constructor(...answers) {
    this.#answers = answers;
  }

  fetch = async (input, init = {}) => {
    const call = { url: String(input), method: init.method ?? "GET", headers: new Headers(init.headers), signal: init.signal, body: init.body };
    this.asked.push(call);
    if (call.url.endsWith("/cancel")) return new Response(null, { status: 204 });
    const answer = this.#answers.shift();
    if (answer === undefined) throw new Error(`nobody expected ${call.method} ${call.url}`);
    const given = typeof answer === "function" ? await answer(call) : answer;
    if (given instanceof Error) throw given;
    if (given.body) init.signal?.addEventListener("abort", () => given.broken?.(init.signal.reason));
    return given;
  };
}

/** An answer with an event stream; of the gateway when it has an `id`. */
export function sse(body, { id, status = 200, ...headers } = {}) {
  const stream = body instanceof Body ? body.stream : body;
  const response = new Response(stream, {
    status,
    headers: { "Content-Type": "text/event-stream; charset=utf-8", ...(id && { Location: `/v1/stream/${id}` }), ...headers },
  });
  if (body instanceof Body) {
    response.broken = (reason) => {
      try {
        body.controller.error(reason);
      } catch {
        // It has ended.
      }
    };
  }
  return response;
}

/** A process that says where it listens. */
export async function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"], ...options });
  const exited = once(child, "exit");
  const first = await Promise.race([
    once(createInterface({ input: child.stdout }), "line").then(([line]) => line),
    exited.then(([code]) => {
      throw new Error(`${command} ${args.join(" ")} exited with ${code}`);
    }),
  ]);
  return {
    first,
    url: /http:\/\/127\.0\.0\.1:\d+/.exec(first)?.[0],
    async kill() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await exited;
    },
  };
}

export const startGateway = (upstream, journal, port = 0, ...more) =>
  start(EVERYTOKEN, ["serve", "--port", String(port), "--journal", journal, "--upstream", upstream, "--log-level", "error", ...more]);

export const startUpstream = (...options) => start(EVERYTOKEN, ["fake-upstream", ...options]);

/** A model server in this process; `serve(request, response, body)` writes the answers. */
export async function modelServer(serve) {
  const server = createHttpServer(async (request, response) => {
    let body = "";
    for await (const piece of request) body += piece;
    serve(request, response, body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}/v1`,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A TCP proxy. `cut(bytes)`: the next connection is cut behind so many bytes of its answer, the ones after it are not. */
export class CuttingWire {
  #server;
  #limit = Infinity;
  port;
  bytes = 0;

  constructor(url) {
    this.target = Number(new URL(url).port);
    this.#server = createServer((near) => this.#join(near));
  }

  async start() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
    return this;
  }

  cut(limit, how = "reset") {
    this.#limit = limit;
    this.how = how;
  }

  #join(near) {
    let left = this.#limit;
    this.#limit = Infinity;
    const far = connect(this.target, "127.0.0.1");
    near.pipe(far);
    far.on("data", (data) => {
      this.bytes += data.length;
      near.write(data.subarray(0, left));
      left -= data.length;
      if (left > 0) return;
      far.destroy();
      if (this.how === "reset") near.resetAndDestroy();
      else near.end();
    });
    far.on("close", () => near.end());
    for (const socket of [near, far]) socket.on("error", () => {});
    near.on("close", () => far.destroy());
  }

  stop() {
    this.#server.close();
  }
}

/** The guide's loop, and what it prints. */
export async function guide(client, options) {
  const stream = await client.chat.completions.create({ model: "...", messages: MESSAGES, stream: true }, options);
  let text = "";
  for await (const chunk of stream) {
    const content = chunk.choices[0]?.delta?.content || "";
    text += content;
  }
  return text;
}
