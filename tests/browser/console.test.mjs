// The console, with real traffic: answers that complete, one that is cut and fails, one that runs.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { launchBrowser, startGateway, Upstream, Wire } from "./harness.mjs";

const ADMIN = "sk-admin-00000-ü";
const KEY = "sk-first-0000000";

let folder, upstream, gateway, browser, context, page, asked, said, completed, cut;

const asks = () => ({
  method: "POST",
  headers: { "Content-Type": "application/json", Authorization: `Bearer ${KEY}` },
  body: JSON.stringify({ model: "scripted", stream: true, messages: [{ role: "user", content: "Hello" }] }),
});
const ask = () => fetch(`${gateway.url}/v1/chat/completions`, asks());
const idOf = (response) => response.headers.get("location").split("/").at(-1);

/** Ask, have `answer` write it, read it to its end, and return its id. */
async function answered(answer) {
  const asking = ask();
  answer(await upstream.next());
  const response = await asking;
  await response.text().catch(() => {}); // one that fails is broken off
  return idOf(response);
}

before(async () => {
  [upstream, browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
  folder = mkdtempSync(join(tmpdir(), "everytoken-console-"));
  const config = join(folder, "everytoken.toml");
  writeFileSync(
    config,
    `api_keys = ["${KEY}"]\nadmin_keys = ["${ADMIN}"]\nlog_content = true\n` +
      `[limits.each_key]\nusd_per_day = 0.1\n[prices.scripted]\ninput = 1.0\noutput = 2.0\n`,
  );
  gateway = await startGateway(upstream, { journal: `sqlite:///${join(folder, "j.sqlite")}`, options: ["--config", config] });
  completed = await answered((call) => call.write("Hello ", "you.").finish());
  cut = await answered((call) => call.write("Half ").cut());
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
  upstream?.stop();
  rmSync(folder, { recursive: true });
});

beforeEach(async () => {
  [asked, said] = [[], []];
  context = await browser.newContext({ viewport: { width: 1100, height: 800 } });
  page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.on("request", (request) => asked.push(request.url()));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && said.push(message.text()));
});

afterEach(async () => {
  assert.deepEqual(asked.filter((url) => !url.startsWith(`${gateway.url}/`)), [], "no other host is asked");
  assert.deepEqual(asked.filter((url) => /sk-|%C3%BC/.test(url)), [], "the key is in no URL");
  // A refused key is an error to the browser too.
  assert.deepEqual(said.filter((text) => !/status of 401/.test(text)), []);
  await context.close();
  assert.equal(upstream.untaken, 0);
});

async function enter(hash = "") {
  await page.goto(`${gateway.url}/console${hash}`);
  await page.fill("#key-value", ADMIN);
  await page.keyboard.press("Enter");
  await page.locator("#key-form").waitFor({ state: "hidden" });
}

const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);

