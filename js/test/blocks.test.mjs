import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";

// Parts that are not exported, from wherever the package is.
const part = (path) => import(new URL(path, import.meta.resolve("everytoken")));
const { Blocks } = await part("react/blocks.js");
const { wholeCharacters, wholeWords } = await part("react/words.js");

const MARKDOWN = [
  ["paragraphs end at a blank line", "One\ntwo\n\nthree\n\nfour words", ["One\ntwo\n\n", "three\n\n"]],
  ["a fence keeps its blank lines", "a\n\n```js\nx\n\ny\n```\n\nb text", ["a\n\n", "```js\nx\n\ny\n```\n\n"]],
  ["a fence ends only with its own mark", "````\n```\n\nx\n````\n\nb text", ["````\n```\n\nx\n````\n\n"]],
  ["a list may go on behind a blank line", "- a\n\n- b\n\n  c\n\n1. d\n\nend of it", ["- a\n\n- b\n\n  c\n\n1. d\n\n"]],
  ["a number that ends a line is no list", "a\n\n1999 was", ["a\n\n"]],
];

describe("a text is cut into blocks", () => {
  for (const [name, text, finished] of MARKDOWN) {
    test(name, () => {
      for (const step of [1, 2, 7, text.length]) {
        const blocks = new Blocks(true);
        for (let end = 0; end < text.length + step; end += step) blocks.grow(text.slice(0, end));
        assert.deepEqual(blocks.finished, finished);
        assert.equal(blocks.finished.join("") + blocks.open, text);
      }
    });
  }

  test("joined they are the text, and what is finished stays, however it grows", () => {
    const piece = fc.constantFrom("a", "\n", "\n\n", "```", "- ", "1.", " ", "word word ", "x".repeat(300), "words ".repeat(1100), "~~~\n");
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), fc.boolean(), (pieces, markdown) => {
        const [blocks, whole] = [new Blocks(markdown), new Blocks(markdown)];
        let text = "";
        let before = [];
        for (const piece of pieces) {
          text += piece;
          assert.ok(blocks.continues(text));
          blocks.grow(text);
          assert.deepEqual(blocks.finished.slice(0, before.length), before);
          before = [...blocks.finished];
          assert.equal(before.join("") + blocks.open, text);
        }
        whole.grow(text);
        assert.deepEqual(whole.finished, before);
      }),
      { numRuns: 300, seed: 3 },
    );
  });
});

test("a line that does not end goes on in another block, between two words", () => {
  for (const text of ["some words ".repeat(2000), "文字".repeat(6000)]) {
    const blocks = new Blocks(false);
    blocks.grow(text);
    assert.ok(blocks.finished.length > 1);
    for (const block of blocks.finished) assert.match(block, / $|字$/);
    assert.equal(blocks.finished.join("") + blocks.open, text);
  }
});

describe("text is shown by whole words", () => {
  for (const [text, shown] of [
    ["Hello wor", "Hello "],
    ["Hello ", "Hello "],
    ["Hello", ""],
    ["Hello.", "Hello"],
    ["don't", ""],
    ["世界你好", "世界"],
    ["a 👨‍👩‍👧", "a "],
    ["a 👨‍", "a "],
    ["x".repeat(100), "x".repeat(100)],
    ["word " + "x".repeat(30), "word "],
    ["", ""],
  ]) {
    test(JSON.stringify(text.slice(0, 20)), () => assert.equal(text.slice(0, wholeWords(text)), shown));
  }

  test("and never with half a character", () => {
    assert.equal(wholeCharacters("a\ud83d"), "a");
    assert.equal(wholeCharacters("a😀"), "a😀");
  });
});
