// What a page of another origin can do to a gateway on the reader's machine: nothing, unless `origins` lists it.
//
// 127.0.0.1 with another port is the same site for a browser, localhost is another one: both are strangers here.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launchBrowser, startGateway, startProxy, Upstream, Wire } from "./harness.mjs";

const JS = new URL("../../js/", import.meta.url);
const KEY = "sk-a-key-of-this-test";
const asking = (content) => JSON.stringify({ model: "default", messages: [{ role: "user", content }], stream: true });
const QUESTION = asking("Hello");
const STRANGERS = asking("What a stranger asks");
const POSTS = ["/v1/chat/completions", "/api/chat"];

let folder, upstream, gateway, listing, proxy, site, browser, context, page;
let stored; // a response that has ended

/** A server of pages that are not the gateway's: what attacks, and the npm package. */
async function startSite() {
  const { build } = createRequire(new URL("package.json", JS))("esbuild");
  const { outputFiles } = await build({
    stdin: { contents: 'export * from "everytoken"', resolveDir: fileURLToPath(JS) },
    bundle: true,
    format: "esm",
    write: false,
  });
  const server = createServer((request, response) => {
    if (request.url === "/everytoken.js") return response.writeHead(200, { "Content-Type": "text/javascript" }).end(outputFiles[0].contents);
    response.writeHead(request.url === "/" ? 200 : 204, { "Content-Type": "text/html" }).end(request.url === "/" ? "<!doctype html><title>site</title>" : "");
  });
  server.listen(0);
  await once(server, "listening");
  return server;
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "everytoken-origins-"));
  [upstream, site] = await Promise.all([new Upstream().start(), startSite()]);
  browser = await launchBrowser({ args: ["--host-resolver-rules=MAP evil.example 127.0.0.1"] });
  gateway = await startGateway(upstream, { journal: `sqlite:///${join(folder, "journal.db")}` });
  const config = join(folder, "everytoken.toml");
  writeFileSync(config, `origins = ["${origin("localhost")}"]\nhosts = ["evil.example"]\napi_keys = ["${KEY}"]`);
  listing = await startGateway(upstream, { options: ["--config", config] });
  proxy = await startProxy(gateway.port);
});

after(async () => {
  await browser?.close();
  proxy?.stop();
  site?.closeAllConnections();
  site?.close();
  await listing?.stop();
  await gateway?.stop();
  upstream?.stop();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  context = await browser.newContext();
  page = await context.newPage();
  page.setDefaultTimeout(10_000);
});

afterEach(async () => {
  await context.close();
  assert.equal(upstream.untaken, 0);
});

const origin = (host) => `http://${host}:${site.address().port}`;

/** Ask as a program does: its requests have no `Origin`. Returns the response's path. */
async function program() {
  const asked = fetch(`${gateway.url}/v1/chat/completions`, { method: "POST", headers: { "Content-Type": "application/json" }, body: QUESTION });
  (await upstream.next()).write("Secret.").finish();
  const answer = await asked;
  assert.equal(answer.status, 200);
  assert.match(await answer.text(), /Secret[^]*\[DONE\]/);
  return new URL(answer.headers.get("Location"), gateway.url).pathname;
}

/** Nothing has reached the model, and every request that is no preflight was refused. */
async function nothing({ requests = 1, status = 403 } = {}) {
  const passed = proxy.passed.filter(({ url }) => url !== "/favicon.ico");
  const asked = passed.filter(({ method }) => method !== "OPTIONS");
  assert.ok(passed.length >= requests, `${passed.length} requests have reached the gateway`);
  for (const { method, url, status: was } of asked) assert.equal(was, status, `${method} ${url}`);
  for (const { url, answered } of passed) {
    for (const name of ["access-control-allow-origin", "location"]) assert.equal(answered[name], undefined, url);
  }
  assert.equal(upstream.untaken, 0);
  await program(); // others are served as before
  notJournaled();
}

/** No file of the journal has a word of a page: requests stand in it as they came, and so do the names of streams. */
function notJournaled() {
  const files = readdirSync(folder).filter((name) => name.startsWith("journal.db"));
  const stored = files.map((name) => readFileSync(join(folder, name), "latin1")).join("");
  assert.ok(stored.includes("Hello"), "what a program asks is found there");
  // But for what a program of ours has asked for, to see that it is not there: that is in the request log.
  const ours = /\{"at":[^{}]*"method":"(GET|HEAD)","path":"[^"]*strangers"\}/g;
  assert.ok(!/stranger/i.test(stored.replaceAll(ours, "")));
}

