// The chat page: asking, stopping, resuming, by mouse, keyboard and ear.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, open, outcome, page, shown, shows, upstream, wire } from "./one_page.mjs";

test("text grows behind a blinking cursor, which is gone at the end", async () => {
  const call = await ask("Hello");
  assert.deepEqual(call.body.messages, [{ role: "user", content: "Hello" }]);
  const cursor = page.locator(".cursor");
  await cursor.waitFor();
  assert.equal(await cursor.textContent(), "▊");
  assert.equal(await cursor.evaluate((element) => getComputedStyle(element).animationName), "blink");
  for (const [text, sofar] of [["One ", "One "], ["two ", "One two "], ["three. ", "One two three. "]]) {
    call.write(text);
    await shows(sofar.trimEnd());
    assert.equal(await page.locator(".assistant .text p .cursor").count(), 1);
  }
  call.finish();
  assert.equal(await outcome(), "completed");
  assert.equal(await cursor.count(), 0);
});

test("the cursor stands still for who wants less motion", async () => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  const call = await ask("Hello");
  const name = await page.locator(".cursor").evaluate((element) => getComputedStyle(element).animationName);
  assert.equal(name, "none");
  call.finish();
  await outcome();
});

test("the next question carries the conversation", async () => {
  (await ask("First")).write("Answer.").finish();
  await outcome();
  const call = await ask("Second");
  assert.deepEqual(call.body.messages.map(({ role, content }) => [role, content]), [
    ["user", "First"],
    ["assistant", "Answer."],
    ["user", "Second"],
  ]);
  call.finish();
  await page.waitForFunction(() => !document.querySelector("[aria-busy]"));
});

test("a question that is asked while the one before is still being stored is asked then", async () => {
  // A busy disk: a transaction is complete when the test says so.
  await page.addInitScript(() => {
    const { set } = Object.getOwnPropertyDescriptor(IDBTransaction.prototype, "oncomplete");
    const held = (then) => async function (event) {
      await window.held;
      then.call(this, event);
    };
    Object.defineProperty(IDBTransaction.prototype, "oncomplete", { set(then) { set.call(this, held(then)); } });
  });
  await page.reload();
  await page.evaluate(() => {
    window.held = new Promise((resolve) => (window.release = resolve));
  });
  (await ask("First")).write("Answer.").finish();
  await outcome();
  await page.keyboard.type("Second");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await page.keyboard.type(" and more");
  await page.evaluate(() => window.release());
  const call = await upstream.next();
  assert.deepEqual(call.body.messages.map(({ content }) => content), ["First", "Answer.", "Second"]);
  assert.equal(await page.inputValue("#prompt"), " and more");
  call.write("Two.").finish();
  await shows("Two.");
});

test("Escape stops the generation upstream, and the page says so", async () => {
  const call = await ask("Hello");
  call.write("Some text ");
  await shows("Some text");
  await page.keyboard.press("Escape");
  await call.closed;
  assert.equal(await outcome(), "stopped");
  assert.match(await page.locator(".note").innerText(), /^Stopped/);
  assert.equal(await page.locator(".cursor").count(), 0);
  assert.equal(await shown(), "Some text");
});

test("Stop works before the first token", async () => {
  const call = await ask("Hello");
  await page.keyboard.press("Escape");
  await call.closed;
  assert.equal(await outcome(), "stopped");
  assert.equal(await shown(), "");
  await page.locator("text=Try again").waitFor();
});

test("the Stop button stops in every tab", async (t) => {
  const call = await ask("Hello");
  call.write("Some text ");
  await shows("Some text");
  const second = await open(page.url());
  await shows("Some text", second);
  await second.evaluate(() => document.querySelector("#stop").addEventListener("click", () => (window.pressed = Date.now()), { capture: true }));
  const closed = call.closed.then(() => Date.now());
  await second.click("#stop");
  const took = (await closed) - (await second.evaluate(() => window.pressed));
  t.diagnostic(`the model's connection was closed ${took} ms after Stop`);
  assert.ok(took < 5000); // the promise is one second, on a machine that has nothing else to do
  assert.equal(await outcome(), "stopped");
  assert.equal(await outcome(second), "stopped");
});

