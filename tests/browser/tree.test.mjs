// What the chat page does with a conversation and with an error's words, without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { excessOf, sayExcess } from "../../src/everytoken/gateway/pages/excess.js";
import { asJSON, asMarkdown, fileName, fromJSON } from "../../src/everytoken/gateway/pages/export.js";
import * as tree from "../../src/everytoken/gateway/pages/tree.js";

const ask = (record, id, parent, content = id) => tree.add(record, tree.question(id, parent, content));
const answer = (record, id, parent, content = id) =>
  tree.add(record, Object.assign(tree.answer(id, parent, `key-${id}`, { model: "m" }), { content, outcome: "completed" }));
const shown = (record) => tree.path(record).map(({ id }) => id);

function two() {
  const record = tree.blank("c");
  ask(record, "q1", null);
  answer(record, "a1", "q1");
  ask(record, "q2", "a1");
  answer(record, "a2", "q2");
  return record;
}

test("another answer and an edited question stand beside the old ones, and each leads to what was below it", () => {
  const record = two();
  answer(record, "a1b", "q1");
  assert.deepEqual(shown(record), ["q1", "a1b"]);
  ask(record, "q3", "a1b");
  ask(record, "q1b", null);
  assert.deepEqual(shown(record), ["q1b"]);
  const versions = tree.versions(record);
  assert.deepEqual(versions(record.nodes.a1b).map(({ id }) => id), ["a1", "a1b"]);
  tree.show(record, record.nodes.q1);
  assert.deepEqual(shown(record), ["q1", "a1b", "q3"]);
  tree.show(record, record.nodes.a1);
  assert.deepEqual(shown(record), ["q1", "a1", "q2", "a2"]);
  assert.deepEqual(tree.request(record, record.nodes.a1b), { model: "m", messages: [{ role: "user", content: "q1" }] });
});

test("versions made in the same moment keep their order", () => {
  const record = two();
  for (const id of ["x", "y", "z"]) answer(record, id, "q1");
  assert.deepEqual(tree.versions(record)(record.nodes.y).map(({ id }) => id), ["a1", "x", "y", "z"]);
});

test("going back ends the conversation there, and can be undone", () => {
  const record = two();
  tree.goBack(record, record.nodes.q2);
  assert.deepEqual(shown(record), ["q1", "a1"]);
  assert.equal(tree.takenBack(record).id, "q2");
  ask(record, "q2b", "a1");
  assert.deepEqual(shown(record), ["q1", "a1", "q2b"]);
  assert.equal(tree.takenBack(record), null);
  tree.goBack(record, record.nodes.q1);
  assert.deepEqual(shown(record), []);
  tree.show(record, tree.takenBack(record));
  assert.deepEqual(shown(record), ["q1", "a1", "q2b"]);
});

test("a conversation that goes round in a circle ends", () => {
  const record = two();
  record.nodes.q1.parent = "a2";
  assert.deepEqual(shown(record), []);
  record.chosen.root = "q1";
  assert.equal(tree.request(record, record.nodes.a1).messages.length, 4);
});

test("a request has the system prompt, the parameters and the beginning of the answer", () => {
  const record = two();
  Object.assign(record.nodes.a2, { asked: { model: "m", temperature: 0, system: "Be brief." }, base: "It " });
  assert.deepEqual(tree.request(record, record.nodes.a2), {
    model: "m",
    temperature: 0,
    messages: [["system", "Be brief."], ["user", "q1"], ["assistant", "a1"], ["user", "q2"], ["assistant", "It "]].map(([role, content]) => ({ role, content })),
  });
});

for (const [question, title] of [
  ["Hello", "Hello"],
  ["\n  \n## Why?\nBecause", "Why?"],
  ["", "New chat"],
  ["word ".repeat(30), "word word word word word word word word word word word…"],
  ["👨‍👩‍👧‍👦".repeat(80), `${"👨‍👩‍👧‍👦".repeat(21)}`],
  [[{ type: "image_url", image_url: { url: "data:," } }, { type: "text", text: "What is this?" }], "What is this?"],
]) {
  test(`a title of ${JSON.stringify(question).slice(0, 40)}`, () => {
    if (title.startsWith("👨")) assert.match(tree.titleOf(question), /^(👨‍👩‍👧‍👦)+…?$/u);
    else assert.equal(tree.titleOf(question), title);
  });
}

test("messages of an earlier version become a conversation", () => {
  const messages = [
    { role: "user", content: "Hello" },
    { role: "assistant", content: "Hi", base: "", key: "k", model: "m", asked: 5, stream: "s", outcome: "completed", message: "", finish: "stop" },
    { role: "user", content: "More" },
    { role: "assistant", content: "", base: "", key: "l", model: "m", asked: 6, stream: "t", outcome: null },
  ];
  const record = tree.ofOldMessages("old", { at: 1000, messages });
  assert.equal(record.title, "Hello");
  assert.equal(record.updated, 1000);
  assert.deepEqual(tree.path(record).map(({ role, content, stream, outcome }) => [role, content, stream, outcome]), [
    ["user", "Hello", undefined, undefined],
    ["assistant", "Hi", "s", "completed"],
    ["user", "More", undefined, undefined],
    ["assistant", "", "t", null],
  ]);
  for (const none of [null, {}, { messages: [] }, { messages: 1 }]) assert.equal(tree.ofOldMessages("x", none), null);
});

