// `everytoken/react` in a real browser, through the real gateway, with a model that the test moves by hand.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { EVERYTOKEN } from "./helpers.mjs";
import { serve } from "./page/serve.mjs";

process.env.EVERYTOKEN ??= EVERYTOKEN;
const { launchBrowser, startGateway, Upstream, Wire } = await import("../../tests/browser/harness.mjs");

let upstream, gateway, site, wire, browser, context, page, faults, posts;

before(async () => {
  [upstream, browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
  gateway = await startGateway(upstream);
  context = await browser.newContext();
  site = await serve(() => gateway.url);
  wire = await new Wire(site.address().port).start();
});

after(async () => {
  await browser?.close();
  wire?.stop();
  site?.closeAllConnections();
  site?.close();
  await gateway?.stop();
  upstream?.stop();
});

beforeEach(async () => {
  [faults, posts] = [[], 0];
  page = await open();
});

afterEach(async () => {
  wire.join();
  await Promise.all(context.pages().map((opened) => opened.close()));
  assert.deepEqual(faults, []);
  assert.equal(upstream.untaken, 0); // no request to the model that the test did not expect
});

async function open(path = "/", at = wire.url) {
  const opened = await context.newPage();
  opened.setDefaultTimeout(10_000);
  opened.on("pageerror", (error) => faults.push(String(error)));
  opened.on("request", (request) => (posts += request.method() === "POST" && request.url().includes("/completions")));
  await opened.goto(new URL(path, at).href);
  return opened;
}

async function type(question, on = page) {
  await on.locator("input").fill(question);
  await on.keyboard.press("Enter");
  return upstream.next();
}

async function shows(text, on = page) {
  await on.waitForFunction((wanted) => document.querySelector(".text")?.textContent === wanted, text).catch(async (error) => {
    assert.equal(await on.textContent(".text"), text, error.message);
  });
}
const state = (wanted, on = page) => on.locator(`form[data-state=${wanted}]`).waitFor();

describe("useStream and StreamingText", () => {
  test("text grows by whole words behind a blinking cursor, which is gone at the end", async () => {
    const call = await type("Hello");
    assert.deepEqual(call.body.messages, [{ role: "user", content: "Hello" }]);
    await page.evaluate(() => {
      window.seen = new Set();
      new MutationObserver(() => window.seen.add(document.querySelector(".text").textContent)).observe(document.querySelector(".text"), {
        childList: true,
        characterData: true,
        subtree: true,
      });
    });
    call.write("Every tok");
    await page.waitForFunction(() => window.seen.size > 0);
    call.write("en at once. ");
    await shows("Every token at once. ▊");
    assert.equal(await page.locator("[data-cursor]").evaluate((cursor) => cursor.getAnimations().length), 1);
    assert.equal(await page.locator(".text").getAttribute("aria-busy"), "true");
    call.write("👨‍👩‍👧 你好世界 สวัสดี שלום").finish();
    await state("completed");
    await shows("Every token at once. 👨‍👩‍👧 你好世界 สวัสดี שלום");
    assert.equal(await page.locator(".text").getAttribute("aria-busy"), "false");
    const seen = await page.evaluate(() => [...window.seen]);
    assert.equal(seen[0], "Every ▊");
  });

  test("part of a word is shown when nothing more comes", async () => {
    const call = await type("Hello");
    call.write("Every tok");
    await shows("Every tok▊");
    call.finish();
    await state("completed");
  });

  test("the cursor stands still for who wants less motion", async () => {
    await page.emulateMedia({ reducedMotion: "reduce" });
    const call = await type("Hello");
    await page.locator("[data-cursor]").waitFor();
    assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
    call.finish();
    await state("completed");
  });

  for (const keep of ["url", "session"]) {
    test(`a reload in the middle shows the same text and goes on: id in the ${keep}`, async () => {
      await page.goto(`${wire.url}/?keep=${keep}`);
      const call = await type("Hello");
      for (const [word, sofar] of [["One ", "One "], ["two ", "One two "], ["three ", "One two three "]]) {
        call.write(word);
        await shows(`${sofar}▊`);
        await page.reload();
        await shows(`${sofar}▊`);
      }
      assert.equal(new URL(page.url()).searchParams.has("stream"), keep === "url");
      call.write("four.").finish();
      await state("completed");
      await shows("One two three four.");
      await page.reload();
      await state("completed");
      await shows("One two three four.");
      assert.equal(posts, 1);
    });
  }

  test("a second tab shows the same, and Stop there stops both and the model", async () => {
    const call = await type("Hello");
    call.write("Some text ");
    await shows("Some text ▊");
    const second = await open(page.url());
    await shows("Some text ▊", second);
    await second.click("button");
    await call.closed;
    await Promise.all([state("cancelled"), state("cancelled", second)]);
    await shows("Some text ");
    await shows("Some text ", second);
    assert.equal(posts, 1);
  });

  test("Stop works before the first token", async () => {
    const call = await type("Hello");
    await page.click("button");
    await state("cancelled");
    await call.closed;
  });

  test("a lost network is waited for, and nothing is asked twice", async () => {
    const call = await type("Hello");
    call.write("Before. ");
    await shows("Before. ▊");
    wire.cut();
    await state("reconnecting");
    call.write("Meanwhile. ");
    wire.join();
    await shows("Before. Meanwhile. ▊");
    call.finish();
    await state("completed");
    assert.equal(posts, 1);
  });

  test("an interrupted answer keeps its text and says why", async () => {
    const call = await type("Hello");
    call.write("Some text ");
    await shows("Some text ▊");
    call.cut();
    await state("interrupted");
    await shows("Some text ");
    assert.notEqual(await page.textContent("output"), "");
  });

  test("a new question takes the place of the old one", async () => {
    const before = await type("First");
    before.write("Answer. ");
    await shows("Answer. ▊");
    const first = page.url();
    const call = await type("Second");
    assert.notEqual(page.url(), first); // the answer that was left does not come back
    call.write("Another. ");
    await shows("Another. ▊");
    before.write("Unseen. ").finish();
    call.finish();
    await state("completed");
    await shows("Another. ");
  });

  test("a stream id that is none is not asked for", async () => {
    await page.goto(`${wire.url}/?stream=${encodeURIComponent("../../v1/models?")}`);
    await state("idle");
  });

  test("of Markdown only the last block is rendered again", async () => {
    await page.goto(`${wire.url}/?markdown`);
    const call = await type("Hello");
    call.write("First **block**.\n\n", "Second ");
    await shows("First block.\n\nSecond ▊");
    await page.evaluate(() => (window.rendered.length = 0));
    for (const word of ["with ", "some ", "words."]) call.write(word);
    call.finish();
    await state("completed");
    await shows("First block.\n\nSecond with some words.");
    const rendered = await page.evaluate(() => window.rendered);
    assert.ok(rendered.length > 0);
    assert.deepEqual(rendered.filter((source) => source.includes("First")), []);
  });

  test("code, formulas and thoughts have components of their own, which know whether their end has come", async () => {
    await page.goto(`${wire.url}/?markdown&parts`);
    const call = await type("Hello");
    call.write("<think>Hm, ", "so. ");
    await page.locator("details[data-open=true]", { hasText: "Hm, so." }).waitFor();
    call.write("</think>\n\n**注意：**这是 \\(x\\), $5.\n\n", "\\[\ny ");
    await page.locator("details[data-open=false] summary", { hasText: /^Thought for \d+ s$/ }).waitFor();
    await page.locator("i[data-open=true]", { hasText: "y" }).waitFor();
    assert.equal(await page.locator("p").first().textContent(), "注意：\u200b这是 $x$, \\$5.\n\n".replace("\u200b", "&#8203;"));
    assert.equal(await page.locator("b").first().textContent(), "注意：");
    call.write("\n\\]\n\n", "```py\nif x:\n", "    pass ");
    await page.locator("i[data-open=false]").waitFor();
    const code = page.locator("pre[data-language=py]");
    await code.filter({ hasText: "pass" }).waitFor();
    assert.equal(await code.textContent(), "if x:\n    pass ▊");
    await page.evaluate(() => (window.rendered.length = 0));
    call.write("\n```\n\nEnd. ").finish();
    await state("completed");
    assert.equal(await code.textContent(), "if x:\n    pass ");
    assert.equal(await code.getAttribute("data-open"), "false");
    const rendered = await page.evaluate(() => window.rendered);
    assert.deepEqual(rendered.filter((source) => /注意|math/.test(source)), []);
  });
});
