// A chat page for each test of a file, in one browser context: what it does to the model, and that it asks for nothing else.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach } from "node:test";
import { launchBrowser, startGateway, Upstream, Wire } from "./harness.mjs";

export let upstream, gateway, wire, browser, context, page;
let faults;

before(async () => {
  [upstream, browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
  gateway = await startGateway(upstream);
  wire = await new Wire(gateway.port).start();
  context = await browser.newContext();
});

after(async () => {
  await browser?.close();
  wire?.stop();
  await gateway?.stop();
  upstream?.stop();
});

beforeEach(async () => {
  faults = [];
  page = await open();
});

afterEach(async () => {
  wire.join();
  await Promise.all(context.pages().map((opened) => opened.close()));
  assert.deepEqual(faults, []); // no refused script, nothing from another host
  assert.equal(upstream.untaken, 0); // and no request to the model that the test did not expect
});

export async function open(url = wire.url) {
  const opened = await context.newPage();
  opened.setDefaultTimeout(10_000);
  opened.on("console", (message) => {
    if (/Content Security Policy|Trusted/.test(message.text())) faults.push(message.text());
  });
  opened.on("request", (request) => {
    if (!request.url().startsWith(new URL(url).origin)) faults.push(request.url());
  });
  await opened.goto(url);
  return opened;
}

export async function ask(question, on = page) {
  await on.keyboard.type(question);
  await on.keyboard.press("Enter");
  return upstream.next();
}

// The last answer as it stands on the screen, without its cursor.
export function shown(on = page) {
  return on.evaluate(() => {
    const text = [...document.querySelectorAll(".assistant .text")].at(-1);
    const copy = text.cloneNode(true);
    copy.querySelectorAll(".cursor").forEach((cursor) => cursor.remove());
    return copy.textContent.trimEnd();
  });
}

export async function shows(text, on = page) {
  await on.waitForFunction((wanted) => {
    const place = [...document.querySelectorAll(".assistant .text")].at(-1);
    return place?.textContent.replace("▊", "").trimEnd() === wanted;
  }, text).catch(async (error) => assert.equal(await shown(on), text, error.message));
}

export const outcome = (on = page) =>
  on.waitForFunction(() => [...document.querySelectorAll(".assistant")].at(-1)?.dataset.outcome).then((h) => h.jsonValue());
