// What people reach for around a conversation: model, settings, images, theme, keys. Through the real gateway.

import assert from "node:assert/strict";
import { test } from "node:test";
import { active, ask, context, model, open, open_, outcome, page, picture, upstream, wire, withPage } from "./controls_page.mjs";

withPage();

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

test("a model that has another name for the limit of tokens gets it by that name", async () => {
  await page.click("#settings");
  await page.fill("#setting-max_tokens", "300");
  await page.click("#settings-done");
  const message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
  upstream.refuse(400, { error: { message, type: "invalid_request_error", param: "max_tokens", code: "unsupported_parameter" } });
  const call = await ask("Hello");
  assert.deepEqual([call.body.max_tokens, call.body.max_completion_tokens], [undefined, 300]);
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
