// What a model thinks, on the chat page: folded, with the time it took, through a reload and in a second tab.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { launchBrowser, startGateway, Upstream } from "./harness.mjs";

let upstream, gateway, browser, context;

before(async () => {
  [upstream, browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
  gateway = await startGateway(upstream);
  context = await browser.newContext();
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
  upstream?.stop();
});

afterEach(() => Promise.all(context.pages().map((page) => page.close())));

async function ask(url = gateway.url) {
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  await page.goto(url);
  await page.keyboard.type("Hello");
  await page.keyboard.press("Enter");
  return [page, await upstream.next()];
}

const answer = (page) => page.locator(".assistant > .text");
const ended = (page) => page.locator(".assistant[data-outcome]").last().waitFor();

for (const [name, think, close] of [
  ["in a field of its own", (call, text) => call.reason(text), (call) => call],
  ["as tags in the text", (call, text) => call.write(text), (call) => call.write("</think>\n\n")],
]) {
  test(`what is thought ${name} is folded, can be read while it comes, and stays open`, async () => {
    const [page, call] = await ask();
    if (name.includes("tags")) call.write("<thi", "nk>");
    think(call, "First **this**, ");
    const summary = page.locator("summary");
    await summary.filter({ hasText: "Thinking…" }).waitFor();
    assert.equal(await page.locator(".thinking").getAttribute("open"), null);
    assert.equal((await answer(page).innerText()).replace("▊", ""), "");
    await summary.click();
    await page.locator(".thoughts strong", { hasText: "this" }).waitFor();
    think(call, "then that. ");
    await page.locator(".thoughts p", { hasText: "then that." }).waitFor();
    close(call).write("Forty-two. ");
    await page.locator("summary", { hasText: /^Thought for (?:a moment|\d+ s)$/ }).waitFor();
    assert.equal((await answer(page).innerText()).replace("▊", "").trim(), "Forty-two.");
    assert.equal(await page.locator(".thinking").getAttribute("open"), "");
    call.finish();
    await ended(page);
    assert.equal(await page.locator(".thoughts").innerText(), "First this, then that.");
    const words = await summary.innerText();

    await page.reload();
    await ended(page);
    assert.equal(await summary.innerText(), words); // the time that was measured
    assert.equal((await answer(page).innerText()).trim(), "Forty-two.");
    await summary.click();
    await page.locator(".thoughts p", { hasText: "First this, then that." }).waitFor();
  });
}

test("a reload and a second tab while it thinks show the same thoughts once, and the time goes on", async () => {
  const [page, call] = await ask();
  call.reason("One, ");
  await page.locator("summary", { hasText: "Thinking…" }).waitFor();
  await page.reload();
  const second = await context.newPage();
  await second.goto(page.url());
  for (const tab of [page, second]) await tab.locator("summary", { hasText: "Thinking…" }).click();
  call.reason("two. ").write("Done. ").finish();
  for (const tab of [page, second]) {
    await ended(tab);
    await tab.locator(".thoughts p", { hasText: /^One, two\.\s*$/ }).waitFor();
    assert.match(await tab.locator("summary").innerText(), /^Thought/);
    assert.equal((await answer(tab).innerText()).trim(), "Done.");
  }
});

test("a reload before the end of an answer is stored keeps how long was thought", async () => {
  const [page, call] = await ask();
  call.reason("Hm. ");
  await page.locator("summary", { hasText: "Thinking…" }).waitFor();
  // What the page stores from here on is not there in time, as on a busy machine.
  await page.evaluate(() => {
    const { put } = IDBObjectStore.prototype;
    IDBObjectStore.prototype.put = function (...values) {
      const goOn = () => (this.get("nothing").onsuccess = goOn); // its transaction does not end
      if (this.name === "conversations") goOn();
      return put.apply(this, values);
    };
  });
  call.write("Done. ").finish();
  await ended(page);
  const words = await page.locator("summary").innerText();
  assert.match(words, /^Thought for /);
  await page.reload();
  await ended(page);
  assert.equal(await page.locator("summary").innerText(), words);
  assert.equal((await answer(page).innerText()).trim(), "Done.");
});

test("Copy has the answer without what was thought", async () => {
  const [page, call] = await ask();
  call.write("<think>Hm.</think>\n\nThe **answer**. ").finish();
  await ended(page);
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy this answer" }).click();
  await page.locator("button", { hasText: "Copied" }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "The **answer**. ");
});

test("a thought whose opening tag the model's template has taken is no text", async () => {
  const [page, call] = await ask();
  call.write("So they ask. ", "Hm.\n", "</think>", "\n\nThe answer. ").finish();
  await ended(page);
  assert.equal((await answer(page).innerText()).trim(), "The answer.");
  await page.locator("summary").click();
  await page.locator(".thoughts p", { hasText: "So they ask. Hm." }).waitFor();
});

test("an answer that is stopped while it thinks shows what was thought", async () => {
  const [page, call] = await ask();
  call.write("<think>Half a tho");
  await page.locator("summary", { hasText: "Thinking…" }).waitFor();
  await page.keyboard.press("Escape");
  await ended(page);
  await page.locator("summary", { hasText: "Thought for" }).click();
  await page.locator(".thoughts p", { hasText: "Half a tho" }).waitFor();
});
