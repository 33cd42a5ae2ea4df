// Answers asked for again and questions edited: beside each other, and never lost.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startGateway, Wire } from "./harness.mjs";
import { ask, asked, chat, open, outcome, questions, said, shows, version, withChat } from "./chat_page.mjs";

withChat();

// The button of the last message, or of the one before it …
const press = (act, { on = chat.page, from = ".assistant" } = {}) => on.locator(`${from} [data-act=${act}]`).last().click();

async function edit(question, text, on = chat.page) {
  const message = on.locator(".question", { hasText: question });
  await message.hover();
  await message.locator("[data-act=edit]").click();
  await on.keyboard.press("ControlOrMeta+a");
  await on.keyboard.type(text);
  await on.keyboard.press("Enter");
}

test("another answer stands beside the old one, in every tab and after a reload", async () => {
  const { page, upstream } = chat;
  await asked("Hello", "One.");
  const second = await open(page.url());
  await press("again");
  const call = await upstream.next();
  assert.deepEqual(said(call), [["user", "Hello"]]);
  call.write("Two ");
  for (const on of [page, second]) await shows("Two", on);
  call.write("and a half.").finish();
  for (const on of [page, second]) {
    await shows("Two and a half.", on);
    assert.equal(await outcome(on), "completed");
    await version("2/2", on);
  }
  await press("previous");
  for (const on of [page, second]) {
    await shows("One.", on);
    await version("1/2", on);
  }
  assert.equal(await page.evaluate(() => document.activeElement.dataset.act), "previous");
  await page.reload();
  await shows("One.");
  await version("1/2");
  assert.deepEqual(said(await asked("More", "Three.")), [["user", "Hello"], ["assistant", "One."], ["user", "More"]]);
  await page.locator(".assistant").first().locator("[data-act=next]").click();
  await shows("Two and a half.");
  assert.deepEqual(await questions(), ["Hello"]); // what was below the other answer is there with the other answer
  await press("previous");
  await shows("Three.");
});

test("an edited question is a branch of its own", async () => {
  const { page, upstream } = chat;
  await asked("First", "1");
  await asked("Second", "2");
  await edit("First", "Another");
  const call = await upstream.next();
  assert.deepEqual(said(call), [["user", "Another"]]);
  call.write("3").finish();
  await shows("3");
  assert.deepEqual(await questions(), ["Another"]);
  assert.equal(await page.title(), "Another");
  await page.reload();
  await version("2/2");
  await press("previous", { from: ".question" });
  await shows("2");
  assert.deepEqual(await questions(), ["First", "Second"]);
  // Escape gives it up, and does not stop an answer.
  const running = await ask("Third");
  running.write("Going ");
  await shows("Going");
  await page.locator(".question").first().hover();
  await page.locator("[data-act=edit]").first().click();
  await page.keyboard.type("no");
  await page.keyboard.press("Escape");
  assert.equal(await page.evaluate(() => document.activeElement.closest(".acts") !== null), true);
  running.write("on.").finish();
  await shows("Going on.");
  assert.equal(await outcome(), "completed");
  assert.deepEqual(await questions(), ["First", "Second", "Third"]);
});

test("no switch stops an answer: it goes on, is asked for once, and is shown when it is looked at", async () => {
  const { page, upstream, wire } = chat;
  await asked("Hello", "One.");
  const posts = wire.posts;
  await press("again");
  const call = await upstream.next();
  call.write("Two ");
  await shows("Two");
  const second = await open(page.url());
  await shows("Two", second);
  await press("previous");
  await shows("One.");
  assert.equal(await page.locator("#stop").isVisible(), false);
  wire.cut();
  call.write("in the dark ");
  wire.join();
  // Another conversation, and back.
  await page.click("#new");
  await page.locator("#chats a").click();
  await shows("One.");
  await page.locator(".versions [data-act=next]").click();
  await shows("Two in the dark");
  assert.equal(await page.locator("#stop").isVisible(), true);
  call.write("and on.").finish();
  for (const on of [page, second]) {
    await shows("Two in the dark and on.", on);
    assert.equal(await outcome(on), "completed");
  }
  assert.equal(wire.posts, posts + 1);
});

test("a killed gateway, a closed tab and a branch: nothing is lost, nothing is asked twice", async () => {
  const folder = mkdtempSync(join(tmpdir(), "everytoken-branches-"));
  const journal = `sqlite:///${join(folder, "journal.db")}`;
  let gateway = await startGateway(chat.upstream, { journal });
  const wire = await new Wire(gateway.port).start();
  try {
    const page = await open(wire.url);
    await asked("Hello", "One.", page);
    await press("again", { on: page });
    const call = await chat.upstream.next();
    call.write("Two ");
    await shows("Two", page);
    await press("previous", { on: page });
    await shows("One.", page);
    await gateway.stop("SIGKILL");
    gateway = await startGateway(chat.upstream, { journal });
    wire.port = gateway.port;
    const again = await chat.upstream.next(); // the gateway asks again for what it had not finished
    const link = page.url();
    await page.close();
    again.write("Two ", "and a half.").finish();
    const later = await open(link);
    await version("1/2", later);
    await later.locator(".versions [data-act=next]").click();
    await shows("Two and a half.", later);
    assert.equal(await outcome(later), "completed");
    assert.equal(wire.posts, 2);
  } finally {
    wire.stop();
    await gateway.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

test("the buttons of a message are one stop of the Tab key", async () => {
  const { page, upstream } = chat;
  await asked("Hello", "One.");
  await page.focus("#prompt");
  await page.keyboard.press("Shift+Tab");
  const focused = () => page.evaluate(() => document.activeElement.dataset.act);
  assert.equal(await focused(), "copy");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), "again");
  await page.keyboard.press("Enter");
  (await upstream.next()).write("Two.").finish();
  await shows("Two.");
  await outcome();
  await page.focus("#prompt");
  await page.keyboard.press("Shift+Tab");
  assert.equal(await focused(), "previous");
  await page.keyboard.press("Enter");
  await shows("One.");
  assert.equal(await focused(), "previous");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await shows("Two.");
  await page.keyboard.press("End");
  assert.equal(await focused(), "again");
  assert.equal(await page.locator(".versions .number").getAttribute("aria-label"), "Version 2 of 2");
});
