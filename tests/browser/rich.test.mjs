// What an answer has beyond plain Markdown: formulas, coloured code, footnotes, emphasis in every script, lists and tables that go
// on for ever. In the browser, under the gateway's policy, from the source tree.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { launchBrowser } from "./harness.mjs";
import { servePages } from "./pages.mjs";

const EMPHASIS = JSON.parse(readFileSync(new URL("../data/emphasis.json", import.meta.url), "utf8")).cases;

let site, browser, page;
const faults = [];

before(async () => {
  site = await servePages('<link rel="stylesheet" href="/style.css"><link rel="stylesheet" href="/text.css"><main class="message assistant"><div class="text"></div></main>');
  browser = await launchBrowser();
  page = await browser.newPage({ permissions: ["clipboard-read", "clipboard-write"] });
  page.on("console", (message) => /Content Security Policy|Trusted/.test(message.text()) && faults.push(message.text()));
  page.on("request", (request) => request.url().startsWith(site.url) || faults.push(request.url()));
  await page.goto(site.url);
  await page.evaluate(async () => {
    const { MarkdownView } = await import("/markdown.js");
    const { settled } = await import("/rich/queue.js");
    window.settled = settled;
    /** An empty place for a text; returns its view. */
    window.begin = () => {
      const root = document.createElement("div");
      root.className = "text";
      document.querySelector(".text").replaceWith(root);
      window.root = root;
      return (window.view = new MarkdownView(root));
    };
    /** Write pieces, end, wait for what comes late. */
    window.written = async (pieces) => {
      const view = begin();
      for (const piece of pieces) view.write(piece);
      view.write("", { final: true });
      await settled();
      root.normalize();
    };
    /** [styles, text] of each stretch of text. */
    window.runs = () => {
      const names = { STRONG: "strong", EM: "em", DEL: "del", CODE: "code" };
      const runs = [];
      const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
      for (let node; (node = walker.nextNode()); ) {
        const styles = [];
        for (let at = node.parentElement; at !== root; at = at.parentElement) if (names[at.nodeName]) styles.push(names[at.nodeName]);
        const key = styles.sort().join(" ");
        if (runs.at(-1)?.[0] === key) runs.at(-1)[1] += node.data;
        else runs.push([key, node.data]);
      }
      return runs;
    };
    /** The text, with each formula as `⟨source⟩`, `⟪source⟫` where it is displayed, and what is open as `…source…`. */
    window.reads = () => {
      const copy = root.cloneNode(true);
      for (const math of copy.querySelectorAll(".math")) {
        const source = math.firstChild.textContent;
        math.replaceWith(math.matches(".wrong") ? `!${source}!` : math.matches(".display") ? `⟪${source}⟫` : `⟨${source}⟩`);
      }
      for (const open of copy.querySelectorAll(".pending")) open.replaceWith(`…${open.textContent}…`);
      return copy.textContent;
    };
  });
});

after(async () => {
  await browser?.close();
  site?.stop();
  assert.deepEqual(faults, []); // no refused style, script or font, nothing from another host
});

const write = (...pieces) => page.evaluate((pieces) => written(pieces), pieces);
const letters = (text) => [...text];

test("nothing is loaded for a text that has neither code nor formulas", async () => {
  await write("# One\n\n**Two** `three` $5 and $10\n\n- four\n");
  const asked = site.asked.filter((path) => /katex|highlight|modes/.test(path));
  assert.deepEqual(asked, []);
});

test("emphasis in Chinese, Japanese and Korean text, whole and letter by letter", async () => {
  for (const { name, source, runs } of EMPHASIS) {
    for (const pieces of [[source], letters(source)]) {
      await write(...pieces);
      assert.deepEqual(await page.evaluate(() => window.runs()), runs, name);
    }
  }
});

