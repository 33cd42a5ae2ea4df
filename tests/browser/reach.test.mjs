// What people reach for around a conversation: model, settings, images, figures, theme, keys. Through the real gateway.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { lastMessage, launchBrowser, startGateway, Upstream, Wire } from "./harness.mjs";

const MODELS = [
  ...["gpt-5.1", "gpt-5.1-mini"].map((id) => ({ id, object: "model", owned_by: "openai" })),
  ...["claude-opus", "claude-haiku"].map((id) => ({ id, object: "model", owned_by: "anthropic" })),
  ...["a", "b", "c", "accounts/somebody/models/llama-405b-instruct"].map((id) => ({ id, object: "model", owned_by: "local" })),
];

let upstream, gateway, wire, browser, context, page, faults, directory;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "everytoken-"));
  writeFileSync(join(directory, "everytoken.toml"), '[prices."gpt-5.1"]\ninput = 1.0\noutput = 2.0\n');
  [upstream, browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
  gateway = await startGateway(upstream, { options: ["--config", join(directory, "everytoken.toml")], environ: { EVERYTOKEN_ATTEMPTS: "3" } });
  wire = await new Wire(gateway.port).start();
});

after(async () => {
  await browser?.close();
  wire?.stop();
  await gateway?.stop();
  upstream?.stop();
  rmSync(directory, { recursive: true });
});

beforeEach(async () => {
  faults = [];
  upstream.models = MODELS;
  context = await browser.newContext();
  page = await open();
});

afterEach(async () => {
  wire.join();
  await context.close();
  assert.deepEqual(faults, []);
  assert.equal(upstream.untaken, 0);
});

async function open(url = wire.url) {
  const opened = await context.newPage();
  opened.setDefaultTimeout(10_000);
  opened.on("console", (message) => /Content Security Policy|Trusted/.test(message.text()) && faults.push(message.text()));
  opened.on("request", (request) => !/^(data:|http:\/\/127\.)/.test(request.url()) && faults.push(request.url()));
  await opened.goto(url);
  await opened.locator("#model-button").waitFor();
  return opened;
}

async function ask(question, on = page) {
  await on.fill("#prompt", question);
  await on.press("#prompt", "Enter");
  return upstream.next();
}

const outcome = (on = page) => on.waitForFunction(() => [...document.querySelectorAll(".assistant")].at(-1)?.dataset.outcome).then((h) => h.jsonValue());
const model = (on = page) => on.locator("#model-button .name").innerText();
const active = (on = page) => on.evaluate(() => document.activeElement.id);
const figures = (on = page) => on.locator(".assistant:last-child .figures li").allInnerTexts();
const open_ = (id, on = page) => on.locator(`#${id}[open]`);

/** A picture of one colour, as a file. */
const picture = (width, height, on = page) =>
  on.evaluate(([width, height]) => {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.getContext("2d").fillRect(0, 0, width, height);
    return canvas.toDataURL("image/png").split(",")[1];
  }, [width, height]).then((base64) => Buffer.from(base64, "base64"));

// --- The model ---

test("a model is found by a word, asked, and remembered by the conversation and for the next one", async () => {
  assert.equal(await model(), "gpt-5.1");
  await page.click("#model-button");
  assert.deepEqual(await page.locator("#model-list .owner").allInnerTexts(), ["openai", "anthropic", "local"]);
  assert.equal(await active(), "model-search");
  await page.keyboard.type("HAIKU");
  assert.deepEqual(await page.locator("#model-list [role=option]").allInnerTexts(), ["claude-haiku", "Use “HAIKU”"]);
  await page.keyboard.press("Enter");
  await open_("model-form").waitFor({ state: "detached" });
  const call = await ask("Hello");
  assert.equal(call.body.model, "claude-haiku");
  call.write("Hi.").finish();
  await outcome();
  const first = page.url();
  // Another conversation begins with the last model; this one keeps its own.
  await page.click("#new");
  assert.equal(await model(), "claude-haiku");
  await page.keyboard.press("Alt+m");
  await page.keyboard.press("End"); // in the text, which is empty
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  const other = await model();
  assert.equal(other, "gpt-5.1-mini");
  await page.goto(first);
  await page.waitForFunction(() => document.querySelector("#model-button .name").textContent === "claude-haiku");
  await page.goto(wire.url);
  await page.waitForFunction(() => document.querySelector("#model-button .name").textContent === "gpt-5.1-mini");
});

