// What a browser test needs: an upstream that the test moves by hand, the gateway as its own process, a browser.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import { connect, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, afterEach } from "node:test";
import { chromium } from "playwright-core";

const BROWSERS = [
  process.env.CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

const LIMIT_MS = 10_000;

/** What no page may have: an exception or a rejection that nobody handles. Looked at after each test of every file. */
const unhandled = [];

function noneUnhandled() {
  const errors = unhandled.splice(0);
  if (errors.length) throw new Error(`a page has errors that nobody handles:\n${errors.join("\n")}`);
}

if (process.env.NODE_TEST_CONTEXT) {
  afterEach(noneUnhandled);
  after(noneUnhandled);
} else {
  process.on("exit", noneUnhandled);
}

function watched(context) {
  context.on("weberror", (error) => unhandled.push(`${error.page()?.url()}: ${error.error().stack || error.error()}`));
  return context;
}

/** An OpenAI-compatible server. Each request waits in `next()` until the test takes it and writes its answer. */
export class Upstream {
  #server = createServer((request, response) => this.#serve(request, response));
  #arrived = [];
  #waiting = [];
  #held = Promise.resolve();
  #refusal = null;

  async start() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `http://127.0.0.1:${this.#server.address().port}/v1`;
    return this;
  }

  stop() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** The next chat request: {body, write(text), finish(reason), cut(), closed}. */
  next() {
    const call = this.#arrived.shift();
    if (call) return Promise.resolve(call);
    return new Promise((resolve, reject) => {
      const take = (arrived) => (clearTimeout(late), resolve(arrived));
      const late = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(take), 1); // the next request is not for who has given up
        reject(new Error("no request has reached the model"));
      }, LIMIT_MS);
      this.#waiting.push(take);
    });
  }

  /** Let requests wait for their first byte until what this returns is called. */
  hold() {
    let release;
    this.#held = new Promise((resolve) => (release = resolve));
    return release;
  }

  /** Refuse the next chat request. */
  refuse(status, body) {
    this.#refusal = { status, body };
  }

  /** How many requests nobody has taken yet. */
  get untaken() {
    return this.#arrived.length;
  }

  async #serve(request, response) {
    if (request.url === "/v1/models") {
      response.setHeader("Content-Type", "application/json");
      response.end(JSON.stringify({ object: "list", data: [{ id: "scripted", object: "model" }] }));
      return;
    }
    let body = "";
    for await (const piece of request) body += piece;
    await this.#held;
    if (this.#refusal) {
      const { status, body: refusal } = this.#refusal;
      this.#refusal = null;
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(JSON.stringify(refusal));
      return;
    }
    const call = new Call(JSON.parse(body), response);
    const taker = this.#waiting.shift();
    if (taker) taker(call);
    else this.#arrived.push(call);
  }
}

export class Call {
  constructor(body, response) {
    this.body = body;
    /** Resolves when the connection has closed, from whichever side. */
    this.closed = once(response, "close");
    this.response = response;
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    this.#chunk({ role: "assistant", content: "" });
  }

  write(...texts) {
    for (const content of texts) this.#chunk({ content });
    return this;
  }

  reason(text) {
    this.#chunk({ reasoning_content: text });
    return this;
  }

  /** Bytes as they are: for reads that end anywhere. */
  raw(bytes) {
    this.response.write(bytes);
    return this;
  }

  finish(reason = "stop") {
    this.#chunk({}, reason);
    this.response.end("data: [DONE]\n\n");
  }

  /** The fault "clean end in the middle": the body ends, the answer does not. */
  cut() {
    this.response.end();
  }

  /** The bytes of a chunk. */
  static chunk(delta, finish_reason = null) {
    const chunk = {
      id: "chatcmpl-1",
      object: "chat.completion.chunk",
      created: 1,
      model: "scripted",
      choices: [{ index: 0, delta, finish_reason }],
    };
    return Buffer.from(`data: ${JSON.stringify(chunk)}\n\n`);
  }

  #chunk(delta, finish_reason) {
    this.raw(Call.chunk(delta, finish_reason));
  }
}

const ASKED = /POST \S*\/chat\/completions /g;

/** The wire between browser and gateway, which can be cut and joined again, and knows what was asked over it. */
export class Wire {
  /** How often a question was POSTed. */
  posts = 0;
  #open = new Set();
  #cut = false;
  #server;

  constructor(port) {
    /** Where it leads. */
    this.port = port;
    this.#server = createTcpServer((near) => {
      if (this.#cut) return near.destroy();
      // A browser writes a request's head at once, so none is cut in two.
      near.on("data", (data) => (this.posts += data.toString("latin1").match(ASKED)?.length ?? 0));
      const far = connect(this.port, "127.0.0.1");
      for (const [from, to] of [[near, far], [far, near]]) {
        this.#open.add(from);
        from.pipe(to);
        from.on("error", () => to.destroy());
        from.on("close", () => (this.#open.delete(from), to.destroy()));
      }
    });
  }

  async start() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
    return this;
  }

