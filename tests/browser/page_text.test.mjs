// The chat page's text: where the view is, what is shown of what comes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Call } from "./harness.mjs";
import { ask, outcome, page, shown } from "./one_page.mjs";

test("the view follows the text only while the reader is at its end", async () => {
  const lines = Array.from({ length: 80 }, (_, line) => `Line ${line}\n\n`);
  const call = await ask("Hello");
  call.write(...lines);
  await page.locator("text=Line 79").waitFor();
  const rest = () => page.evaluate(() => {
    const main = document.querySelector("main");
    return Math.round(main.scrollHeight - main.clientHeight - main.scrollTop);
  });
  assert.ok((await rest()) <= 1);
  await page.locator("main").hover();
  await page.mouse.wheel(0, -600);
  await page.locator("#latest").waitFor();
  const before = await rest();
  call.write("One more.\n\n", "And the last.");
  await page.locator("text=And the last.").waitFor({ state: "attached" });
  assert.ok((await rest()) > before);
  await page.click("#latest");
  assert.ok((await rest()) <= 1);
  call.finish();
  assert.equal(await outcome(), "completed");
});

test("reasoning is there for who wants it, and is not the answer", async () => {
  const call = await ask("Hello");
  call.reason("Let me think.").write("Forty-two.").finish();
  assert.equal(await outcome(), "completed");
  assert.equal(await shown(), "Forty-two.");
  assert.equal(await page.locator(".thinking").getAttribute("open"), null);
  await page.click("summary");
  assert.equal(await page.locator(".thinking div").innerText(), "Let me think.");
});

const TONGUES = [
  "Family 👨‍👩‍👧‍👦, flags 🇩🇪🇯🇵, a wave 👋🏽 and keys 1️⃣.",
  "中文没有空格，但是每个字都要完整。",
  "ภาษาไทยไม่มีช่องว่างระหว่างคำ และมีวรรณยุกต์",
  "العربية تُكتب من اليمين إلى اليسار، مع 123 رقمًا.",
  "עברית נכתבת מימין לשמאל (וגם 😀).",
  "हिन्दी, é as e + ́, and a line of Latin again.",
];

test("emoji, Chinese, Thai and right-to-left text come whole, however they are cut", async () => {
  const text = TONGUES.join("\n\n");
  const call = await ask("Hello");
  await page.evaluate(() => {
    window.broken = [];
    const place = [...document.querySelectorAll(".text")].at(-1);
    const look = () => /\uFFFD|[\uD800-\uDBFF](?![\uDC00-\uDFFF])/.test(place.textContent) && window.broken.push(place.textContent);
    new MutationObserver(look).observe(place, { childList: true, subtree: true, characterData: true });
  });
  // One code point in each chunk, and every third chunk in two reads, cut within a character.
  for (const [number, character] of [...text].entries()) {
    const bytes = Call.chunk({ content: character });
    const cut = number % 3 === 0 ? bytes.indexOf(Buffer.from(character)) + 1 : bytes.length;
    call.raw(bytes.subarray(0, cut));
    if (cut < bytes.length) {
      await new Promise((resolve) => call.response.write("", resolve)); // it is on its way by itself
      call.raw(bytes.subarray(cut));
    }
  }
  call.finish();
  assert.equal(await outcome(), "completed");
  assert.deepEqual(await page.locator(".assistant .text p").allTextContents(), TONGUES);
  assert.deepEqual(await page.evaluate(() => window.broken), []);
  // Each paragraph has its own direction.
  const directions = await page.locator(".assistant .text p").evaluateAll((all) => all.map((one) => getComputedStyle(one).direction));
  assert.deepEqual(directions, ["ltr", "ltr", "ltr", "rtl", "rtl", "ltr"]);
  await page.reload();
  assert.equal(await outcome(), "completed");
  assert.deepEqual(await page.locator(".assistant .text p").allTextContents(), TONGUES);
});

test("Markdown is text: no HTML, no script link, no image", async () => {
  const call = await ask("Hello");
  call.write("<img src=x onerror=alert(1)> [a](javascript:alert(1)) ![b](http://192.0.2.1/x.png) <b>c</b>").finish();
  await outcome();
  const names = await page.evaluate(() => [...document.querySelectorAll(".text .part *")].map((e) => e.localName));
  assert.deepEqual(names, ["p", "span", "a"]);
  assert.match(await shown(), /^<img src=x onerror=alert\(1\)> a b <b>c<\/b>$/);
});