test("without a connection the last list is there, and a model that nobody lists can be asked", async () => {
  await page.waitForFunction(() => localStorage.getItem("everytoken.models"));
  await page.route("**/v1/models", (route) => route.abort());
  await page.reload();
  await page.click("#model-button");
  await page.locator("#model-list [role=option]", { hasText: "claude-opus" }).waitFor();
  await page.fill("#model-search", "my-own");
  await page.keyboard.press("Enter");
  const call = await ask("Hello");
  assert.equal(call.body.model, "my-own");
  call.finish();
  await outcome();
});

// --- Settings ---

test("settings are the conversation's: sent, kept over a reload, in a second tab, and not in another conversation", async () => {
  await page.click("#settings");
  await page.fill("#setting-system", "Be brief.");
  await page.fill("#setting-temperature", "0,3");
  await page.fill("#setting-max_tokens", "0");
  assert.match(await page.locator("#setting-max_tokens-problem").innerText(), /whole number, 1 or more/);
  assert.equal(await page.getAttribute("#setting-max_tokens", "aria-invalid"), "true");
  await page.fill("#setting-max_tokens", "500");
  await page.selectOption("#setting-reasoning_effort", "low");
  await page.reload(); // nothing is asked yet, and nothing is lost
  await page.locator('#settings[aria-label="Settings, 4 set"]').waitFor();
  const call = await ask("Hello");
  const { model: asked, messages, temperature, top_p, max_tokens, reasoning_effort } = call.body;
  assert.deepEqual([asked, temperature, top_p, max_tokens, reasoning_effort], ["gpt-5.1", 0.3, undefined, 500, "low"]);
  assert.deepEqual(messages, [{ role: "system", content: "Be brief." }, { role: "user", content: "Hello" }]);
  call.write("Hi.").finish();
  await outcome();
  const second = await open(page.url());
  await second.locator('#settings[aria-label="Settings, 4 set"]').waitFor();
  await second.click("#settings");
  assert.equal(await second.inputValue("#setting-temperature"), "0.3");
  await second.click("#settings-reset");
  await second.click("#settings-done");
  await page.locator('#settings[aria-label="Settings"]').waitFor();
  const plain = await ask("And now?");
  assert.deepEqual([plain.body.temperature, plain.body.messages[0].role], [undefined, "user"]);
  plain.finish();
  await outcome();
  await second.click("#new");
  assert.equal(await second.getAttribute("#settings", "aria-label"), "Settings");
});

test("what the model refuses is said at the field", async () => {
  await page.click("#settings");
  await page.fill("#setting-temperature", "1.5");
  await page.click("#settings-done");
  const error = { message: "temperature must be 1 with this model.", type: "invalid_request_error", param: "temperature", code: "unsupported_value" };
  upstream.refuse(400, { error });
  await page.fill("#prompt", "Hello");
  await page.press("#prompt", "Enter");
  assert.equal(await outcome(), "interrupted");
  await page.click("text=Change temperature");
  assert.equal(await active(), "setting-temperature");
  assert.match(await page.locator("#setting-temperature-problem").innerText(), /temperature must be 1/);
  await page.fill("#setting-temperature", "1");
  assert.equal(await page.locator("#setting-temperature-problem").innerText(), "");
  await page.keyboard.press("Escape");
  await page.click("text=Try again");
  const call = await upstream.next();
  assert.equal(call.body.temperature, 1);
  call.write("Here.").finish();
  await page.locator(".assistant[data-outcome=completed]").waitFor();
});

// --- Images ---