test("everything works with the keyboard alone", async () => {
  assert.equal(await page.evaluate(() => document.activeElement.id), "prompt");
  await page.keyboard.type("Line one");
  await page.keyboard.press("Shift+Enter");
  const call = await ask("line two");
  assert.equal(call.body.messages[0].content, "Line one\nline two");
  call.write("Text ");
  await shows("Text");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "stop");
  await page.keyboard.press("Enter");
  await call.closed;
  assert.equal(await outcome(), "stopped");
  assert.equal(await page.evaluate(() => document.activeElement.id), "prompt"); // the focus is never lost
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Shift+Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Continue");
  await page.keyboard.press("Enter");
  (await upstream.next()).write("more.").finish();
  assert.equal(await outcome(), "completed");
  assert.equal(await page.evaluate(() => document.activeElement.id), "prompt");
});

test("a screen reader hears the answer once, at its end", async () => {
  await page.evaluate(() => {
    window.heard = [];
    const live = [...document.querySelectorAll("[aria-live]")];
    new MutationObserver(() => window.heard.push(live[0].textContent)).observe(live[0], { childList: true });
    window.live = live.length;
  });
  const call = await ask("Hello");
  call.write("One **two** ");
  await shows("One two");
  assert.equal(await page.locator(".assistant").getAttribute("aria-busy"), "true");
  assert.deepEqual(await page.evaluate(() => [window.live, window.heard]), [1, []]);
  call.write("three.").finish();
  await outcome();
  assert.equal(await page.locator(".assistant").getAttribute("aria-busy"), null);
  assert.deepEqual(await page.evaluate(() => window.heard), ["One two three."]);
});

test("a cut answer is interrupted, never done, and can be gone on with", async () => {
  const call = await ask("Hello");
  call.write("The first ");
  await shows("The first");
  call.cut();
  assert.equal(await outcome(), "interrupted");
  assert.match(await page.locator(".note").innerText(), /^Interrupted/);
  assert.equal(await shown(), "The first");
  await page.click("text=Continue");
  const rest = await upstream.next();
  assert.deepEqual(rest.body.messages.at(-1), { role: "assistant", content: "The first " });
  rest.write("and the rest.").finish();
  await shows("The first and the rest.");
  assert.equal(await outcome(), "completed");
  assert.equal(await page.locator(".assistant").count(), 1);
});

test("a reload in the middle shows the whole text and goes on", async () => {
  const call = await ask("Hello");
  call.write("Before ");
  await shows("Before");
  await page.reload();
  await shows("Before");
  call.write("and after.").finish();
  await shows("Before and after.");
  assert.equal(await outcome(), "completed");
  assert.equal(await page.locator(".user").innerText(), "Hello");
});

test("a question is asked once, also when the page is left before its answer has a name", async () => {
  const release = upstream.hold();
  await page.keyboard.type("Hello");
  await page.keyboard.press("Enter");
  await page.waitForFunction(async () => {
    const { read } = await import("/assets/store.js");
    const record = await read(location.hash.slice(1));
    return Object.values(record?.nodes ?? {}).some(({ content }) => content === "Hello");
  });
  const second = await open(page.url());
  await page.reload();
  await page.locator(".assistant .cursor").waitFor();
  release();
  const call = await upstream.next();
  call.write("Here ");
  await shows("Here");
  await shows("Here", second);
  call.write("it is.").finish();
  await shows("Here it is.");
  assert.equal(await outcome(), "completed");
  assert.equal(await outcome(second), "completed");
});

test("a question whose connection breaks is sent again, as the same one", async () => {
  const release = upstream.hold();
  const posts = wire.posts;
  await page.keyboard.type("Hello");
  await page.keyboard.press("Enter");
  while (wire.posts === posts) await new Promise((resolve) => setImmediate(resolve));
  wire.cut();
  await page.locator(".said", { hasText: "Reconnecting" }).waitFor();
  wire.join();
  release();
  (await upstream.next()).write("Here.").finish();
  await shows("Here.");
  assert.equal(await outcome(), "completed");
  assert.equal(wire.posts, posts + 2); // and the model has one request
});