/** What a request of a page gave it: the status and text, or that there was none. */
const tried = (url, init) =>
  page.evaluate(
    ([url, init]) => fetch(url, init).then(async (response) => ({ type: response.type, status: response.status, text: await response.text() }), () => "failed"),
    [url, init],
  );

for (const host of ["127.0.0.1", "localhost"]) {
  describe(`a page of ${host}, which is not listed,`, () => {
    beforeEach(async () => {
      stored = await program();
      await page.goto(origin(host));
      proxy.passed.length = 0;
    });

    for (const path of POSTS) {
      test(`cannot POST JSON to ${path}`, async () => {
        const got = await tried(proxy.url + path, { method: "POST", headers: { "Content-Type": "application/json" }, body: STRANGERS });
        assert.equal(got, "failed");
        assert.deepEqual(proxy.passed.map(({ method }) => method), ["OPTIONS"]); // it has not even been sent
        await nothing();
      });

      for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]) {
        test(`cannot POST to ${path} without a preflight, as ${type || "nothing"}`, async () => {
          const body = await page.evaluateHandle(([text, type]) => new Blob([text], { type }), [STRANGERS, type]);
          const got = await page.evaluate(
            ([url, body]) => fetch(url, { method: "POST", mode: "no-cors", body }).then(({ type, status }) => ({ type, status })),
            [proxy.url + path, body],
          );
          assert.deepEqual(got, { type: "opaque", status: 0 });
          await nothing();
        });
      }

      test(`cannot send a beacon to ${path}`, async () => {
        assert.equal(await page.evaluate(([url, body]) => navigator.sendBeacon(url, body), [proxy.url + path, STRANGERS]), true);
        while (!proxy.passed.length) await page.evaluate(() => {});
        await nothing();
      });

      for (const target of ["_self", "_blank", "frame"]) {
        test(`cannot send a form to ${path}, into ${target}`, async () => {
          const answered = context.waitForEvent("response", (response) => response.url() === proxy.url + path);
          await page.evaluate(
            ([action, text, target]) => {
              document.body.innerHTML = `<iframe name=frame></iframe><form method=post enctype=text/plain target=${target}><input type=hidden></form>`;
              const [form] = document.forms;
              form.action = action;
              // The body is name=value: the `=` goes into a string.
              form[0].name = `${text.slice(0, -1)}, "user": "`;
              form[0].value = '"}';
              form.submit();
            },
            [proxy.url + path, STRANGERS, target],
          );
          assert.equal((await answered).status(), 403);
          await nothing();
        });
      }
    }

    test("cannot read what a route serves: fetch, with and without CORS", async () => {
      const paths = ["/v1/models", stored, `${stored}/events`];
      for (const path of paths) {
        assert.equal(await tried(proxy.url + path, {}), "failed");
        assert.equal((await tried(proxy.url + path, { mode: "no-cors" })).text, "");
      }
      await nothing({ requests: 2 * paths.length });
    });

    test("cannot read it through <img>, <script>, <link> or EventSource", async () => {
      const paths = ["/v1/models", stored, `${stored}/events`];
      const ended = await page.evaluate(
        ([base, paths]) =>
          Promise.all(
            paths.flatMap((path) => [
              ...["img", "script", "link"].map((name) => {
                const element = document.createElement(name);
                const ended = new Promise((resolve) => ((element.onload = () => resolve("loaded")), (element.onerror = () => resolve("failed"))));
                element.rel = "stylesheet";
                element[name === "link" ? "href" : "src"] = base + path;
                document.head.append(element);
                return ended;
              }),
              new Promise((resolve) => {
                const source = new EventSource(base + path);
                source.onmessage = ({ data }) => resolve(data);
                source.onerror = () => source.readyState === EventSource.CLOSED && resolve("failed");
              }),
            ]),
          ),
        [proxy.url, paths],
      );
      assert.deepEqual(new Set(ended), new Set(["failed"]));
      await nothing({ requests: 4 * paths.length });
    });

    test("cannot show it in a frame", async () => {
      for (const path of ["/v1/models", stored, `${stored}/events`]) {
        const answered = page.waitForResponse(proxy.url + path);
        await page.evaluate((src) => document.body.append(Object.assign(document.createElement("iframe"), { src })), proxy.url + path);
        assert.equal((await answered).status(), 403, path);
      }
      await nothing({ requests: 3 });
    });

    test("cannot show the chat page in a frame", async () => {
      await page.evaluate(
        (src) =>
          new Promise((resolve) => {
            const frame = document.createElement("iframe");
            frame.onload = resolve;
            frame.src = src;
            document.body.append(frame);
          }),
        proxy.url,
      );
      for (const frame of page.frames()) assert.equal(await frame.locator("#prompt").count(), 0);
    });

    test("cannot stop a response, nor write to a stream", async () => {
      const asked = fetch(`${gateway.url}/v1/chat/completions`, { method: "POST", headers: { "Content-Type": "application/json" }, body: QUESTION });
      const call = await upstream.next();
      call.write("Still ");
      const answer = await asked;
      const path = new URL(answer.headers.get("Location"), gateway.url).pathname;
      assert.equal((await tried(`${proxy.url}${path}/cancel`, { method: "POST", mode: "no-cors" })).type, "opaque");
      const ours = `/v1/stream/ours-${host}`; // anybody may append to it who may call
      assert.equal((await fetch(gateway.url + ours, { method: "PUT", headers: { "Content-Type": "text/plain" }, body: "ours" })).status, 201);
      for (const to of [path, ours, "/v1/stream/strangers"]) {
        for (const method of ["POST", "PUT", "DELETE"]) assert.equal(await tried(proxy.url + to, { method, headers: { "Content-Type": "application/json" }, body: '["stranger"]' }), "failed");
        assert.equal((await tried(proxy.url + to, { method: "POST", mode: "no-cors", body: "stranger" })).type, "opaque");
      }
      assert.equal(await tried(`${proxy.url}/v1/stream/strangers`, { method: "PUT", body: "stranger" }), "failed");
      const posts = proxy.passed.filter(({ method }) => method !== "OPTIONS");
      assert.deepEqual(posts.map(({ method, status }) => [method, status]), Array(4).fill(["POST", 403]));
      call.write("here.").finish();
      assert.match(await answer.text(), /Still [^]*here\.[^]*\[DONE\]/);
      assert.equal((await fetch(`${gateway.url}/v1/stream/strangers`)).status, 404);
      assert.equal(await (await fetch(gateway.url + ours)).text(), "ours");
      notJournaled();
    });
  });
}

