// The chat page of a gateway that requires an API key.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { launchBrowser, startGateway, Upstream } from "./harness.mjs";

const KEY = "sk-first-0000000";
const OTHER = "sk-zweiter-000-ü";

let folder, upstream, gateway, browser, context, page, asked;

before(async () => {
  [upstream, browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
  folder = mkdtempSync(join(tmpdir(), "everytoken-key-"));
  const config = join(folder, "everytoken.toml");
  writeFileSync(config, `api_keys = ["${KEY}", "${OTHER}"]`);
  gateway = await startGateway(upstream, { options: ["--config", config, "--log-level", "debug"] });
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
  upstream?.stop();
  rmSync(folder, { recursive: true });
});

beforeEach(async () => {
  asked = [];
  context = await browser.newContext();
  page = await open();
});

afterEach(async () => {
  // A key is in no URL and in no log.
  assert.deepEqual(asked.filter(({ url }) => /sk-|%C3%BC/.test(url)), []);
  assert.deepEqual(gateway.said.filter((line) => line.includes("sk-")), []);
  await context.close();
  assert.equal(upstream.untaken, 0);
});

async function open(url = gateway.url) {
  const opened = await context.newPage();
  opened.setDefaultTimeout(10_000);
  opened.on("request", (request) => asked.push({ url: request.url(), key: request.headers().authorization }));
  opened.on("console", (message) => asked.push({ url: message.text() }));
  await opened.goto(url);
  return opened;
}

async function give(key, on = page, { remember = false } = {}) {
  await on.fill("#key-value", key);
  if (remember) await on.check("#key-remember");
  await on.keyboard.press("Enter");
}

const form = (state, on = page) => on.locator("#key-form").waitFor({ state });
const outcome = (on = page) => on.waitForFunction(() => [...document.querySelectorAll(".assistant")].at(-1)?.dataset.outcome).then((h) => h.jsonValue());

async function ask(question) {
  await page.fill("#prompt", question);
  await page.keyboard.press("Enter");
}

const stored = (on = page) =>
  on.evaluate(() => [sessionStorage, localStorage].map((storage) => Object.values(storage).filter((value) => value.includes("sk-")).length));

test("the page asks for the key, and goes on", async () => {
  await form("visible"); // the list of models has been refused
  assert.equal(await page.evaluate(() => document.activeElement.id), "key-value");
  await give(KEY);
  await form("hidden");
  await page.locator("#model option").waitFor({ state: "attached" });
  assert.deepEqual(await stored(), [1, 0]); // for this tab
  await ask("Hello");
  const call = await upstream.next();
  assert.equal(call.response.req.headers.authorization, undefined); // it is not for the model's provider
  call.write("Half ");
  await page.locator("text=Half").waitFor();
  await page.reload();
  await page.locator("text=Half").waitFor();
  call.write("and whole.").finish();
  assert.equal(await outcome(), "completed");
  const sent = asked.filter(({ url }) => url.includes("/v1/"));
  assert.ok(sent.some(({ url, key }) => url.includes("/events") && key === `Bearer ${KEY}`));
});

test("a question waits for the key, and a wrong key is asked for again", async () => {
  await form("visible");
  await page.click("text=Not now");
  await form("hidden");
  await ask("Hello");
  await form("visible");
  await give("sk-third");
  await page.locator("text=Unknown API key").waitFor();
  await give("no key");
  await page.locator("text=without spaces").waitFor();
  assert.deepEqual(await stored(), [1, 0]); // the wrong one, until there is another
  await give(OTHER);
  (await upstream.next()).write("Here.").finish();
  assert.equal(await outcome(), "completed");
  assert.equal(await page.locator(".assistant").count(), 1);
});

test("without a key the question is there to be asked again, and Escape is for the form alone", async () => {
  await form("visible");
  await page.keyboard.press("Escape");
  await ask("Hello");
  await form("visible");
  await page.keyboard.press("Escape");
  await form("hidden");
  assert.equal(await outcome(), "interrupted");
  assert.match(await page.locator(".note").innerText(), /requires an API key/);
  await page.click("text=Try again");
  await give(KEY);
  (await upstream.next()).write("Here.").finish();
  assert.equal(await outcome(), "completed");
});

test("a key that is remembered is there in another tab, and can be forgotten", async () => {
  await form("visible");
  const second = await open();
  await form("visible", second); // it waits as well
  await give(KEY, page, { remember: true });
  await form("hidden");
  await form("hidden", second);
  assert.deepEqual(await stored(), [0, 1]);
  const third = await open();
  await third.locator("#model option").waitFor({ state: "attached" });
  await third.click("#key");
  await third.click("text=Forget it");
  assert.deepEqual(await stored(third), [0, 0]);
  await page.reload();
  await form("visible");
});

test("Stop is allowed to who has the key", async () => {
  await give(KEY);
  await ask("Hello");
  const call = await upstream.next();
  call.write("Some text ");
  await page.locator("text=Some text").waitFor();
  await page.keyboard.press("Escape");
  await call.closed;
  assert.equal(await outcome(), "stopped");
});
