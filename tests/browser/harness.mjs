// What a browser test needs: an upstream that the test moves by hand, the gateway as its own process, a browser.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import { connect, createServer as createTcpServer } from "node:net";
import { createInterface } from "node:readline";
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

/** An OpenAI-compatible server. Each request waits in `next()` until the test takes it and writes its answer. */
export class Upstream {
  #server = createServer((request, response) => this.#serve(request, response));
  #arrived = [];
  #waiting = [];

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
      const late = setTimeout(() => reject(new Error("no request has reached the model")), LIMIT_MS);
      this.#waiting.push((arrived) => (clearTimeout(late), resolve(arrived)));
    });
  }

  /** How many requests nobody has taken yet. */
  get untaken() {
    return this.#arrived.length;
  }

  async #serve(request, response) {
    if (request.url === "/v1/models") {
      response.end(JSON.stringify({ object: "list", data: [{ id: "scripted", object: "model" }] }));
      return;
    }
    let body = "";
    for await (const piece of request) body += piece;
    const call = new Call(JSON.parse(body), response);
    const taker = this.#waiting.shift();
    if (taker) taker(call);
    else this.#arrived.push(call);
  }
}

class Call {
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

  finish(reason = "stop") {
    this.#chunk({}, reason);
    this.response.end("data: [DONE]\n\n");
  }

  /** The fault "clean end in the middle": the body ends, the answer does not. */
  cut() {
    this.response.end();
  }

  #chunk(delta, finish_reason = null) {
    const chunk = {
      id: "chatcmpl-1",
      object: "chat.completion.chunk",
      created: 1,
      model: "scripted",
      choices: [{ index: 0, delta, finish_reason }],
    };
    this.response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  }
}

/** The wire between browser and gateway, which can be cut and joined again. */
export class Wire {
  #open = new Set();
  #cut = false;
  #server;

  constructor(port) {
    this.#server = createTcpServer((near) => {
      if (this.#cut) return near.destroy();
      const far = connect(port, "127.0.0.1");
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

/** `everytoken serve` in front of `upstream`, on a free port. */
export async function startGateway(upstream) {
  const options = ["serve", "--host", "127.0.0.1", "--port", "0", "--journal", "memory", "--upstream", upstream.url];
  const child = spawn(process.env.EVERYTOKEN ?? "everytoken", options, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, EVERYTOKEN_ATTEMPTS: "1", PYTHONUNBUFFERED: "1" },
  });
  const said = [];
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
  const exited = once(child, "exit");
  return {
    url,
    port: Number(new URL(url).port),
    async stop(signal = "SIGKILL") {
      child.kill(signal);
      await exited;
    },
  };
}

export function launchBrowser() {
  const executablePath = BROWSERS.find((path) => path && existsSync(path));
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}
