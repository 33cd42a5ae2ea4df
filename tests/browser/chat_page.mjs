// What tests do with a chat page: ask, and look at what it shows.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach } from "node:test";
import * as tree from "../../src/everytoken/gateway/pages/tree.js";
import { launchBrowser, startGateway, Upstream, Wire } from "./harness.mjs";

/** The browser, gateway, upstream and wire of a file of tests, and a page for each of them. */
export const chat = { upstream: null, gateway: null, wire: null, browser: null, context: null, page: null, refused: null };

const faults = []; // of the test that runs

/** Start them around the tests of a file; each test has a browser context of its own. */
export function withChat({ viewport = { width: 1280, height: 800 } } = {}) {
  before(async () => {
    [chat.upstream, chat.browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
    chat.gateway = await startGateway(chat.upstream);
    chat.wire = await new Wire(chat.gateway.port).start();
  });
  after(async () => {
    await chat.browser?.close();
    chat.wire?.stop();
    await chat.gateway?.stop();
    chat.upstream?.stop();
  });
  beforeEach(async () => {
    faults.length = 0;
    chat.refused = null; // a pattern: what the test has the policy refuse
    chat.context = await chat.browser.newContext({ viewport, acceptDownloads: true });
    chat.context.on("console", (message) => {
      if (/Content Security Policy|Trusted/.test(message.text())) faults.push(message.text());
    });
    chat.page = await open();
  });
  afterEach(async () => {
    chat.wire.join();
    await chat.context.close();
    assert.deepEqual(faults.filter((fault) => !chat.refused?.test(fault)), []); // no refused script, nothing from another host
    assert.equal(chat.upstream.untaken, 0); // no request to the model that the test did not expect
  });
}

export async function open(url = chat.wire.url, context = chat.context) {
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.on("request", (request) => {
    if (!/^(blob|data):/.test(request.url()) && !request.url().startsWith(new URL(url).origin)) faults.push(request.url());
  });
  await page.goto(url);
  return page;
}

/** Ask, and take the request that reaches the model. */
export async function ask(question, on = chat.page) {
  await on.fill("#prompt", question);
  await on.press("#prompt", "Enter");
  return chat.upstream.next();
}

/** Ask and have it answered. */
export async function asked(question, answer, on = chat.page) {
  const call = await ask(question, on);
  call.write(answer).finish();
  await shows(answer, on);
  assert.equal(await outcome(on), "completed");
  return call;
}

/** Wait until the last answer reads so, without its cursor. */
export function shows(text, on = chat.page) {
  return until(on, text, () => [...document.querySelectorAll(".assistant .text")].at(-1)?.textContent.replace("▊", "").trimEnd());
}

/** Wait until what `look(argument)` returns in the page is `wanted`; else say what it was. */
export async function until(on, wanted, look, argument) {
  let last;
  for (const end = Date.now() + 10_000; Date.now() < end; await on.evaluate(() => new Promise((resolve) => setTimeout(resolve, 40)))) {
    last = await on.evaluate(look, argument);
    if (JSON.stringify(last) === JSON.stringify(wanted)) return;
  }
  assert.deepEqual(last, wanted);
}

/** How the last answer has ended. */
export const outcome = (on = chat.page) =>
  on.waitForFunction(() => [...document.querySelectorAll(".assistant")].at(-1)?.dataset.outcome).then((handle) => handle.jsonValue());

/** The questions that are shown. */
export const questions = (on = chat.page) => on.locator(".user").allInnerTexts();

/** Wait until the list has these titles, from the first on. */
export const lists = (titles, on = chat.page) =>
  until(on, titles, () => [...document.querySelectorAll("#chats .title")].map((title) => title.textContent));

/** Wait until the last message that has versions says which one it is: "1/2". */
export const version = (text, on = chat.page) =>
  until(on, text, () => [...document.querySelectorAll(".versions .number")].at(-1)?.textContent);

/** What a request says, as [role, content]. */
export const said = (call) => call.body.messages.map(({ role, content }) => [role, content]);

/** A conversation with these questions and answers. */
export function conversation(id, turns, { updated = Date.now() } = {}) {
  const record = tree.blank(id);
  let parent = null;
  for (const [index, [question, answer]] of turns.entries()) {
    tree.add(record, tree.question(`${id}-${index}-q`, parent, question));
    const node = tree.answer(`${id}-${index}-a`, `${id}-${index}-q`, `${id}-${index}`, { model: "scripted" });
    tree.add(record, Object.assign(node, { content: answer, outcome: "completed", stream: "gone" }));
    parent = node.id;
  }
  return Object.assign(record, { updated });
}

/** Store conversations, all at once; the page then has to be loaded again. */
export async function store(records, on = chat.page) {
  await on.evaluate(async (records) => {
    const asked = indexedDB.open("everytoken");
    await new Promise((resolve) => (asked.onsuccess = resolve));
    const tx = asked.result.transaction(["conversations"], "readwrite");
    for (const record of records) tx.objectStore("conversations").put(record);
    await new Promise((resolve) => (tx.oncomplete = resolve));
    asked.result.close();
  }, records);
}
