// A thousand conversations, and one of 500 turns: as quick as few and short ones.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, chat, conversation, lists, outcome, shows, store, until, withChat } from "./chat_page.mjs";
import { processorTime } from "./harness.mjs";

withChat();

// The processor time of the page's main thread, which other work on the machine does not change.
async function cost(page, load) {
  const spent = await processorTime(page);
  const before = await spent();
  await load();
  return (await spent()) - before;
}

test("a thousand conversations are listed in under 200 ms", async (t) => {
  const { page } = chat;
  const text = "The same text again and again, as long as an answer is. ".repeat(40);
  const records = Array.from({ length: 1000 }, (_, index) => conversation(`c${index}`, [[`Question ${index}`, text]], { updated: Date.now() - index * 3_600_000 }));
  const empty = await cost(page, () => page.reload());
  await store(records);
  await page.reload(); // now their list is made
  await page.locator("#chats li").nth(59).waitFor({ state: "attached" });
  const took = await cost(page, async () => {
    await page.reload();
    await page.locator("#chats li").nth(59).waitFor({ state: "attached" });
  });
  t.diagnostic(`${Math.round(took)} ms with a thousand, ${Math.round(empty)} ms with none`);
  assert.ok(took - empty < 200, `${took - empty} ms`);
  await until(page, records.length, () => document.querySelectorAll("#chats .title").length);
  await page.fill("#search", "question 777");
  await lists(["Question 777"]);
});

test("a conversation of 500 turns opens in under a second, at its end", async (t) => {
  const { page } = chat;
  const answer = "A paragraph with **bold words** and `code`.\n\n- one\n- two\n\n```py\nprint(1)\n```\n\nAnd then a longer paragraph. ".repeat(2);
  await store([conversation("long", Array.from({ length: 500 }, (_, index) => [`Question ${index}`, `${answer}Answer ${index}.`]))]);
  const took = await cost(page, async () => {
    await page.goto(`${chat.wire.url}/?#long`);
    await page.locator("text=Answer 499.").waitFor();
    assert.ok(await page.evaluate(() => document.querySelector("main").scrollTop > 0));
  });
  t.diagnostic(`${Math.round(took)} ms`);
  assert.ok(took < 1000, `${took} ms`);
  assert.equal(await page.locator(".assistant").count(), 500);
  await page.evaluate(() => document.querySelector("main").scrollTo(0, 0));
  await page.locator("text=Answer 0.").waitFor();
  await page.waitForFunction(() => document.querySelector(".assistant").querySelector("pre")); // and it looks as it should
  const call = await ask("One more");
  assert.equal(call.body.messages.length, 1001);
  call.write("Here.").finish();
  await shows("Here.");
  assert.equal(await outcome(), "completed");
});
