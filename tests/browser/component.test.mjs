// The guide's React component, built by Vite, against the gateway. (By Next.js: nextjs.test.mjs.)

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hydrated, serveExample } from "./example.mjs";
import { launchBrowser, startGateway, Upstream } from "./harness.mjs";

let upstream, gateway, app, browser, page;

before(async () => {
  [upstream, browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
  gateway = await startGateway(upstream);
  app = await serveExample("react-vite", gateway);
  page = await browser.newPage();
  page.setDefaultTimeout(10_000);
  // How many times the component's decoder was given something.
  await page.addInitScript(() => {
    window.arrivals = 0;
    const { decode } = TextDecoder.prototype;
    TextDecoder.prototype.decode = function (...given) {
      window.arrivals++;
      return decode.apply(this, given);
    };
  });
  await page.goto(app.url);
  await hydrated(page);
});

after(async () => {
  await browser?.close();
  await app?.stop();
  await gateway?.stop();
  upstream?.stop();
});

const output = () => page.evaluate(() => document.querySelector("main > div").textContent.replace(/▊$/, ""));

async function ask(prompt) {
  await page.fill("[name=prompt]", prompt);
  await page.keyboard.press("Enter");
  return upstream.next();
}

test("text arrives as it is written, with emoji and Chinese whole, and the cursor goes", async () => {
  const call = await ask("Hello");
  assert.deepEqual(call.body.messages, [{ role: "user", content: "Hello" }]);
  await page.locator(".animate-pulse").waitFor();
  const piece = "你好，世界！👩‍👩‍👧 emoji 🌍 und Wörter ";
  for (let number = 1; number <= 15; number++) {
    call.write(piece);
    await page.waitForFunction((length) => document.querySelector("main > div").textContent.length > length, piece.length * (number - 1));
  }
  assert.ok((await page.evaluate(() => window.arrivals)) > 10);
  // 30 kB at once, more than one write of the gateway: no read may end inside a character either. (Far more than
  // 64 kB at once would be cut anywhere by the proxy between, which no server can prevent.)
  const long = "🌍你好 ".repeat(2700);
  call.write(long, "Ende.").finish();
  await page.locator(".animate-pulse").waitFor({ state: "detached" });
  const text = await output();
  assert.ok(!text.includes("\uFFFD"), `U+FFFD at ${text.indexOf("\uFFFD")}`);
  assert.equal(text, piece.repeat(15) + long + "Ende.");
});

test("an interrupted answer does not look like a whole one", async () => {
  const call = await ask("Again");
  call.write("The first half ");
  await page.waitForFunction(() => document.querySelector("main > div").textContent.includes("first half"));
  call.cut();
  await page.waitForFunction(() => /interrupted/i.test(document.querySelector("main").textContent));
  await page.locator(".animate-pulse").waitFor({ state: "detached" });
});