const FORMULAS = [
  ["Let $x^2$ be.", "Let ⟨x^2⟩ be."],
  ["Let \\(x\\) be, and \\[y\\] too.", "Let ⟨x⟩ be, and ⟪y⟫ too."],
  ["$$\na + b\n$$\n\nafter", "⟪a + b⟫after"],
  ["Text:\n\\[\na\n- b\n= c\n\\]\nafter", "Text:⟪a\n- b\n= c⟫after"],
  ["$$\n\na\n\n$$", "⟪a⟫"],
  ["\\[ x \\].", "⟪x⟫."],
  ["价格$x$元", "价格⟨x⟩元"],
  ["The $n$th of $k$.", "The ⟨n⟩th of ⟨k⟩."],
  ["**A $a*b*c$ and $d_1$ _e_**", "A ⟨a*b*c⟩ and ⟨d_1⟩ e"],
  ["- one $x$\n- two \\(y\\)\n", "one ⟨x⟩two ⟨y⟩"],
  ["- one\n\n  $$\n  a\n  $$\n- two", "one⟪a⟫two"],
  ["> \\(x\\)", "⟨x⟩"],
  ["# The \\(x\\) of $y$", "The ⟨x⟩ of ⟨y⟩"],
  ["| a | b |\n|---|---|\n| $|x|$ | $P(A|B)$ |\n", "ab⟨|x|⟩⟨P(A|B)⟩"],
  ["It is $5 and $10.", "It is $5 and $10."],
  ["From $5 to $10, or 20$ each", "From $5 to $10, or 20$ each"],
  ["$5-$10, $1,000/$2,000, US$5, 5$ and 6$", "$5-$10, $1,000/$2,000, US$5, 5$ and 6$"],
  ["Is it $20, **$30** or **$40**?", "Is it $20, $30 or $40?"],
  ["Set $HOME and $PATH, or $HOME/bin:$PATH.", "Set $HOME and $PATH, or $HOME/bin:$PATH."],
  ["\\$x\\$ and `$y$`", "$x$ and $y$"],
  ["```\n$x$ \\(y\\)\n```", "$x$ \\(y\\)"],
  ["I paid $5 and $x = 3$ holds", "I paid $5 and ⟨x = 3⟩ holds"],
  ["\\[link\\](url) and \\[x\\]", "[link](url) and [x]"],
  ["An open \\(x", "An open \\(x"],
  ["An open $x is the rest of it", "An open $x is the rest of it"],
  ["\\(\\frac{1\\) is wrong", "!\\frac{1! is wrong"],
  ["\\(\\notacommand\\)", "!\\notacommand!"],
];

for (const [source, wanted] of FORMULAS) {
  test(`formulas: ${JSON.stringify(source)}`, async () => {
    for (const pieces of [[source], letters(source), source.match(/[^]{1,3}/g)]) {
      await write(...pieces);
      const read = await page.evaluate(() => reads().replace(/(?:Wrap|Copy)+/g, ""));
      assert.equal(read, wanted);
    }
  });
}

test("nothing of a formula is shown half: until its end has come its source is there, and no mark in it means anything", async () => {
  await write("$x$"); // KaTeX is there
  const source = "A **bold $a_1 * b_2 * c$ word**, then \\(f(x) = [1](2)\\).\n\n\\[\n\\frac{a}{b}\n- c\n\\]\n\nend";
  const states = await page.evaluate((source) => {
    const view = begin();
    return [...source].map((letter) => (view.write(letter), reads()));
  }, source);
  const final = "A bold ⟨a_1 * b_2 * c⟩ word, then ⟨f(x) = [1](2)⟩.⟪\\frac{a}{b}\n- c⟫end";
  for (const state of states) {
    const open = state.indexOf("…");
    const [sure, pending] = open < 0 ? [state, ""] : [state.slice(0, open), state.slice(open + 1, -1)];
    assert.ok(final.startsWith(sure.trimEnd()), state);
    if (pending) assert.ok(source.includes(pending), state);
  }
  assert.equal(states.at(-1), final);
});

test("a formula is drawn: by boxes for the eye, MathML for the ear, with its own fonts and no refused style", async () => {
  await write("\\[\\pmb{x} = \\sqrt{\\frac{a}{b}} \\color{red}{y} \\boxed{z} \\begin{cases} 1 & a \\\\ 2 & b \\end{cases}\\]");
  const drawn = await page.evaluate(async () => {
    await document.fonts.ready;
    const math = root.querySelector(".math");
    return {
      mathml: math.querySelectorAll("math").length,
      height: math.getBoundingClientRect().height,
      font: document.fonts.check('16px "KaTeX_Main"'),
      source: math.querySelector(".tex").getBoundingClientRect().height,
    };
  });
  assert.equal(drawn.mathml, 1);
  assert.ok(drawn.height > 40, `${drawn.height}`);
  assert.ok(drawn.font);
  assert.equal(drawn.source, 0);
  assert.ok(site.asked.some((path) => path.endsWith(".woff2")));
});