  cut() {
    this.#cut = true;
    for (const socket of this.#open) socket.resetAndDestroy();
  }

  join() {
    this.#cut = false;
  }

  stop() {
    this.cut();
    this.#server.close();
  }
}

/**
 * A server that passes every request on to the gateway at `port` as it came, except where `instead(request, response)`
 * returns true: {url, port, passed (each request and the status and headers of its answer), stop()}.
 */
export async function startProxy(port, instead = () => false) {
  const passed = [];
  const server = createServer((request, response) => {
    if (instead(request, response)) return;
    const { method, url, headers } = request;
    const on = httpRequest({ port, host: "127.0.0.1", method, path: url, headers }, (answer) => {
      passed.push({ method, url, headers, status: answer.statusCode, answered: answer.headers });
      response.writeHead(answer.statusCode, answer.headers);
      response.flushHeaders();
      answer.pipe(response);
      answer.on("close", () => answer.complete || response.destroy());
    });
    on.on("error", () => response.destroy());
    response.on("close", () => on.destroy());
    request.pipe(on);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    port: server.address().port,
    passed,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** The same, but the body of an answer of `path` breaks in its middle; `broken` settles when it has. */
export async function startHalf(path, port, status = 200) {
  let done;
  const broken = new Promise((resolve) => (done = resolve));
  const proxy = await startProxy(port, (request, response) => {
    if (request.url !== path) return false;
    response.writeHead(status, { "Content-Type": "application/json", "Content-Length": "1000" });
    response.write('{"object": "list", "data": [', () => {
      response.socket.destroySoon(); // what is written goes out first
      done();
    });
    return true;
  });
  return { ...proxy, broken };
}

/** `everytoken serve` in front of `upstream`, or of the embedded model, on a free port. */
export async function startGateway(upstream, { journal = "memory", options = [], environ = {} } = {}) {
  const command = ["serve", "--host", "127.0.0.1", "--port", "0", "--journal", journal, ...options];
  if (upstream) command.push("--upstream", upstream.url);
  const child = spawn(process.env.EVERYTOKEN ?? "everytoken", command, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...(upstream && { EVERYTOKEN_ATTEMPTS: "1" }), PYTHONUNBUFFERED: "1", ...environ },
  });
  const said = [];
  const exited = once(child, "exit");
  const url = await new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        said.push(line);
        const match = /http:\/\/127\.0\.0\.1:\d+/.exec(line);
        if (match) resolve(match[0]);
      });
    }
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`everytoken serve exited with ${code}:\n${said.join("\n")}`)));
  });
  return {
    url,
    port: Number(new URL(url).port),
    /** What it has printed and logged. */
    said,
    async stop(signal = "SIGKILL") {
      child.kill(signal);
      await exited;
    },
  };
}

/** What the journal has of a response, by the Durable Streams protocol: {text, closed}; once `enough`, or all of it. */
export async function journaled(gateway, id, enough = () => true) {
  const so = { text: "", closed: false };
  for (let [offset, live] = ["-1", ""]; ; ) {
    const answer = await fetch(`${gateway.url}/v1/stream/${id}?offset=${offset}${live}`);
    if (!answer.ok) throw new Error(`the journal answers ${answer.status}: ${await answer.text()}`);
    if (answer.status === 200) for (const { choices } of await answer.json()) so.text += choices?.[0]?.delta?.content ?? "";
    offset = answer.headers.get("Stream-Next-Offset");
    so.closed = answer.headers.has("Stream-Closed");
    if (!answer.headers.has("Stream-Up-To-Date")) continue;
    if (so.closed || enough(so)) return so;
    live = "&live=long-poll";
  }
}

function browserPath() {
  return BROWSERS.find((path) => path && existsSync(path));
}

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/**
 * A browser as people have it: its tabs share one window, so that one tab in front hides the others. One that playwright
 * launches shows every page all the time.
 */
export async function openBrowser() {
  const profile = mkdtempSync(join(tmpdir(), "everytoken-browser-"));
  const child = spawn(browserPath(), ["--headless", "--remote-debugging-port=0", `--user-data-dir=${profile}`, ...FLAGS], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const exited = once(child, "exit");
  const endpoint = new Promise((resolve, reject) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      const match = /ws:\/\/\S+/.exec(line);
      if (match) resolve(match[0]);
    });
    exited.then(([code]) => reject(new Error(`the browser exited with ${code}`)), reject);
  });
  const browser = await chromium.connectOverCDP(await endpoint, { noDefaults: true });
  return {
    context: watched(browser.contexts()[0]),
    async close() {
      // Asked to, it waits for its own processes, which else go on writing into the profile.
      const cdp = await browser.newBrowserCDPSession();
      await cdp.send("Browser.close").catch(() => {}); // it may be gone before it has answered
      await exited;
      rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
    },
  };
}

/** The last message of the conversation that a chat page shows, as the browser has stored it. */
export function lastMessage(page) {
  return page.evaluate(async () => {
    const [{ read }, { path }] = await Promise.all([import("/assets/store.js"), import("/assets/tree.js")]);
    const record = await read(location.hash.slice(1));
    return record ? path(record).at(-1) : undefined;
  });
}

/** A function that tells the milliseconds of processor time a page's main thread has had; other work does not count in them. */
export async function processorTime(page) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  return async () => {
    const { metrics } = await cdp.send("Performance.getMetrics");
    return metrics.find(({ name }) => name === "TaskDuration").value * 1000;
  };
}

export async function launchBrowser({ args = [] } = {}) {
  const browser = await chromium.launch({ executablePath: browserPath(), args: [...FLAGS, ...args] });
  const open = browser.newContext.bind(browser);
  browser.newContext = async (options) => watched(await open(options));
  return browser;
}