test("the refusal says which setting would allow it", async () => {
  await page.goto(origin("localhost"));
  const answered = context.waitForEvent("response", (response) => response.url() === `${proxy.url}/v1/models`);
  await page.evaluate((url) => (location.href = url), `${proxy.url}/v1/models`);
  const refusal = await answered;
  assert.equal(refusal.status(), 403);
  assert.match(await refusal.text(), /origins/);
});

test("a page of the gateway's own origin asks as before, also with a body that has no type of its own", async () => {
  await page.goto(proxy.url);
  for (const path of POSTS) {
    for (const headers of [{}, { "Content-Type": "application/json" }]) {
      const got = tried(proxy.url + path, { method: "POST", headers, body: QUESTION });
      (await upstream.next()).write("Here.").finish();
      const { status, text } = await got;
      assert.equal(status, 200, text);
      assert.match(text, /Here\./);
    }
  }
  const types = proxy.passed.filter(({ method }) => method === "POST").map(({ headers }) => headers["content-type"]);
  assert.ok(types.includes("text/plain;charset=UTF-8"));
});

test("an address that somebody has typed is shown", async () => {
  assert.equal((await page.goto(`${gateway.url}/v1/models`)).status(), 200);
  assert.match(await page.locator("body").innerText(), /scripted/);
});

