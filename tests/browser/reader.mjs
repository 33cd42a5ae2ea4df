// Run the program on standard input in a page, and print what it shows, until its `source` is closed.

import { launchBrowser } from "./harness.mjs";

let program = "";
for await (const piece of process.stdin) program += piece;

const browser = await launchBrowser();
try {
  const page = await browser.newPage();
  await page.goto(new URL("/healthz", process.env.GATEWAY).href);
  await page.exposeFunction("print", show);
  // In the order in which they were shown, although each call is one of its own.
  await page.evaluate(() => (globalThis.show = (text) => (globalThis.shown = (globalThis.shown ?? Promise.resolve()).then(() => print(text)))));
  await page.addScriptTag({ content: program });
  await page.waitForFunction("source.readyState === EventSource.CLOSED");
  await page.evaluate("shown");
} finally {
  await browser.close();
}
