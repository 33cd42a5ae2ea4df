// examples/nextjs as it is built: the guide's component, `useStream` and `useChat` on one page, through Next's own server.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { hydrated, serveExample } from "./example.mjs";
import { launchBrowser, startGateway, Upstream, Wire } from "./harness.mjs";

const COLUMNS = ["guide", "stream", "ai"];
const RESUMING = ["stream", "ai"];
const HALF = "你好，世界！👩‍👩‍👧 สวัสดีชาวโลก ";
const REST = "שלום עולם، مرحبا بالعالم und Wörter. ";

let upstream, gateway, app, wire, browser, context, page, faults, posts;

before(async () => {
  [upstream, browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
  gateway = await startGateway(upstream);
  app = await serveExample("nextjs", gateway);
  wire = await new Wire(app.port).start();
  context = await browser.newContext();
});

after(async () => {
  await browser?.close();
  wire?.stop();
  await app?.stop();
  await gateway?.stop();
  upstream?.stop();
});

beforeEach(async () => {
  [faults, posts] = [[], []];
  page = await open();
});

afterEach(async () => {
  wire.join();
  await Promise.all(context.pages().map((opened) => opened.close()));
  assert.deepEqual(faults, []); // no exception, and nothing from another host
  assert.equal(upstream.untaken, 0); // no request to the model that the test did not expect
});

async function open(url = wire.url) {
  const opened = await context.newPage();
  opened.setDefaultTimeout(10_000);
  opened.on("pageerror", (error) => faults.push(String(error)));
  opened.on("request", (request) => {
    if (!request.url().startsWith(wire.url)) faults.push(request.url());
    if (request.method() === "POST") posts.push(new URL(request.url()).pathname);
  });
  await opened.goto(url);
  await hydrated(opened);
  return opened;
}

/** Ask what every column answers: the three requests that reach the model. */
async function ask(prompt) {
  await page.fill("[name=prompt]", prompt);
  await page.keyboard.press("Enter");
  return [await upstream.next(), await upstream.next(), await upstream.next()];
}

/** The same, where it matters which is which: each answer begins with a number of its own. */
async function askEach(prompt) {
  const calls = await ask(prompt);
  for (const [number, call] of calls.entries()) call.write(`${number} `);
  const numbers = [];
  for (const column of COLUMNS) {
    await page.waitForFunction((column) => document.querySelector(`.${column} > :last-child`).textContent.match(/\d (▊|$)/), column);
    numbers.push(/(\d) $/.exec(await shown(column))[1]);
  }
  assert.deepEqual([...numbers].sort(), ["0", "1", "2"]);
  return numbers.map((number) => ({ call: calls[number], head: `${number} ` }));
}

// What the page has answered, without the cursor and without the question.
const read = (column) => {
  const place = document.querySelector(`.${column} > :last-child`);
  const answer = column === "ai" ? [...place.querySelectorAll(".answer")].at(-1) : place;
  return (answer?.textContent ?? "").replace(/▊$/, "");
};
const shown = (column, on = page) => on.evaluate(read, column);
async function shows(columns, text, on = page) {
  for (const column of columns) {
    const same = `(${read})(${JSON.stringify(column)}) === ${JSON.stringify(text)}`;
    await on.waitForFunction(same).catch(async (error) => assert.equal(await shown(column, on), text, `${column}: ${error.message}`));
  }
}
const state = (column, wanted, on = page) => on.locator(`.${column} [data-state=${wanted}]`).waitFor();
const press = (column, button, on = page) => on.click(`.${column} button:text-is("${button}")`);
const waiting = (on = page) => on.locator("form button").isDisabled();

test("one prompt, and the same answer in every column: as it is written, and exact", async () => {
  const calls = await ask("Hello");
  for (const call of calls) assert.deepEqual(call.body.messages, [{ role: "user", content: "Hello" }]);
  assert.deepEqual(posts.sort(), ["/api/chat", "/api/chat", "/v1/chat/completions"]);
  assert.equal(await waiting(), true);
  const piece = `${HALF}${REST}🌍 `;
  for (let number = 1; number <= 4; number++) {
    for (const call of calls) call.write(piece);
    await shows(COLUMNS, piece.repeat(number)); // before the next one is written
  }
  // 30 kB at once, more than one write of the gateway: no read may end inside a character either. (Far more than
  // 64 kB at once would be cut anywhere by the proxy between, which no server can prevent.)
  const long = "🌍你好 ".repeat(2700);
  for (const call of calls) call.write(long, "Ende.").finish();
  await shows(COLUMNS, `${piece.repeat(4)}${long}Ende.`);
  for (const column of RESUMING) await state(column, "completed");
  await page.locator(".animate-pulse, [data-cursor]").waitFor({ state: "detached" });
  assert.equal(await waiting(), false);
});

test("a reload in the middle: both hooks show the whole text and go on, and nobody is asked again", async () => {
  const calls = await ask("Hello");
  for (const call of calls) call.write(HALF);
  await shows(COLUMNS, HALF);
  const asked = posts.length;
  await page.reload();
  await hydrated(page);
  await shows(RESUMING, HALF);
  await shows(["guide"], ""); // it has lost its answer, which is why the others exist
  assert.equal(await waiting(), true);
  for (const call of calls) call.write(REST).finish();
  await shows(RESUMING, HALF + REST);
  for (const column of RESUMING) await state(column, "completed");
  assert.equal(await waiting(), false);
  await page.reload();
  await shows(RESUMING, HALF + REST);
  for (const column of RESUMING) await state(column, "completed");
  assert.equal(await page.textContent(".question"), "Hello");
  assert.equal(posts.length, asked);
});

test("a reload before the first token: the stream's id is in the URL already, and the answer comes", async () => {
  const calls = await ask("Hello");
  await page.waitForURL(/stream=/);
  const asked = posts.length;
  await page.reload();
  await hydrated(page);
  for (const call of calls) call.write(HALF).finish();
  await shows(RESUMING, HALF);
  for (const column of RESUMING) await state(column, "completed");
  assert.equal(posts.length, asked);
});

test("a second tab follows, and Stop in one is Stop in both and at the model", async () => {
  const [guide, stream, ai] = await askEach("Hello");
  const asked = posts.length;
  const second = await open(page.url());
  stream.call.write(HALF);
  ai.call.write(HALF);
  for (const tab of [page, second]) {
    await shows(["stream"], stream.head + HALF, tab);
    await shows(["ai"], ai.head + HALF, tab);
  }
  assert.equal(posts.length, asked);
  await press("stream", "Stop", second);
  await stream.call.closed;
  await press("ai", "Stop", page);
  await ai.call.closed;
  for (const tab of [page, second]) {
    await state("stream", "cancelled", tab);
    await state("ai", "cancelled", tab);
    await shows(["stream"], stream.head + HALF, tab);
    await shows(["ai"], ai.head + HALF, tab);
  }
  assert.equal(await waiting(second), false);
  assert.equal(await waiting(), true); // the guide's component is still at it
  guide.call.write(HALF).finish();
  await shows(["guide"], guide.head + HALF);
  await page.locator("form button:enabled").waitFor();
});

test("a wire that is cut: useStream reconnects and goes on by itself, useChat when it is told to", async () => {
  const calls = await ask("Hello");
  for (const call of calls) call.write(HALF);
  await shows(COLUMNS, HALF);
  const asked = posts.length;
  wire.cut();
  await state("stream", "reconnecting");
  await state("ai", "disconnected");
  await state("guide", "interrupted");
  await shows(COLUMNS, HALF);
  wire.join();
  await page.evaluate(() => dispatchEvent(new Event("online"))); // as the browser says it: no need to wait for a back-off
  await state("stream", "streaming");
  await press("ai", "Go on");
  for (const call of calls) call.write(REST).finish();
  await shows(RESUMING, HALF + REST);
  for (const column of RESUMING) await state(column, "completed");
  assert.equal(posts.length, asked);
});

test("an answer that is interrupted for good does not look like a whole one, and can be asked for again", async () => {
  const [guide, stream, ai] = await askEach("Hello");
  for (const { call } of [guide, stream, ai]) call.write(HALF);
  await shows(["stream"], stream.head + HALF);
  for (const { call } of [guide, stream, ai]) call.cut();
  for (const column of COLUMNS) await state(column, "interrupted");
  await shows(["stream"], stream.head + HALF);
  await shows(["ai"], ai.head + HALF);
  assert.ok((await shown("guide")).startsWith(guide.head + HALF.trim())); // and the gateway's last line where it gets through
  await press("ai", "Again");
  const again = await upstream.next();
  again.write(REST).finish();
  await shows(["ai"], REST);
  await state("ai", "completed");
  const calls = await ask("And now?"); // what went wrong before is not left standing
  for (const call of calls) call.write("Fine.").finish();
  await shows(COLUMNS, "Fine.");
  assert.equal(await page.locator(".guide [data-state]").count(), 0);
});

test("it can be read on a phone, and stands still for who prefers that", async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  await page.emulateMedia({ reducedMotion: "reduce" });
  const calls = await ask("Hello");
  for (const call of calls) call.write("a".repeat(500), " ");
  await shows(COLUMNS, `${"a".repeat(500)} `);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
  const boxes = await page.locator("section").evaluateAll((sections) => sections.map((section) => section.getBoundingClientRect().x));
  assert.equal(new Set(boxes).size, 1);
  await page.locator(".guide .animate-pulse").waitFor();
  assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  for (const call of calls) call.finish();
  for (const column of RESUMING) await state(column, "completed");
});