describe("a name that has been pointed at this machine", () => {
  test("is not the gateway's", async () => {
    for (const path of ["/", "/v1/models"]) {
      assert.equal((await page.goto(`http://evil.example:${gateway.port}${path}`)).status(), 421, path);
    }
    for (const path of POSTS) {
      const got = await tried(`http://evil.example:${gateway.port}${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: QUESTION });
      assert.equal(got.status, 421);
    }
  });

  test("is where `hosts` has it", async () => {
    assert.equal((await page.goto(`http://evil.example:${listing.port}/`)).status(), 200);
    await page.locator("#prompt").waitFor();
  });
});

describe("a page of an origin that is listed", () => {
  let wire;

  beforeEach(async () => {
    wire = await new Wire(listing.port).start();
    await page.goto(origin("localhost"));
    await page.evaluate(
      async ([base, key, question]) => {
        const { createFetch, stream } = await import("/everytoken.js");
        const policy = { backoff: 0.05, backoffMax: 0.05 };
        const headers = { Authorization: `Bearer ${key}` };
        Object.assign(window, {
          headers,
          ask() {
            window.answer = stream(`${base}/v1/chat/completions`, { body: JSON.parse(question), headers, policy });
            window.done = (async () => {
              for await (const _ of answer);
            })();
          },
          loop: (path) => createFetch({ policy })(base + path, { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: question }),
        });
      },
      [wire.url, KEY, QUESTION],
    );
  });

  afterEach(() => wire.stop());

  const grown = (text) => page.waitForFunction((text) => answer.text === text, text);

  test("reads with `stream()`, which knows where it is, and reads on over a cut", async () => {
    await page.evaluate(() => ask());
    const call = await upstream.next();
    call.write("Before ");
    await grown("Before ");
    assert.match(await page.evaluate(() => answer.url), new RegExp(`^${wire.url}/v1/stream/[\\w-]+$`)); // the Location
    wire.cut();
    await page.waitForFunction(() => answer.state === "reconnecting");
    call.write("and ");
    wire.join();
    await grown("Before and ");
    call.write("after.").finish();
    await page.evaluate(() => done);
    assert.deepEqual(await page.evaluate(() => [answer.text, answer.state]), ["Before and after.", "completed"]);
    // Durable Streams, as any client reads them.
    const [status, next, upToDate] = await page.evaluate(async () => {
      const response = await fetch(`${answer.url}?offset=-1`, { headers });
      return [response.status, response.headers.get("Stream-Next-Offset"), response.headers.has("Stream-Up-To-Date")];
    });
    assert.deepEqual([status, upToDate], [200, true]);
    assert.ok(next);
  });

  test("stops a response with `stop()`", async () => {
    await page.evaluate(() => ask());
    const call = await upstream.next();
    call.write("Before ");
    await grown("Before ");
    await page.evaluate(() => answer.stop());
    await call.closed;
    await page.evaluate(() => done);
    assert.equal(await page.evaluate(() => answer.state), "cancelled");
  });

  for (const path of ["/v1/chat/completions"]) {
    test(`reads ${path} with \`fetch\`, over a cut`, async () => {
      const got = page.evaluate((path) => loop(path).then(async (response) => ({ location: response.headers.get("Location"), text: await response.text() })), path);
      const call = await upstream.next();
      call.write("Before ");
      wire.cut();
      wire.join();
      call.write("and after.").finish();
      const { location, text } = await got;
      assert.ok(location);
      assert.match(text, /\[DONE\]/);
      const content = text.split("\n").filter((line) => line.startsWith("data: {")).map((line) => JSON.parse(line.slice(6)).choices[0]?.delta?.content ?? "");
      assert.equal(content.join(""), "Before and after.");
    });
  }

  test("reads `/api/chat`, the models, and a refusal in its words", async () => {
    const answered = page.evaluate(([url, body]) => fetch(url, { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body }).then((r) => r.text()), [`${wire.url}/api/chat`, QUESTION]);
    (await upstream.next()).write("Here.").finish();
    assert.match(await answered, /Here\./);
    const read = (sent) => page.evaluate(([url, sent]) => fetch(url, sent ? { headers } : {}).then(async (r) => [r.status, await r.json()]), [`${wire.url}/v1/models`, sent]);
    assert.equal((await read(true))[1].data[0].id, "scripted");
    const [status, { error }] = await read(false);
    assert.deepEqual([status, error.code], [401, "authentication-failed"]); // a preflight has no key and needs none
  });

  test("is the only one: another origin is refused", async () => {
    await page.goto(origin("127.0.0.1"));
    const headers = { Authorization: `Bearer ${KEY}` };
    assert.equal(await tried(`${wire.url}/v1/models`, { headers }), "failed");
    assert.equal(await tried(`${wire.url}/v1/chat/completions`, { method: "POST", headers, body: QUESTION }), "failed");
  });
});