test("a formula that is selected is copied as its source", async () => {
  await write("Let $x^2$ be.\n\n\\[y\\]\n\nEnd.");
  await page.evaluate(() => getSelection().selectAllChildren(root));
  await page.keyboard.press("Control+C");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "Let $x^2$ be.\n\n$$y$$\n\nEnd.");
  await page.evaluate(() => getSelection().removeAllRanges());
});

const CODE = 'def f(x):\n    """one\n    two"""\n    return 1  # three\n\nclass A:\n    pass\n';
const COLOURS = ["keyword def", "name f", 'string     """one'.replace("    ", ""), 'string     two"""', "keyword return", "number 1", "comment # three", "keyword class", "name A", "keyword pass"];

test("code has its colours, over lines too, however it arrives, and alone, in a list or in a quotation", async () => {
  for (const around of [(code) => code, (code) => `- a\n\n${code.replace(/^(?=.)/gm, "  ")}\n- b`, (code) => code.replace(/^/gm, "> ")]) {
    const source = around(`\`\`\`py\n${CODE}\`\`\`\n`);
    for (const pieces of [[source], letters(source), source.match(/[^]{1,7}/g)]) {
      await write(...pieces);
      const code = await page.evaluate(() => ({
        text: root.querySelector("pre code").textContent,
        colours: [...root.querySelectorAll("[class^=of-]")].map((piece) => `${piece.className.slice(3)} ${piece.textContent}`),
      }));
      assert.equal(code.text, CODE.trimEnd());
      assert.deepEqual(code.colours, COLOURS);
    }
  }
});

const LANGUAGES = {
  js: ["const a = `x\ny`; // b", ["keyword const", "name a", "string `x", "string y`", "comment // b"]],
  html: ["<p>a</p><script>\nlet b = 1;\n</script>", ["type p", "type p", "type script", "keyword let", "name b", "number 1", "type script"]],
  php: ['<?php\necho "a"; /* b\nc */', ["meta <?php", "keyword echo", 'string "a"', "comment /* b", "comment c */"]],
  "C++": ["/* a\nb */ int x;", ["comment /* a", "comment b */", "type int"]],
  rust: ["fn a() {}", ["keyword fn", "name a"]],
  yaml: ["a: 1 # b", ["name a", "comment # b"]],
  diff: ["-a\n+b", ["deleted -a", "inserted +b"]],
  nonsense: ["if 1", []],
};

for (const [language, [code, colours]] of Object.entries(LANGUAGES)) {
  test(`the colours of ${language}`, async () => {
    await write(`\`\`\`${language}\n${code}\n\`\`\``);
    const found = await page.evaluate(() => [...root.querySelectorAll("[class^=of-]")].map((piece) => `${piece.className.slice(3)} ${piece.textContent}`));
    assert.deepEqual(found, colours);
  });
}

test("a line of code that is finished is not touched again", async () => {
  await write("```py\nx\n```"); // the colours of Python are there
  const touched = await page.evaluate((code) => {
    const view = begin();
    view.write("```py\n");
    const finished = new Set();
    const observer = new MutationObserver(() => {});
    observer.observe(root, { childList: true, subtree: true, characterData: true, attributes: true });
    const touched = [];
    for (const letter of code.repeat(20)) {
      if (letter === "\n") for (const stack of root.querySelectorAll(".stack")) for (const node of stack.childNodes) finished.add(node);
      view.write(letter);
      for (const { target, removedNodes } of observer.takeRecords()) {
        for (const node of [target, target.parentNode, ...removedNodes]) if (finished.has(node)) touched.push(node.textContent);
      }
    }
    return touched;
  }, CODE);
  assert.deepEqual(touched, []);
});

test("code that came before its colours gets them, and goes on", async () => {
  const other = await browser.newPage();
  await other.goto(site.url);
  const [before, text, last] = await other.evaluate(async (code) => {
    const [{ MarkdownView }, { settled }] = await Promise.all([import("/markdown.js"), import("/rich/queue.js")]);
    const root = document.querySelector(".text");
    const view = new MarkdownView(root);
    view.write(`\`\`\`py\n${code.repeat(30)}def unfin`);
    const before = root.querySelectorAll("[class^=of-]").length;
    await settled();
    view.write("ished(): # end\n```\n", { final: true });
    return [before, root.querySelector("code").textContent, [...root.querySelectorAll("[class^=of-]")].slice(-3).map((piece) => piece.textContent)];
  }, CODE);
  assert.equal(before, 0);
  assert.equal(text, `${CODE.repeat(30)}def unfinished(): # end`);
  assert.deepEqual(last, ["def", "unfinished", "# end"]);
  await other.close();
});