test("images are added by file, paste and drop, made smaller, sent as parts, and there after a reload", async () => {
  const [large, small] = [await picture(3200, 1600), await picture(10, 20)];
  await page.setInputFiles("#files", { name: "large.png", mimeType: "image/png", buffer: large });
  await page.locator(".attachments img").waitFor();
  for (const kind of ["paste", "drop"]) {
    await page.evaluate(([kind, bytes]) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(bytes)], "small.png", { type: "image/png" }));
      const init = { bubbles: true, cancelable: true };
      const event = kind === "paste" ? new ClipboardEvent("paste", { ...init, clipboardData: data }) : new DragEvent("drop", { ...init, dataTransfer: data });
      document.querySelector("#prompt").dispatchEvent(event);
    }, [kind, [...small]]);
  }
  await page.locator(".attachments li:nth-child(3)").waitFor();
  assert.deepEqual(await page.locator(".attachments img").evaluateAll((all) => all.map((one) => [one.naturalWidth, one.naturalHeight])), [[1568, 784], [10, 20], [10, 20]]);
  await page.click('[aria-label="Remove image 3"]');
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Remove image 2");
  await page.setInputFiles("#files", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no image") });
  await page.locator("#attachment-problem", { hasText: "notes.txt is not an image" }).waitFor();
  await page.fill("#prompt", "What is this?");
  await page.reload();
  await page.locator(".attachments li:nth-child(2)").waitFor();
  assert.equal(await page.inputValue("#prompt"), "What is this?");
  await page.press("#prompt", "Enter");
  const call = await upstream.next();
  const [text, ...images] = call.body.messages[0].content;
  assert.deepEqual(text, { type: "text", text: "What is this?" });
  assert.deepEqual(images.map(({ type, image_url }) => [type, image_url.url.slice(0, 22)]), [["image_url", "data:image/jpeg;base64"], ["image_url", "data:image/png;base64,"]].slice(0, images.length));
  assert.equal(images.length, 2);
  call.write("A colour.").finish();
  await outcome();
  await page.reload();
  await page.locator(".user .images img").nth(1).waitFor();
  assert.equal(await page.locator(".attachments li").count(), 0);
});

test("a model that takes no images says so, and the question stays in the prompt", async () => {
  await page.setInputFiles("#files", { name: "a.png", mimeType: "image/png", buffer: await picture(10, 20) });
  await page.locator(".attachments img").waitFor();
  upstream.refuse(400, { error: { message: "This model does not support image input.", type: "invalid_request_error" } });
  await page.fill("#prompt", "What is this?");
  await page.press("#prompt", "Enter");
  await page.locator("#attachment-problem", { hasText: "does not support image input" }).waitFor();
  const there = async () => {
    await page.locator(".attachments img").waitFor();
    assert.equal(await page.inputValue("#prompt"), "What is this?");
  };
  await there();
  await page.reload();
  await there();
  await page.click('[aria-label="Remove image 1"]');
  const call = await (await page.press("#prompt", "Enter"), upstream.next());
  assert.equal(call.body.messages.at(-1).content, "What is this?");
  call.write("Nothing.").finish();
  await page.locator(".assistant[data-outcome=completed]").waitFor();
});

// --- Figures ---

test("tokens, speed, time and cost stand under an answer, also after a reload", async () => {
  const call = await ask("Hello");
  call.write("One ");
  await page.locator(".assistant .text", { hasText: "One" }).waitFor();
  await page.evaluate(() => new Promise((done) => setTimeout(done, 200)));
  call.write("two.");
  call.raw(Buffer.from(`data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "gpt-5.1", choices: [{ index: 0, delta: {}, finish_reason: "stop" }] })}\n\n`));
  call.raw(Buffer.from(`data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "gpt-5.1", choices: [], usage: { prompt_tokens: 1000, completion_tokens: 100, total_tokens: 1100 } })}\n\n`));
  call.response.end("data: [DONE]\n\n");
  await page.locator(".figures li", { hasText: "$" }).waitFor();
  const shown = await figures();
  assert.equal(shown[0], "100 tokens");
  assert.match(shown[1], /^[\d.,]+ tokens\/s$/);
  assert.match(shown[2], /^first after \d+(\.\d)? s$/);
  assert.equal(shown[3], "$0.0012");
  assert.equal(await page.locator(".recovery").count(), 0);
  await page.reload();
  await page.locator(".figures li", { hasText: "$" }).waitFor();
  assert.deepEqual(await figures(), shown);
});

