// A question that is too long for the model: it says by how much, and blocks nothing.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, asked, chat, open, outcome, questions, said, shows, until, version, withChat } from "./chat_page.mjs";

withChat();

const OPENAI = { message: "This model's maximum context length is 4097 tokens. However, your messages resulted in 5012 tokens.", code: "context_length_exceeded" };
const LLAMA = { code: 400, message: "the request exceeds the available context size", type: "exceed_context_size_error", n_prompt_tokens: 9000, n_ctx: 8192 };

async function refused(question, error = OPENAI, on = chat.page) {
  chat.upstream.refuse(400, { error });
  await on.fill("#prompt", question);
  await on.press("#prompt", "Enter");
  await on.locator(".said", { hasText: "Too long" }).waitFor();
}

for (const [name, tell, by] of [
  ["a refusal", () => refused("Much too long"), "by 915 tokens"],
  ["a refusal with numbers", () => refused("Much too long", LLAMA), "by 808 tokens"],
  ["an event of a stream", async () => (await ask("Much too long")).raw(`data: ${JSON.stringify({ error: OPENAI })}\n\n`).cut(), "by 915 tokens"],
]) {
  test(`a question that is too long says by how much, and blocks nothing: ${name}`, async () => {
    const { page } = chat;
    await asked("Hello", "One.");
    await tell();
    assert.equal(await outcome(), "interrupted");
    assert.match(await page.locator(".said").innerText(), new RegExp(`Too long for the model ${by}`));
    await page.reload();
    assert.match(await page.locator(".said").innerText(), new RegExp(by));
    // Simply asking something else is enough.
    assert.deepEqual(said(await asked("Short", "Two.")), [["user", "Hello"], ["assistant", "One."], ["user", "Short"]]);
    assert.deepEqual(await questions(), ["Hello", "Short"]);
    await version("2/2");
  });
}

test("a question that is too long can be edited, gone back from, and asked in a new chat", async () => {
  const { page, upstream } = chat;
  await asked("Hello", "One.");
  await refused("Much too long");
  await page.click("text=Edit the question");
  assert.equal(await page.evaluate(() => document.activeElement.value), "Much too long");
  await page.keyboard.press("ControlOrMeta+a");
  upstream.refuse(400, { error: OPENAI });
  await page.keyboard.type("Still too long");
  await page.keyboard.press("Enter");
  await until(page, ["Hello", "Still too long"], () => [...document.querySelectorAll(".user")].map((one) => one.innerText));
  await page.locator(".said", { hasText: "Too long" }).waitFor();
  const second = await open(page.url());
  await page.click("text=Go back");
  await until(page, ["Hello"], () => [...document.querySelectorAll(".user")].map((one) => one.innerText));
  assert.equal(await page.inputValue("#prompt"), "Still too long");
  await until(second, ["Hello"], () => [...document.querySelectorAll(".user")].map((one) => one.innerText));
  await page.reload();
  assert.equal(await page.inputValue("#prompt"), "Still too long");
  await page.click("#taken-back");
  await page.click("text=Ask in a new chat");
  const call = await upstream.next();
  assert.deepEqual(said(call), [["user", "Still too long"]]);
  call.write("Fits.").finish();
  await shows("Fits.");
  await page.goBack();
  await page.locator(".said", { hasText: "Too long" }).waitFor();
  assert.deepEqual(await questions(), ["Hello", "Still too long"]);
});
