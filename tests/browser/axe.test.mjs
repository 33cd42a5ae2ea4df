// Every state of the chat page as axe-core sees it, light and dark: it finds nothing.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { launchBrowser, startGateway, Upstream, Wire } from "./harness.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const MODELS = ["gpt-5.1", "gpt-5.1-mini", "o4", "o4-mini"].map((id) => ({ id, owned_by: "openai" }))
  .concat(["claude-opus", "claude-haiku", "llama", "qwen"].map((id) => ({ id, owned_by: "somebody" })));
const RICH = "<think>Hm.</think>\n\n# Title\n\nA **paragraph** with `code`, a [link](https://example.com) and:\n\n- [x] a task\n- another\n\n```py\nprint(1)\n```\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n> A quote\n\nSo $x^2$, and\n\n$$\\sum_i x_i$$\n\n```mermaid\ngraph LR; a-->b\n```\n\nA note[^1].\n\n[^1]: The note.\n\nمرحبا بالعالم";

let upstream, gateway, closed, wire, browser;
let problems = []; // of all states of a test, so that one run tells all

before(async () => {
  [upstream, browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
  upstream.models = MODELS;
  gateway = await startGateway(upstream);
  wire = await new Wire(gateway.port).start();
});

afterEach(() => {
  const found = problems;
  problems = [];
  assert.equal(found.join("\n\n"), "");
});

after(async () => {
  await browser?.close();
  wire?.stop();
  await gateway?.stop();
  await closed?.stop();
  upstream?.stop();
});

// The rules that look at colours are run again for the other theme.
async function looked(page, state) {
  for (const theme of ["light", "dark"]) {
    await page.evaluate((theme) => (document.documentElement.dataset.theme = theme), theme);
    const violations = await page.evaluate(async (theme) => {
      const options = theme === "dark" ? { runOnly: ["color-contrast"] } : {};
      const { violations } = await window.axe.run(document, { ...options, resultTypes: ["violations"] });
      return violations.flatMap(({ id, help, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${help}\n${html}\n${failureSummary}`));
    }, theme);
    problems.push(...violations.map((one) => `${state}, ${theme}: ${one}`));
  }
}

async function open(viewport, url = wire.url) {
  const context = await browser.newContext({ viewport, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  await page.goto(url);
  const cdp = await context.newCDPSession(page); // for which the page's policy does not hold
  await cdp.send("Runtime.evaluate", { expression: AXE });
  return page;
}

const says = (page, text) => page.locator(".assistant .text", { hasText: text }).waitFor();
const ended = (page) => page.waitForFunction(() => [...document.querySelectorAll(".assistant")].at(-1)?.dataset.outcome);

async function ask(page, question) {
  await page.fill("#prompt", question);
  await page.press("#prompt", "Enter");
  return upstream.next();
}

test("dialogs and an empty page", async () => {
  const page = await open({ width: 1280, height: 800 });
  await page.locator("#model-button").waitFor();
  await looked(page, "empty");
  await page.click("#model-button");
  await looked(page, "models");
  await page.fill("#model-search", "none of these");
  await looked(page, "models, none found");
  await page.keyboard.press("Escape");
  await page.click("#settings");
  await page.fill("#setting-temperature", "9");
  await looked(page, "settings");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+/");
  await looked(page, "shortcuts");
  await page.context().close();
});

test("a conversation, from its first token to its last figure", async () => {
  const page = await open({ width: 1280, height: 800 });
  await page.setInputFiles("#files", { name: "a.png", mimeType: "image/png", buffer: Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64") });
  await page.locator(".attachments img").waitFor();
  await looked(page, "an image");
  const call = await ask(page, "Hello");
  call.reason("Let me think.").write(RICH, " and");
  await says(page, "A quote");
  await looked(page, "streaming");
  wire.cut();
  await page.locator(".said", { hasText: "Reconnecting" }).waitFor();
  await looked(page, "reconnecting");
  wire.join();
  call.write(" more.").finish();
  await page.locator(".recovery").waitFor();
  await page.click(".recovery summary");
  await page.click(".draw");
  await page.locator(".diagram:not([aria-busy]) iframe").waitFor();
  await looked(page, "completed, with a drawn diagram");
  await page.hover(".assistant");
  await page.click('.assistant [data-act="again"]');
  const again = await upstream.next();
  again.write("Half ", "of");
  await says(page, "Half");
  again.cut();
  await ended(page);
  await looked(page, "interrupted, the second of two");
  await page.hover(".question");
  await page.click('[data-act="edit"]');
  await looked(page, "editing");
  await page.keyboard.press("Escape");
  const stopped = await ask(page, "And now?");
  stopped.write("Some ", "text");
  await says(page, "Some");
  await page.keyboard.press("Escape");
  await ended(page);
  await looked(page, "stopped");
  upstream.refuse(400, { error: { message: "This model's maximum context length is 100 tokens. However, your messages resulted in 120 tokens.", code: "context_length_exceeded" } });
  await page.fill("#prompt", "Too long");
  await page.press("#prompt", "Enter");
  await page.locator(".said", { hasText: "Too long for the model" }).waitFor();
  await looked(page, "too long");
  await page.click('[data-act="go-back"]');
  await looked(page, "gone back");
  await page.hover("#chats li");
  await page.click("#chats .more");
  await page.locator("#chat-menu").waitFor();
  await looked(page, "the menu of a chat");
  await page.keyboard.press("Escape");
  await page.fill("#search", "nothing like it");
  await page.locator("#no-chats:not(:empty)").waitFor();
  await looked(page, "nothing found");
  await page.context().close();
});

test("the form that asks for a key", async () => {
  const directory = mkdtempSync(join(tmpdir(), "everytoken-"));
  writeFileSync(join(directory, "keys.toml"), 'api_keys = ["sk-0123456789abcdef"]');
  closed = await startGateway(upstream, { options: ["--config", join(directory, "keys.toml")] });
  const page = await open({ width: 1280, height: 800 }, closed.url);
  await page.locator("#key-form[open]").waitFor();
  await page.fill("#key-value", "no key");
  await page.press("#key-value", "Enter");
  await looked(page, "a key that is none");
  await page.context().close();
  rmSync(directory, { recursive: true });
});

test("on a phone", async () => {
  const page = await open({ width: 360, height: 700 });
  const call = await ask(page, "مرحبا");
  call.write("أهلا\n\n- واحد\n").finish();
  await ended(page);
  await looked(page, "right to left");
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
  await page.click("#sidebar-toggle");
  await page.locator("#sidebar a").first().waitFor();
  await looked(page, "the list of chats");
  await page.context().close();
});
