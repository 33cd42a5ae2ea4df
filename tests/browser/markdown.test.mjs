// The renderer in the browser, without a gateway: its modules are served from the source tree.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { launchBrowser, processorTime } from "./harness.mjs";

const PAGES = new URL("../../src/everytoken/gateway/pages/", import.meta.url);

const DOCUMENTS = {
  "paragraphs with emphasis": "A **bold *and italic* word**, `code`, ~~gone~~, a_b_c and 2 * 3.\n\nNext one\nwith a line end.\n",
  "headings of both kinds": "# One\n\nTwo\n===\n\n## Three\ntext\n",
  "a text that only looks like a heading": "Here is a list:\n- a\n- b\n\nAnd a rule:\n\n---\n\nend\n",
  "a list cut by blank lines": "1. one\n\n2. two\n\n   more of two\n3. three\n   - nested\n   - nested *too*\n4. four\n\nAfter.\n",
  "two lists that meet": "- a\n- b\n\n1. c\n2. d\n",
  "a list from seven on": "7. seven\n8. eight\n9. nine\n",
  "tasks": "- [x] done\n- [ ] open\n",
  "code in a list": "1. Install:\n\n   ```sh\n   npm ci\n   ```\n\n2. Run:\n\n   ```sh\n   npm start\n   ```\n",
  "fences": "```js\nconst a = `x`;\n\n// ``` not the end\n```\n\n~~~\n```\n~~~\nend\n",
  "a fence that never ends": "before\n\n```py\nprint(1)\nprint(2)",
  "an indented fence": "  ```\n  a\n    b\n  ```\n",
  "a table": "| a | b |\n|:--|--:|\n| 1 | **2** |\n| `3` | 4 |\n\nafter\n",
  "a table right under its words": "Look:\n| a |\n|---|\n| 1 |\n",
  "a quote": "> one\n> **two**\n>\n> - three\n\nafter\n",
  "links": "See [this (one)](https://example.com/a_(b)), <https://example.com>, [1] and list[0].\n",
  "a link defined before it is used": "[x]: https://example.com\n\nSee [x].\n",
  "HTML and entities": "<div>\nno *html*\n</div>\n\na<br>b &amp; c &times; d &lt;e&gt;\n",
  "a long paragraph": `${"All work and no play makes Jack a **dull** boy, *most* days. ".repeat(30)}\n\nend\n`,
  "a long paragraph with a lone star": `5 * 3 ${"and so on and on ".repeat(200)}\n\nend\n`,
  "formulas": "Let $a_1$ and \\(b*c*d\\) be, for $5:\n\\[\nx\n- y\n\\]\nand $$z$$ too.\n\n- $$\n  q\n  $$\n- w\n\n$$\nend\n$$\n",
  "formulas that never end": "# a $$b **c\nand\n\nx \\(y\n> z \\[w\n- v $u\n\n1 | $t\n\nend\n",
  "footnotes": "One[^1] and two[^b], [^a-z].\n\n[^1]: First *note*\n    with more.\n[^b]: Second.\n\nAfter.\n",
  "a table with formulas": "| a | b |\n|---|---|\n| $|x|$ | \\(P(A|B)\\) |\n| `a` | $5 |\n",
  "a long list": Array.from({ length: 95 }, (_, index) => `- item **${index}**\n`).join("") + "\nafter\n",
  "a long numbered list with more in it": Array.from({ length: 45 }, (_, index) => `${index + 1}. item\n   - one\n   - two\n`).join(""),
  "a long table": "| a | b |\n|---|---|\n" + "| 1 | **2** |\n".repeat(90) + "\nafter\n",
  "much code": "```py\n" + "def f(x):  # why\n    return \"\"\"a\n    b\"\"\"\n\n".repeat(30) + "```\n\nafter\n",
  "emphasis without spaces": "**注意：**这是**「重要」**的。**未完\n\n- これは**「x」**です\n",
  "emoji and Chinese": "你好，**世界** 👩‍👩‍👧🌍\n\n- 一\n- 二\n",
};

let browser, page, server;

before(async () => {
  server = createServer(async (request, response) => {
    const isModule = request.url.endsWith(".js");
    response.setHeader("Content-Type", isModule ? "text/javascript" : "text/html");
    response.end(isModule ? await readFile(new URL(`.${request.url}`, PAGES)) : "<!doctype html><main></main>");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  browser = await launchBrowser();
  page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.evaluate(async () => {
    const { MarkdownView } = await import("/markdown.js");
    const { settled } = await import("/rich/queue.js");
    // What text may need is there, so that nothing of it comes late.
    new MarkdownView(document.createElement("div")).write("$x$\n\n```py\n```\n\n```js\n```\n\n```sh\n```\n", { final: true });
    await settled();
    /** Write `pieces` one after the other; return the HTML and every change made to a block that was not the last. */
    window.written = (pieces) => {
      const root = document.createElement("div");
      const observer = new MutationObserver(() => {});
      observer.observe(root, { childList: true, subtree: true, characterData: true, attributes: true });
      const view = new MarkdownView(root);
      const late = [];
      for (const [index, piece] of [...pieces, ""].entries()) {
        const open = root.lastElementChild;
        view.write(piece, { final: index === pieces.length });
        for (const { target } of observer.takeRecords()) {
          if (target === root) continue;
          let block = target;
          while (block.parentNode && block.parentNode !== root) block = block.parentNode;
          if (block.parentNode === root && open && block.compareDocumentPosition(open) & Node.DOCUMENT_POSITION_FOLLOWING) {
            late.push(`${JSON.stringify(piece)} changed ${block.outerHTML.slice(0, 80)}`);
          }
        }
      }
      root.normalize();
      return { html: root.innerHTML.replaceAll("\n</code>", "</code>"), late };
    };
    window.arrive = (text, step) => {
      const root = document.createElement("div");
      const view = new MarkdownView(root);
      for (let at = 0; at < text.length; at += step) view.write(text.slice(at, at + step));
      view.write("", { final: true });
    };
  });
});

after(async () => {
  await browser?.close();
  server?.close();
});

for (const [name, source] of Object.entries(DOCUMENTS)) {
  test(`${name}: the same for every way of arriving, and what is finished stays`, async () => {
    const [whole, ...others] = await page.evaluate((text) => {
      const every = (size) => text.match(new RegExp(`[^]{1,${size}}`, "g"));
      return [[text], every(1), every(3), every(7), text.match(/[^]*?(?:\s+|$)/g)].map(window.written);
    }, source);
    for (const { html, late } of others) {
      assert.equal(html, whole.html);
      assert.deepEqual(late, []);
    }
  });
}

test("the cost of a frame does not grow with the answer", async () => {
  const kinds = {
    paragraphs: "A sentence with **bold** and `code`, and another one.\n\n",
    list: "- an item with *emphasis*\n",
    code: "    value = compute(value, 1)\n",
    table: "| one | **two** | three |\n",
    "one paragraph": "It goes on and on, without an end in sight; ",
  };
  const heads = { code: "```py\n", table: "| a | b | c |\n|---|---|---|\n" };
  const spent = await processorTime(page);
  for (const [kind, line] of Object.entries(kinds)) {
    const cost = async (times) => {
      const before = await spent();
      await page.evaluate(([text, step]) => window.arrive(text, step), [(heads[kind] ?? "") + line.repeat(times), 8]);
      return (await spent()) - before;
    };
    await cost(100); // warm
    const [short, long] = [await cost(100), await cost(800)];
    assert.ok(long < short * 8 * 2.5 + 50, `${kind}: 8 times the text took ${(long / short).toFixed(1)} times as long`);
  }
});
