// The list of conversations beside the chat: found, renamed, deleted, taken out and in, in every tab.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { asked, chat, conversation, lists, open, questions, shows, store, until, withChat } from "./chat_page.mjs";

const DAY = 86_400_000;

withChat();

const id = (page = chat.page) => new URL(page.url()).hash.slice(1);
const row = (title, page = chat.page) => page.locator("#chats li", { hasText: title });

async function more(title, act, page = chat.page) {
  await row(title, page).hover();
  await row(title, page).locator(".more").click();
  await page.click(`#chat-menu [data-act=${act}]`);
}

test("conversations are listed by their first question, in every tab, and lead to themselves", async () => {
  const { page } = chat;
  assert.equal(await page.title(), "everytoken");
  await asked("Why is the sky blue?", "It scatters.");
  assert.equal(await page.title(), "Why is the sky blue?");
  const second = await open();
  await lists(["Why is the sky blue?"], second);
  await page.click("#new");
  assert.equal(await page.title(), "everytoken");
  await asked("And the sea?", "The same.");
  await asked("Really?", "Yes.");
  for (const one of [page, second]) await lists(["And the sea?", "Why is the sky blue?"], one);
  await row("Why is").locator("a").click();
  await shows("It scatters.");
  assert.equal(await page.title(), "Why is the sky blue?");
  assert.equal(await row("Why is").locator("a").getAttribute("aria-current"), "page");
  await page.goBack();
  await shows("Yes.");
  await page.reload();
  await shows("Yes.");
  assert.deepEqual(await questions(), ["And the sea?", "Really?"]);
  await lists(["And the sea?", "Why is the sky blue?"]);
  const elsewhere = await open(`${chat.wire.url}/#nowhere`);
  await elsewhere.locator("#notice", { hasText: "not in this browser" }).waitFor();
});

test("by keyboard: search, arrows, open, rename, delete, undo; a second tab sees all of it", async () => {
  const { page } = chat;
  await store([conversation("one", [["First", "1"]]), conversation("two", [["Second", "2"]], { updated: Date.now() - 1000 })]);
  await page.reload();
  await lists(["First", "Second"]);
  const second = await open(`${chat.wire.url}/#two`);
  await shows("2", second);
  await page.focus("#search");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await shows("2");
  await page.keyboard.press("F2");
  await page.keyboard.type("A better title");
  await page.keyboard.press("Enter");
  for (const one of [page, second]) {
    await lists(["First", "A better title"], one);
    await until(one, "A better title", () => document.title);
  }
  await page.keyboard.press("F2");
  await page.keyboard.type("Not this");
  await page.keyboard.press("Escape");
  await page.reload();
  await lists(["First", "A better title"]);
  await page.locator("#chats [aria-current]").focus();
  await page.keyboard.press("Delete");
  for (const one of [page, second]) await lists(["First"], one);
  assert.equal(id(), "");
  assert.deepEqual(await questions(), []);
  await second.locator("#notice", { hasText: "deleted in another tab" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "First"); // the focus is never lost
  await page.click("text=Undo");
  for (const one of [page, second]) await lists(["First", "A better title"], one);
  await shows("2");
  assert.equal(id(), "two");
});

test("search looks at titles and text, without case and accents", async () => {
  const { page } = chat;
  await store([
    conversation("one", [["Crème brûlée", "Eggs and cream."]]),
    conversation("two", [["Dinner?", "Try a soup."], ["Else?", "Perhaps an Omelette, with three eggs."]], { updated: Date.now() - 1000 }),
    conversation("three", [["中文的标点", "全角逗号，和句号。"]], { updated: Date.now() - 2000 }),
  ]);
  await page.reload();
  for (const [query, titles] of [["creme", ["Crème brûlée"]], ["EGGS", ["Crème brûlée", "Dinner?"]], ["three omelette", ["Dinner?"]], ["句号", ["中文的标点"]], ["nothing at all", []]]) {
    await page.fill("#search", query);
    await lists(titles);
  }
  assert.equal(await page.innerText("#no-chats"), "Nothing found.");
  await page.fill("#search", "omelette");
  await until(page, "Perhaps an Omelette, with three eggs.", () => document.querySelector("#chats .excerpt")?.textContent);
  await page.keyboard.press("Escape");
  await lists(["Crème brûlée", "Dinner?", "中文的标点"]);
});

test("they stand under the day on which something was asked", async () => {
  const noon = new Date().setHours(12, 0, 0, 0);
  await store([conversation("a", [["Now", "."]]), conversation("b", [["Then", "."]], { updated: noon - DAY }), conversation("c", [["Once", "."]], { updated: noon - 2 * DAY })]);
  await chat.page.reload();
  await until(chat.page, "Today: Now, Yesterday: Then, Earlier: Once", () =>
    [...document.querySelectorAll("#chats section:not([hidden])")].map((group) => `${group.querySelector("h2").textContent}: ${group.querySelector(".title")?.textContent}`).join(", "),
  );
});

test("a conversation is taken out as Markdown and JSON, and into another browser", async () => {
  const { page } = chat;
  await asked("Hello: you?", "Fine.");
  const files = {};
  for (const act of ["markdown", "json"]) {
    const [download] = await Promise.all([page.waitForEvent("download"), more("Hello", act)]);
    files[act] = [download.suggestedFilename(), await download.path()];
  }
  assert.equal(files.markdown[0], "Hello-you.md");
  assert.equal(readFileSync(files.markdown[1], "utf8"), "# Hello: you?\n\n## Question\n\nHello: you?\n\n## Answer (scripted)\n\nFine.\n");
  assert.equal(files.json[0], "Hello-you.json");
  const other = await chat.browser.newContext();
  const there = await open(chat.wire.url, other);
  await there.setInputFiles("#import-file", files.json[1]);
  await shows("Fine.", there);
  await there.reload();
  await shows("Fine.", there);
  await there.setInputFiles("#import-file", files.markdown[1]);
  await there.locator("#notice", { hasText: "no chat" }).waitFor();
  await other.close();
});

test("on a phone the list is a drawer", async () => {
  const { page } = chat;
  await asked("Hello", "Here.");
  await page.setViewportSize({ width: 360, height: 700 });
  await page.locator("#sidebar").waitFor({ state: "hidden" });
  await page.click("#sidebar-toggle");
  await page.locator("#sidebar").waitFor();
  assert.equal(await page.getAttribute("#sidebar-toggle", "aria-expanded"), "true");
  assert.equal(await page.evaluate(() => document.querySelector("main").inert), true);
  await page.keyboard.press("Escape");
  await page.locator("#sidebar").waitFor({ state: "hidden" });
  assert.equal(await page.evaluate(() => document.activeElement.id), "sidebar-toggle");
  assert.equal(await page.evaluate(() => document.querySelector("main").inert), false);
  await page.click("#new");
  await page.click("#sidebar-toggle");
  await row("Hello").locator("a").click();
  await page.locator("#sidebar").waitFor({ state: "hidden" });
  await shows("Here.");
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
});
