import assert from "node:assert/strict";
import { test } from "node:test";
import { held } from "../../src/everytoken/gateway/pages/words.js";
import { mend } from "../../src/everytoken/gateway/pages/mend.js";
import { Thoughts, withoutThoughts } from "../../src/everytoken/gateway/pages/rich/thinking.js";
import { SSEDecoder } from "../../src/everytoken/gateway/pages/sse.js";

const SSE = [
  ["LF", "data: a\n\ndata: b\n\n", [["a", ""], ["b", ""]]],
  ["CR", "data: a\r\rdata: b\r\r", [["a", ""], ["b", ""]]],
  ["CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", [["a", ""], ["b", ""]]],
  ["an id as the last line", "data: a\nid: 7\n\ndata: b\n\n", [["a", "7"], ["b", "7"]]],
  ["an id with NUL is ignored", "id: 7\ndata: a\nid: \0\n\n", [["a", "7"]]],
  ["a bare comment line between events", "data: a\n\n: keep-alive\ndata: b\n\n", [["a", ""], ["b", ""]]],
  ["a comment block is no event", "id: 1\ndata: a\n\n: x\n\n\n", [["a", "1"]]],
  ["several data lines", "data: a\ndata\ndata:b\n\n", [["a\n\nb", ""]]],
  ["one space is removed, not two", "data:  a\n\n", [[" a", ""]]],
  ["U+2028 is no line end", "data: a\u2028b\n\n", [["a\u2028b", ""]]],
  ["an unfinished event is dropped", "data: a\n\ndata: b\n", [["a", ""]]],
];

for (const [name, text, wanted] of SSE) {
  test(`SSE, ${name}: whole, and for every split, with empty reads`, () => {
    for (let first = 0; first <= text.length; first++) {
      for (let second = first; second <= text.length; second++) {
        const decoder = new SSEDecoder();
        const events = ["", text.slice(0, first), "", text.slice(first, second), text.slice(second)].flatMap((piece) => decoder.feed(piece));
        assert.deepEqual(events.map(({ data, id }) => [data, id]), wanted);
      }
    }
  });
}

test("SSE: a CR at the end of a read dispatches at once", () => {
  const decoder = new SSEDecoder();
  assert.equal(decoder.feed("data: a\r\r").length, 1);
  assert.equal(decoder.feed("\ndata: b\r\n\r").length, 1);
});

const MENDED = [
  ["a **bol", "a **bol**"],
  ["a **bold*", "a **bold**"],
  ["a **", "a "],
  ["a `co", "a `co`"],
  ["**a** and **b `c", "**a** and **b `c`**"],
  ["***both", "***both***"],
  ["2 * 3 * 4", "2 * 3 * 4"],
  ["snake_case_x", "snake_case_x"],
  ["see [te", "see te"],
  ["see [te](http://a_b/(c", "see te"],
  ["list[0", "list[0"],
  ["![alt](htt", "alt"],
  ["words\n-", "words"],
  ["words\n==", "words"],
  ["1. a\n\n2.", "1. a\n"],
  ["| a | b |\n|--", ""],
  ["| a |\n|---|\n| **x", "| a |\n|---|\n| **x**"],
  ["```py", ""],
  ["```py\na **b\n``", "```py\na **b"],
];

for (const [source, wanted] of MENDED) {
  test(`cut Markdown, made presentable: ${JSON.stringify(source)}`, () => assert.equal(mend(source), wanted));
}

test("cut Markdown at the end of an answer loses no line", () => {
  assert.equal(mend("words\n42", { hold: false }), "words\n42");
  assert.equal(mend("a **b\n- c `d", { hold: false }), "a **b\n- c `d`");
});

const HELD = [
  ["a word that may still grow waits", "one tw", 2],
  ["a word followed by a space does not", "one two ", 0],
  ["nor does one followed by a full stop", "one two.", 0],
  ["nor Chinese, which has no spaces", "你好世界", 0],
  ["nor the first word", "one", 0],
  ["nor a number", "1 2", 0],
  ["nor what is too long to be a word", `x ${"y".repeat(60)}`, 0],
];

for (const [name, text, wanted] of HELD) test(`display by word: ${name}`, () => assert.equal(held(text), wanted));

const THOUGHTS = [
  ["<think>\nabc\n</think>\n\nHello", "[\nabc\n]\n\nHello"],
  ["<thinking>x</thinking>y", "[x]y"],
  [" \n<think>a</think>b\n<think>c</think>d", "[a]b\n[c]d"],
  ["<think>open, and cut</thi", "[open, and cut</thi]"],
  ["abc\n\ndef\n</think>\n\nAnswer", "[abc\n\ndef\n]\n\nAnswer"],
  ["Say <think> to think", "Say <think> to think"],
  ["```\n<think>\n</think>\n```\nx", "```\n<think>\n</think>\n```\nx"],
  ["the tag `</think>` ends it", "the tag `</think>` ends it"],
  ["<thin", "<thin"],
  ["a < b\n<b>x</b>", "a < b\n<b>x</b>"],
];

for (const [text, wanted] of THOUGHTS) {
  test(`thoughts in a text: ${JSON.stringify(text)}`, () => {
    for (const size of [1, 2, 3, 7, 100]) {
      const thoughts = new Thoughts();
      let read = "";
      let last = "text";
      const pieces = text.match(new RegExp(`[^]{1,${size}}`, "g")).flatMap((piece) => thoughts.feed(piece));
      for (const [kind, part] of [...pieces, ...thoughts.feed("", true), ["text", ""]]) {
        if (kind === "meant") read = `[${read}]`;
        else read += (kind === last ? "" : kind === "thought" ? "[" : last === "thought" ? "]" : "") + part;
        last = kind === "meant" ? "text" : kind;
      }
      assert.equal(read, wanted);
    }
    assert.equal(withoutThoughts(text), wanted.includes("[") ? wanted.replace(/\[[^]*?\]/g, "").trimStart() : text);
  });
}
