// `everytoken/markdown`, read by a library that knows only CommonMark, and the parts `<StreamingText>` cuts Markdown into.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { prepare } from "everytoken/markdown";
import { marked } from "../../tests/browser/marked.mjs";

const part = (path) => import(new URL(path, import.meta.resolve("everytoken")));
const { partsOf, thoughtOf } = await part("react/parts.js");
const { cases } = JSON.parse(readFileSync(new URL("../../tests/data/emphasis.json", import.meta.url), "utf8"));

// [styles, text] of each stretch.
function runs(source) {
  const found = [];
  const walk = (tokens, styles) => {
    for (const token of tokens) {
      const own = { strong: "strong", em: "em", del: "del", codespan: "code" }[token.type];
      const all = own ? [...styles, own] : styles;
      if (token.tokens && token.type !== "codespan") walk(token.tokens, all);
      else {
        const text = (token.text ?? token.raw).replace(/&#8203;|\u200B/g, "");
        const key = [...all].sort().join(" ");
        if (text === "") continue;
        if (found.at(-1)?.[0] === key) found.at(-1)[1] += text;
        else found.push([key, text]);
      }
    }
  };
  walk(marked.lexer(source)[0].tokens, []);
  return found;
}

describe("emphasis in Chinese, Japanese and Korean text", () => {
  for (const { name, source, runs: wanted } of cases) test(name, () => assert.deepEqual(runs(prepare(source)), wanted));
});

const LATEX = [
  ["Let \\(x\\) be $y$.", "Let $x$ be $y$."],
  ["\\[\nx\n\\]", "\n$$\nx\n$$\n"],
  ["It is $5 and $10.", "It is \\$5 and \\$10."],
  ["From $HOME/bin:$PATH", "From \\$HOME/bin:\\$PATH"],
  ["\\$5 and `$x$ \\(y\\)`", "\\$5 and `$x$ \\(y\\)`"],
  ["```sh\necho $x $y\n```\n$z$", "```sh\necho $x $y\n```\n$z$"],
  ["**a** $a*b*c$ \\(d*e*f\\)", "**a** $a*b*c$ $d*e*f$"],
  ["\\[link\\](url)", "\\[link\\](url)"],
  ["An open \\(x", "An open \\(x"],
  ["的 $x$。**「$y$」**は", "的 $x$。**「$y$」**&#8203;は"],
];

describe("LaTeX and money", () => {
  for (const [source, wanted] of LATEX) test(JSON.stringify(source), () => assert.equal(prepare(source), wanted));
});

const all = { code: true, math: true };
const PARTS = [
  ["code within words", "a\n```py\nx\n\ny\n```\nb\n", all, ["text:a\n", "code py:x\n\ny", "text:b\n"]],
  ["code that goes on", "```js\nlet a", all, ["code js…:let a"]],
  ["a formula of its own", "a:\n$$\nx\n$$\n\\[ y \\]\nb", all, ["text:a:\n", "math:x", "math:y", "text:b"]],
  ["one that goes on", "a\n\\[\nx", all, ["text:a\n", "math…:x"]],
  ["one in a line", "$$x$$ in words", all, ["text:$$x$$ in words"]],
  ["what is not wanted", "```js\n$$\n```\n$$x$$", { math: true }, ["text:```js\n$$\n```\n", "math:x"]],
  ["nothing", "", all, ["text:"]],
];

describe("parts of a block", () => {
  for (const [name, source, wanted, expected] of PARTS) {
    test(name, () => {
      const found = partsOf(source, wanted).map(({ kind, language, open, source }) => `${kind}${language && ` ${language}`}${open ? "…" : ""}:${source}`);
      assert.deepEqual(found, expected);
    });
  }

  test("what is thought before an answer", () => {
    for (const [text, wanted] of [
      ["<think>a\n</think>\n\nb", { thought: "a", open: false, rest: "b" }],
      ["<think>a", { thought: "a", open: true, rest: "" }],
      ["<thi", { thought: null, open: true, rest: "" }],
      ["<b>", { thought: null, open: false, rest: "<b>" }],
      ["say <think>", { thought: null, open: false, rest: "say <think>" }],
    ]) assert.deepEqual(thoughtOf(text), wanted);
  });
});
