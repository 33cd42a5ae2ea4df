// What stands under an answer: figures, and what recovery did.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { lastMessage, startGateway, Wire } from "./harness.mjs";
import { ask, directory, figures, open, outcome, page, picture, upstream, wire, withPage } from "./controls_page.mjs";

withPage();

// --- Figures ---

test("tokens, speed, time and cost stand under an answer, also after a reload", async () => {
  const call = await ask("Hello");
  call.write("One ");
  await page.locator(".assistant .text", { hasText: "One" }).waitFor();
  await page.evaluate(() => {
    const now = Date.now;
    Date.now = () => now() + 200; // so long does it take, by the page's clock
  });
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

test("a gateway that is killed in the middle leaves a mark; settings, images and figures are as they were", async () => {
  const journal = `sqlite:///${join(directory, "journal.sqlite")}`;
  let mortal = await startGateway(upstream, { journal });
  const near = await new Wire(mortal.port).start();
  try {
    const opened = await open(near.url);
    await opened.click("#settings");
    await opened.fill("#setting-temperature", "0.5");
    await opened.keyboard.press("Escape");
    await opened.setInputFiles("#files", { name: "a.png", mimeType: "image/png", buffer: await picture(10, 20) });
    await opened.locator(".attachments img").waitFor();
    const call = await ask("Hello", opened);
    call.write("One ", "two ", "three ");
    await opened.locator(".assistant .text", { hasText: "three" }).waitFor();
    await opened.setInputFiles("#files", { name: "b.png", mimeType: "image/png", buffer: await picture(10, 20) }); // for the next question
    await opened.locator(".attachments img").waitFor();
    await mortal.stop("SIGKILL");
    await opened.locator(".said", { hasText: /Reconnecting|Trying again/ }).waitFor();
    mortal = await startGateway(upstream, { journal });
    near.port = mortal.port;
    const again = await upstream.next();
    assert.equal(again.body.temperature, 0.5);
    again.write("One ", "two ", "three ", "four.").finish();
    assert.equal(await outcome(opened), "completed");
    assert.equal((await lastMessage(opened)).content, "One two three four.");
    await opened.locator(".recovery summary").click();
    assert.match((await opened.locator(".recovery li").allInnerTexts()).join("\n"), /The gateway was restarted/);
    await opened.reload();
    await opened.locator(".recovery summary").waitFor();
    assert.equal(await opened.locator(".user .images img").count(), 1);
    assert.equal(await opened.locator(".attachments img").count(), 1);
    assert.equal(await opened.getAttribute("#settings", "aria-label"), "Settings, 1 set");
  } finally {
    near.stop();
    await mortal.stop();
  }
});
