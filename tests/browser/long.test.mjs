// 20,000 tokens through the gateway: a frame costs at the end what it cost at the beginning, on the chat page and with
// `<StreamingText>`. The cost is the processor time of the page's main thread, which other work on the machine does not
// change: script, style, layout, painting. The words come from the test; the embedded model cannot write so many.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { serve } from "../../js/test/page/serve.mjs";
import { launchBrowser, processorTime, startGateway, Upstream } from "./harness.mjs";

const TOKENS = 20_000;
const WARM = 30; // parts, one in each frame
const MEASURED = 30; // as many at each end

let upstream, gateway, site, browser;

before(async () => {
  [upstream, browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
  gateway = await startGateway(upstream);
  site = await serve(() => gateway.url);
});

after(async () => {
  await browser?.close();
  site?.closeAllConnections();
  site?.close();
  await gateway?.stop();
  upstream?.stop();
});

// Texts of parts, each with a place for a mark that tells when it can be seen.
const TEXTS = {
  "as models write": [
    "## Part #\n\n",
    "A paragraph with **bold words**, some `code` and a [link](https://example.org/), which goes on for some lines, so that it has to be broken. #\n\n",
    "- an item with *emphasis*\n- another one\n- and the last, #\n\n",
    "```py\ndef part(value):\n    return value + #\n```\n\n",
    "| a | b |\n|---|---|\n| one | **two** # |\n\n",
  ],
  "one paragraph": ["It goes on and on, without an end in sight, and never comes to a line's end: # "],
  code: ["    value = compute(value, 1)  # a step\n", "    if value > limit:  # #\n"],
  "one list": ["- an item with **bold** and `code`, #\n", "- another one, #\n"],
  "one table": ["| one | **two** | `three` # |\n", "| four | five | # |\n"],
};
const HEADS = { code: "```py\n", "one table": "| a | b | c |\n|---|--:|---|\n" };
const SHORT = ["as models write", "one list"]; // the others in a soak: each takes its time
const ONLY_PAGE = ["one list", "one table"]; // `<StreamingText>` leaves Markdown to its reader

const PLACES = { "the chat page": [() => gateway.url, "#prompt", ".assistant .text"], StreamingText: [() => `http://127.0.0.1:${site.address().port}/`, "input", ".text"] };

for (const [name, [url, prompt, place]] of Object.entries(PLACES)) {
  for (const [kind, parts] of Object.entries(TEXTS)) {
    if (name !== "the chat page" && ONLY_PAGE.includes(kind)) continue;
    if (!process.env.EVERYTOKEN_SOAK && !SHORT.includes(kind)) continue;
    test(`${name}, ${kind}`, async (t) => {
      const page = await browser.newPage();
      page.setDefaultTimeout(30_000);
      await page.goto(url());
      await page.locator(prompt).fill("Go on");
      await page.keyboard.press("Enter");
      const call = await upstream.next();
      const spent = await processorTime(page);
      let [number, count] = [0, 0];
      // Write the next part, token by token, and wait until it is on the screen.
      const part = async (also = 1) => {
        const tokens = [];
        for (; also > 0; also--) tokens.push(...parts[number % parts.length].replace(/#(?=\D*$)/, `⟦${number++}⟧`).match(/\s*\S{1,6}|\s+$/g));
        count += tokens.length;
        call.write(...tokens);
        await page.waitForFunction(([place, mark]) => {
          const walker = document.createTreeWalker(document.querySelector(place), NodeFilter.SHOW_TEXT);
          while (walker.lastChild());
          for (let i = 0, node = walker.currentNode; node && i < 20; i++, node = walker.previousNode()) {
            if (node.data?.slice(-300).includes(mark)) return true;
          }
        }, [place, `⟦${number - 1}⟧`]);
      };
      // The middle one of all frames: a garbage collection falls into one of them, and is not what a frame costs.
      const cost = async () => {
        const costs = [];
        for (let i = 0, before = await spent(); i < MEASURED; i++) {
          await part();
          const now = await spent();
          costs.push(now - before);
          before = now;
        }
        return costs.sort((a, b) => a - b)[MEASURED / 2];
      };
      call.write(HEADS[kind] ?? "");
      for (let i = 0; i < WARM; i++) await part();
      // The better of two, both times: what else the machine does is not what a frame costs either.
      const better = async () => Math.min(await cost(), await cost());
      const begin = await better();
      while (count < TOKENS - 24 * MEASURED) await part(30);
      const end = await better();
      t.diagnostic(`${begin.toFixed(2)} ms for a frame at the beginning, ${end.toFixed(2)} ms behind ${count} tokens`);
      assert.ok(count > TOKENS - 1000);
      assert.ok(end <= 2 * begin, `${begin} ms at the beginning, ${end} ms at the end`);
      call.finish();
      await page.close();
    });
  }
}