test("a conversation as Markdown is what is shown, and as JSON is all of it", () => {
  const record = two();
  answer(record, "a2b", "q2", "Better");
  assert.equal(asMarkdown(record), "# q1\n\n## Question\n\nq1\n\n## Answer (m)\n\na1\n\n## Question\n\nq2\n\n## Answer (m)\n\nBetter\n");
  assert.deepEqual(fromJSON(asJSON(record)), record);
  const { asked, times, ...bare } = record.nodes.a1;
  const less = { ...record, settings: undefined, nodes: { ...record.nodes, a1: bare } };
  assert.equal(fromJSON(asJSON(less)).nodes.a1.times.ended, null); // what is missing is made up for
  const not = [{ nodes: { x: record.nodes.q1 } }, { nodes: { q1: { ...record.nodes.q1, content: 1 } } }, { nodes: [] }, { id: "" }, { chosen: null }];
  // What somebody has changed by hand into another kind is as if it were missing: the page would fail at it.
  const odd = structuredClone(record);
  Object.assign(odd, { settings: "none", updated: "today", draft: null });
  Object.assign(odd.nodes.a1, { times: null, recovery: {}, reasoning: 3, usage: [], stream: {}, outcome: 7, time: null });
  const mended = fromJSON(asJSON(odd));
  assert.deepEqual([mended.settings, typeof mended.updated, mended.draft], [{}, "number", ""]);
  const { recovery, reasoning, usage, stream, outcome, time } = mended.nodes.a1;
  assert.deepEqual([mended.nodes.a1.times.ended, recovery, reasoning, usage, stream, outcome, typeof time], [null, [], "", null, null, null, "number"]);
  for (const wrong of not) assert.equal(fromJSON(asJSON({ ...record, ...wrong })), null);
  for (const other of ["{}", "null", "[]", '{"format": "everytoken conversation", "conversation": {"id": "a", "title": "b", "nodes": {"x": {"role": "system"}}, "chosen": {}}}']) {
    assert.equal(fromJSON(other), null);
  }
  assert.equal(fileName("Why? / 你好: x", "md"), "Why-你好-x.md");
  assert.equal(fileName("???", "json"), "chat.json");
});

// As servers write it: {error} or its words -> by how much, or null where they do not say.
const TOO_LONG = [
  ["This model's maximum context length is 4097 tokens. However, your messages resulted in 5012 tokens. Please reduce the length of the messages.", 915],
  ["This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4900 in the messages, 100 in the completion).", 904],
  ["prompt is too long: 210000 tokens > 200000 maximum", 10_000],
  ["input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens` and try again", 10_000],
  ["The input token count (1048577) exceeds the maximum number of tokens allowed (1048575).", 2],
  ["Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length", 7232],
  ["`inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000 `inputs` tokens and 100 `max_new_tokens`", 903],
  ["This model's maximum prompt length is 131072 but the request contains 537812 tokens.", 406_740],
  ["too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4200.", 119],
  ["Your request exceeded model token limit: 262144 (requested: 300000)", 37_856],
  ["request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it", 808],
  ["The decoder prompt (length 5000) is longer than the maximum model length of 4096.", 904],
  ["gpt-4o-2024-08-06 maximum context length is 128,000 tokens. However, your messages resulted in 130,001 tokens.", 2001],
  [{ message: "no", type: "exceed_context_size_error", n_prompt_tokens: 9000, n_ctx: 8192 }, 808],
  [{ message: "Your input exceeds the context window of this model.", code: "context_length_exceeded" }, null],
  [{ message: "no", code: "context_length_exceeded" }, null],
  ["the request exceeds the available context size. try increasing the context size or enable context shift", null],
  ["Input is too long for requested model.", null],
  ["context window exceeds limit (2013)", null],
];

for (const [error, over] of TOO_LONG) {
  const words = error.message ?? error;
  test(`too long: ${words.slice(0, 60)}`, () => {
    const excess = excessOf(typeof error === "string" ? { message: error } : error);
    assert.equal(excess.over, over);
    if (over === null) assert.equal(sayExcess(excess), null);
    else assert.ok(sayExcess(excess).includes(` by ${over.toLocaleString("en")} tokens`));
  });
}

for (const message of [
  "Request too large for gpt-4 on tokens per min (TPM): Limit 10000, Requested 12000.",
  "max_tokens is too large: 50000. This model supports at most 4096 completion tokens, whereas you provided 50000.",
  "You exceeded your current quota, please check your plan.",
  "The model took too long to answer.",
  "The server cannot be reached. Is it running?",
]) {
  test(`not too long: ${message.slice(0, 50)}`, () => assert.equal(excessOf({ message }), null));
}

test("no error says nothing", () => assert.equal(excessOf(null, "The server answered 500."), null));