test("it asks for the admin key, says what is wrong with another, and keeps it for the tab", async () => {
  await page.goto(`${gateway.url}/console`);
  await page.locator("#key-form").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "key-value");
  for (const [key, problem] of [["sk-wrong", /unknown admin key/i], [KEY, /not an admin key/]]) {
    await page.fill("#key-value", key);
    await page.keyboard.press("Enter");
    await page.waitForFunction((text) => new RegExp(text, "i").test(document.getElementById("key-problem").textContent), problem.source);
  }
  await page.fill("#key-value", ADMIN);
  await page.keyboard.press("Enter");
  await page.locator(".uplot").first().waitFor();
  assert.deepEqual(await page.evaluate(() => [Object.values(sessionStorage).length, Object.values(localStorage).length]), [1, 0]);
  await page.reload();
  await page.locator(".uplot").first().waitFor();
  await page.click("#leave");
  await page.locator("#key-form").waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

test("the overview shows what has happened", async () => {
  await enter();
  await page.locator(".uplot canvas").nth(4).waitFor();
  const labels = await page.locator("figure").evaluateAll((all) => all.map((figure) => figure.getAttribute("aria-label")));
  assert.equal(labels.length, 5);
  assert.match(labels[0], /completed: 0 to \d; interrupted: 0 to 1/);
  assert.match(labels[1], /Time to first content. p50: \d.* to \d/);
  assert.match(await page.locator("section", { hasText: "Failures by cause" }).innerText(), /upstream-truncated|not-continuable/);
  const row = await page.locator('[aria-label="Upstreams"] tbody tr').first().innerText();
  assert.match(row, /ready/);
  const keys = page.locator('[aria-label="Keys"]');
  assert.match(await keys.innerText(), /api_keys 1[\s\S]*of \$0\.10 a day/);
  assert.ok(await keys.locator("meter").first().evaluate((bar) => bar.value > 0 && bar.value <= bar.max));
  await page.click("text=24 hours");
  await page.waitForFunction(() => location.hash === "#/?range=24h");
  await page.locator(".uplot").first().waitFor();
  await page.goBack();
  await page.locator('.ranges [aria-current]:has-text("1 hour")').waitFor();
});

test("what runs is seen live, and can be stopped", async () => {
  await enter();
  await page.locator("text=Nothing runs at the moment").waitFor();
  const asking = ask();
  const call = await upstream.next();
  call.write("Some text ");
  const response = await asking;
  const id = idOf(response);
  await page.locator(`[aria-label="Running responses"] a[title="${id}"]`).click();
  assert.equal(new URL(page.url()).hash, `#/responses/${id}`);
  await page.locator(".facts .running").waitFor();
  await page.click("text=Stop it");
  await call.closed;
  await response.text();
  await page.locator(".facts .cancelled").waitFor();
  assert.ok(await page.locator("text=Stop it").isHidden());
  await page.goBack();
  await page.locator("text=Nothing runs at the moment").waitFor();
  await page.waitForFunction(() => document.querySelector(".tile dd").textContent === "0");
});

test("a lost connection is said, and what runs is seen again when it is back", async () => {
  const wire = await new Wire(gateway.port).start();
  const direct = gateway;
  gateway = { ...gateway, url: wire.url };
  try {
    await enter();
    await page.locator("text=Nothing runs at the moment").waitFor();
    wire.cut();
    await page.locator("[role=status]", { hasText: "The connection is lost" }).waitFor();
    const asking = fetch(`${direct.url}/v1/chat/completions`, asks());
    const call = await upstream.next();
    call.write("Some text ");
    wire.join();
    await page.locator('[aria-label="Running responses"] tbody tr').waitFor();
    assert.equal(await page.locator("[role=status]").innerText(), "");
    call.finish();
    await (await asking).text();
    await page.locator("text=Nothing runs at the moment").waitFor();
    said = said.filter((text) => !/ERR_/.test(text));
    assert.deepEqual(asked.filter((url) => !url.startsWith(`${wire.url}/`)), []);
    asked = [];
    await page.close();
  } finally {
    wire.stop();
    gateway = direct;
  }
});

test("responses are looked for, and one is shown with its attempts and its text", async () => {
  await enter("#/responses");
  const rows = page.locator(".responses tbody tr");
  await rows.nth(1).waitFor();
  await page.selectOption("[name=outcome]", "interrupted");
  await page.waitForFunction(() => location.hash === "#/responses?outcome=interrupted");
  await page.waitForFunction(() => document.querySelectorAll(".responses tbody tr").length === 1);
  await page.goBack();
  await page.fill("[name=text]", completed);
  await page.keyboard.press("Enter");
  await page.waitForFunction((id) => location.hash.endsWith(id), completed);
  await page.locator(`.responses a[href$="${completed}"]`).click();
  await page.locator(".facts .completed").waitFor();
  assert.equal(await page.locator("pre").first().innerText(), "Hello you.");
  assert.match(await page.locator(".attempts li").innerText(), /first content after/);
  await page.goto(`${gateway.url}/console#/responses/${cut}`);
  await page.locator(".attempts .cause").first().waitFor();
  assert.match(await page.locator(".facts").innerText(), /interrupted/);
  await page.goto(`${gateway.url}/console#/responses?text=nothing-has-this`);
  await page.locator("text=Nothing was found").waitFor();
  await page.goto(`${gateway.url}/console#/responses/rnothing`);
  await page.locator("text=has no response").waitFor();
  said = said.filter((text) => !/status of 404/.test(text));
});

test("it fits a phone of 360 pixels, in the dark, by keyboard alone", async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  await page.emulateMedia({ colorScheme: "dark" });
  await enter();
  await page.locator(".uplot").first().waitFor();
  assert.ok(await fits());
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(26, 25, 23)");
  await page.locator("h1").click();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Responses");
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none");
  await page.keyboard.press("Enter");
  await page.locator(".responses tbody tr").first().waitFor();
  assert.ok(await fits());
  await page.goto(`${gateway.url}/console#/responses/${cut}`);
  await page.locator(".attempts .cause").first().waitFor();
  assert.ok(await fits());
});

test("without a request log it says what to do", async () => {
  const config = join(folder, "memory.toml");
  writeFileSync(config, `admin_keys = ["${ADMIN}"]`);
  const durable = gateway;
  gateway = await startGateway(upstream, { options: ["--config", config] });
  try {
    await enter();
    await page.locator(".plots .empty", { hasText: "There is no request log" }).waitFor();
    await page.click("nav >> text=Responses");
    await page.locator(".empty", { hasText: "There is no request log" }).waitFor();
    said = said.filter((text) => !/status of 400/.test(text));
    assert.deepEqual(asked.filter((url) => !url.startsWith(`${gateway.url}/`)), []);
    await page.goto("about:blank");
    asked = [];
  } finally {
    await gateway.stop();
    gateway = durable;
  }
});