test("Copy has the code and nothing else, Wrap wraps", async () => {
  const code = `${"word ".repeat(80)}\n`.repeat(45);
  await write(`\`\`\`txt\n${code}\`\`\``);
  await page.locator(".copy").click();
  await page.locator(".copy", { hasText: "Copied" }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), code.trimEnd() + " ");
  const wide = () => page.evaluate(() => root.querySelector("pre").scrollWidth > root.querySelector("pre").clientWidth);
  assert.equal(await wide(), true);
  const wrap = page.getByRole("button", { name: "Wrap the lines of this txt code" });
  await wrap.click();
  assert.equal(await wide(), false);
  assert.equal(await wrap.getAttribute("aria-pressed"), "true");
});

test("footnotes: a mark leads to its note and back, a word only once its note is there", async () => {
  const source = "One[^1], two[^word], [^a-z] stays.\n\n[^1]: The **first**.\n[^word]: The second,\n    with a line more.\n\nEnd.";
  for (const pieces of [[source], letters(source)]) {
    await write(...pieces);
    const found = await page.evaluate(() => ({
      text: root.querySelector("p").textContent,
      marks: [...root.querySelectorAll("sup")].map((mark) => mark.textContent),
      notes: [...root.querySelectorAll(".footnote")].map((note) => note.textContent.trim()),
      end: [...root.querySelectorAll("p")].at(-1).textContent,
    }));
    assert.deepEqual(found, {
      text: "One1, two2, [^a-z] stays.",
      marks: ["1", "2"],
      notes: ["1The first.", "2The second,\nwith a line more."],
      end: "End.",
    });
  }
  await page.locator(".note-mark").first().click();
  assert.equal(await page.evaluate(() => document.activeElement.dataset.note), "1");
  await page.locator(".footnote .number").first().click();
  assert.equal(await page.evaluate(() => document.activeElement.dataset.of), "1");
  assert.equal(new URL(page.url()).hash, ""); // the hash is the conversation's
});

test("a long list goes on in another one: same numbers, same look", async () => {
  const source = Array.from({ length: 100 }, (_, index) => `${index + 3}. item ${index + 3}\n`).join("");
  const results = [];
  for (const pieces of [[source], source.match(/[^]{1,5}/g)]) {
    await write(...pieces);
    results.push(
      await page.evaluate(() => ({
        starts: [...root.querySelectorAll("ol")].map((list) => list.start),
        items: root.querySelectorAll("li").length,
        steps: [...new Set([...root.querySelectorAll("li")].map((item, index, all) => Math.round(item.offsetTop - (all[index - 1]?.offsetTop ?? 0))))],
        tops: [...new Set([...root.querySelectorAll("li")].map((item, index, all) => index && Math.round(item.getBoundingClientRect().top - all[index - 1].getBoundingClientRect().top)))].slice(1),
      })),
    );
  }
  for (const { starts, items, tops } of results) {
    assert.deepEqual([starts, items], [[3, 43, 83], 100]);
    assert.equal(tops.length, 1, `${tops}`);
  }
});

test("a long table keeps its columns", async () => {
  const row = (index) => `| ${index} | a word or two, **bold** | ${"x".repeat(index % 7)} |\n`;
  const source = `| # | text | x |\n|--:|---|:-:|\n${Array.from({ length: 120 }, (_, index) => row(index)).join("")}\nafter`;
  for (const pieces of [[source], source.match(/[^]{1,9}/g)]) {
    await write(...pieces);
    const found = await page.evaluate(() => {
      const rows = [...root.querySelectorAll("tr")];
      const edges = new Set(rows.map(({ cells }) => [...cells].map((cell) => Math.round(cell.getBoundingClientRect().left)).join()));
      return { tables: root.querySelectorAll("table").length, groups: root.querySelectorAll("tbody").length, rows: rows.length, edges: edges.size };
    });
    assert.deepEqual(found, { tables: 1, groups: 3, rows: 121, edges: 1 });
  }
});