test("what recovery did is a quiet mark with details", async () => {
  const call = await ask("Hello");
  call.write("One two ");
  await page.locator(".assistant .text", { hasText: "One two" }).waitFor();
  wire.cut();
  await page.locator(".said", { hasText: "Reconnecting" }).waitFor();
  wire.join();
  await page.locator(".said").waitFor({ state: "detached" });
  call.cut(); // the provider's body ends, the answer does not
  (await upstream.next()).write("One two ", "three.").finish();
  assert.equal(await outcome(), "completed");
  await page.locator(".recovery summary", { hasText: /^Resumed twice, \d/ }).click();
  const details = await page.locator(".recovery li").allInnerTexts();
  assert.ok(details.some((line) => /^Your connection was away for .* s; the text went on where it was\.$/.test(line)), details.join("\n"));
  assert.ok(details.some((line) => /^The provider’s answer was cut after .* Another attempt continued/.test(line)), details.join("\n"));
  assert.equal((await lastMessage(page)).resumes, 1);
  await page.reload();
  await page.locator(".recovery summary", { hasText: "Resumed twice" }).waitFor();
});

test("an answer that was stopped has figures, too", async () => {
  const call = await ask("Hello");
  call.write("One ", "two ");
  await page.locator(".assistant .text", { hasText: "two" }).waitFor();
  await page.keyboard.press("Escape");
  assert.equal(await outcome(), "stopped");
  await page.locator(".figures li", { hasText: "token" }).first().waitFor();
});

// --- The theme ---

test("the theme is the system's or chosen, in every tab, and there at the first paint", async () => {
  const paper = (on = page) => on.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const [light, dark] = ["rgb(251, 250, 248)", "rgb(26, 25, 23)"];
  await page.emulateMedia({ colorScheme: "dark" });
  assert.equal(await paper(), dark);
  const second = await open();
  await page.click("#settings");
  await page.click("[data-theme-choice=light]");
  assert.equal(await paper(), light);
  assert.equal(await page.getAttribute("[data-theme-choice=light]", "aria-pressed"), "true");
  await second.waitForFunction(() => document.documentElement.dataset.theme === "light");
  // A page whose modules never come is painted in it already.
  const third = await context.newPage();
  await third.route("**/assets/app.js", (route) => route.abort());
  await third.emulateMedia({ colorScheme: "dark" });
  await third.goto(wire.url);
  assert.equal(await paper(third), light);
  await page.click("[data-theme-choice=system]");
  assert.equal(await paper(), dark);
});

// --- The keyboard ---

test("the sheet of shortcuts comes by ? and by Ctrl /, and what it lists works", async () => {
  await page.focus("#prompt");
  await page.keyboard.press("?");
  await open_("shortcuts").waitFor();
  assert.ok((await page.locator("#shortcuts dt").allInnerTexts()).includes("Search conversations"));
  await page.keyboard.press("?"); // who wanted to write it has it
  await open_("shortcuts").waitFor({ state: "detached" });
  assert.equal(await page.inputValue("#prompt"), "?");
  await page.keyboard.press("Control+/");
  await open_("shortcuts").waitFor();
  await page.keyboard.press("Escape");
  assert.equal(await active(), "prompt"); // where it was
  await page.keyboard.press("Control+k");
  assert.equal(await active(), "search");
  await page.keyboard.press("Alt+s");
  await open_("settings-form").waitFor();
  await page.keyboard.press("Escape");
  assert.equal(await active(), "search");
  await page.focus("#settings");
  await page.keyboard.press("/");
  assert.equal(await active(), "prompt");
  assert.equal(await page.inputValue("#prompt"), "?");
});

test("Escape closes a dialog and leaves the answer alone; Tab goes round the whole page", async () => {
  const call = await ask("Hello");
  call.write("Some ");
  await page.locator(".assistant .text", { hasText: "Some" }).waitFor();
  await page.keyboard.press("Alt+m");
  await open_("model-form").waitFor();
  await page.keyboard.press("Escape");
  await open_("model-form").waitFor({ state: "detached" });
  assert.equal(await page.locator(".assistant[data-outcome]").count(), 0);
  call.write("text.").finish();
  assert.equal(await outcome(), "completed");
  await page.focus("#prompt");
  const seen = new Set();
  for (let step = 0; step < 40; step++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute("aria-label") || document.activeElement.textContent || "body");
    if (at === "prompt") break;
    seen.add(at);
  }
  for (const wanted of ["model-button", "settings", "attach", "new", "sidebar-toggle", "search"]) assert.ok(seen.has(wanted), `${wanted} is not among ${[...seen]}`);
  assert.equal(await active(), "prompt");
});
