// The parts of the chat page's controls that need no browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesOf, contentOf, fit, imagesOf, refusesImages, textOf } from "../../src/everytoken/gateway/pages/attachments.js";
import { dollars, figuresOf, markOf, recoveryOf, settled, Timing } from "../../src/everytoken/gateway/pages/figures.js";
import { chosenOf, groupsOf, modelsIn, shortName } from "../../src/everytoken/gateway/pages/picker.js";
import { countSet, parameters, parse, refusedField, withSystem } from "../../src/everytoken/gateway/pages/settings.js";
import { keysOf, pressed, SHORTCUTS } from "../../src/everytoken/gateway/pages/shortcuts.js";
import { nextTheme, themeOf } from "../../src/everytoken/gateway/pages/theme.js";

// Settings

for (const [name, typed, value] of [
  ["temperature", " 0,7 ", 0.7],
  ["temperature", "0", 0],
  ["temperature", ".5", 0.5],
  ["temperature", "", null],
  ["top_p", "1", 1],
  ["max_tokens", "4096", 4096],
  ["reasoning_effort", "low", "low"],
  ["system", "  Be brief.\n", "  Be brief.\n"],
]) {
  test(`setting ${name}: ${JSON.stringify(typed)} is ${value}`, () => assert.deepEqual(parse(name, typed), { value, problem: "" }));
}

for (const [name, typed] of [
  ["temperature", "2.1"], ["temperature", "-1"], ["temperature", "warm"], ["temperature", "1e0"], ["temperature", "0x1"], ["top_p", "1.01"],
  ["max_tokens", "0"], ["max_tokens", "1.5"], ["max_tokens", "1.000.000"], ["reasoning_effort", "toString"], ["temperature", "NaN"],
]) {
  test(`setting ${name}: ${typed} is refused in words`, () => {
    const { value, problem } = parse(name, typed);
    assert.equal(value, null);
    assert.match(problem, /^(This must be|Choose).*\.$/);
  });
}

test("only what is set is sent, and nothing that is wrong", () => {
  assert.deepEqual(parameters({ temperature: 0, top_p: null, max_tokens: "", reasoning_effort: "high", system: "x", model: "m", other: 1 }), { temperature: 0, reasoning_effort: "high" });
  assert.deepEqual(parameters({ temperature: 9, max_tokens: {} }), {});
  assert.deepEqual(parameters(undefined), {});
  const messages = [{ role: "user", content: "Hi" }];
  assert.deepEqual(withSystem({ system: "Be brief." }, messages), [{ role: "system", content: "Be brief." }, ...messages]);
  assert.deepEqual(withSystem({ system: " \n" }, messages), messages);
  assert.equal(countSet({ system: "x", temperature: 1 }), 2);
});

test("a refusal belongs to the field it names, if that was sent", () => {
  const sent = { temperature: 1.5, max_tokens: 5, reasoning_effort: "low", top_p: 0.1 };
  for (const [error, field] of [
    [{ param: "temperature", message: "no" }, "temperature"],
    [{ param: "max_completion_tokens", message: "no" }, "max_tokens"],
    [{ param: "reasoning.effort", message: "no" }, "reasoning_effort"],
    [{ param: null, message: "top_p must be 1 with this model" }, "top_p"],
    [{ message: "'max_tokens' is too large" }, "max_tokens"],
    [{ message: "The prompt is too long." }, null],
    [{ param: "messages", message: "bad" }, null],
    [null, null],
  ]) {
    assert.equal(refusedField(error, sent), field, JSON.stringify(error));
  }
  assert.equal(refusedField({ param: "temperature" }, {}), null);
});

// The model picker

const MODELS = modelsIn({ data: [
  ...["gpt-5", "gpt-5-mini", "o4"].map((id) => ({ id, owned_by: "openai" })),
  ...["claude-opus", "claude-haiku"].map((id) => ({ id, owned_by: "anthropic" })),
  ...["org/llama-8b", "org/llama-70b", "org/qwen"].map((id) => ({ id, owned_by: "local" })),
  { id: "gpt-5" }, { id: 7 }, null, { id: "" },
] });

test("models are in groups of their owners when there are many, and found by words", () => {
  assert.equal(MODELS.length, 8);
  assert.deepEqual(groupsOf(MODELS).map(({ owner, models }) => [owner, models.length]), [["openai", 3], ["anthropic", 2], ["local", 3]]);
  assert.deepEqual(groupsOf(MODELS, "LLAMA 70").map(({ models }) => models.map(({ id }) => id)), [["org/llama-70b"]]);
  assert.deepEqual(groupsOf(MODELS, "anthropic").flatMap(({ models }) => models).length, 2);
  assert.deepEqual(groupsOf(MODELS, "nothing"), []);
  assert.deepEqual(groupsOf(MODELS.slice(0, 3)).map(({ owner }) => owner), [""]);
});

test("what is no list of models is none", () => {
  for (const body of [null, "x", {}, { data: null }, { data: [null] }, []]) assert.deepEqual(modelsIn(body), []);
});

test("the model is the conversation's, the last one if it is there, or the first", () => {
  assert.equal(chosenOf(MODELS, null, null), "gpt-5");
  assert.equal(chosenOf(MODELS, null, "o4"), "o4");
  assert.equal(chosenOf(MODELS, null, "gone"), "gpt-5");
  assert.equal(chosenOf(MODELS, "gone", "o4"), "gone");
  assert.equal(chosenOf([], null, "o4"), null);
  assert.equal(shortName("accounts/fireworks/models/llama-v3p1-405b-instruct"), "llama-v3p1-405b-instruct");
  assert.equal(shortName("org/qwen"), "org/qwen");
});

// Images

test("an image is made to fit, and never larger", () => {
  assert.deepEqual(fit(4000, 3000, 1000), { width: 1000, height: 750 });
  assert.deepEqual(fit(3000, 4000, 1000), { width: 750, height: 1000 });
  assert.deepEqual(fit(10, 20, 1000), { width: 10, height: 20 });
  assert.deepEqual(fit(100_000, 1, 1000), { width: 1000, height: 1 });
});

test("a message with images has parts, and one without is text", () => {
  const url = "data:image/png;base64,AAAA";
  assert.equal(contentOf("Hi", []), "Hi");
  const content = contentOf("Hi", [url]);
  assert.deepEqual(content, [{ type: "text", text: "Hi" }, { type: "image_url", image_url: { url } }]);
  assert.deepEqual(contentOf(" ", [url]), [{ type: "image_url", image_url: { url } }]);
  assert.equal(textOf(content), "Hi");
  assert.equal(textOf("Hi"), "Hi");
  assert.deepEqual(imagesOf(content), [url]);
  assert.deepEqual(imagesOf([{ type: "image_url", image_url: { url: "http://192.0.2.1/x.png" } }, null]), []);
  assert.equal(bytesOf(url), 3);
});

test("a refusal of images is known by its words", () => {
  for (const message of ["This model does not support image input", "Invalid content type. image_url is only supported by certain models", "no vision here", "content must be a string", "it is not a multimodal model"]) {
    assert.ok(refusesImages({ message }), message);
  }
  assert.ok(!refusesImages({ message: "The prompt is too long." }));
});

// Figures

test("figures are those that are known", () => {
  const usage = { prompt_tokens: 12, completion_tokens: 1200 };
  const words = (node) => figuresOf(node).map((one) => one.words);
  assert.deepEqual(words({ usage, times: { asked: 1000, first: 1400, ended: 11_400 }, cost: 0.00312 }), ["1,200 tokens", "120 tokens/s", "first after 0.4 s", "$0.0031"]);
  assert.deepEqual(words({ usage: { completion_tokens: 1, estimated: true }, times: { asked: 1000, first: null, ended: 2000 }, cost: null }), ["about 1 token"]);
  assert.deepEqual(words({ usage, times: { asked: 1, first: 20, ended: 30 } }), ["1,200 tokens", "first after 0.0 s"]);
  assert.deepEqual(words({}), []);
  assert.deepEqual([0, 1.2, 0.5, 0.02, 0.000166, 0.0000012, 1e-9, null].map(dollars), ["$0", "$1.20", "$0.50", "$0.020", "$0.00017", "$0.0000012", "under $0.000001", ""]);
});

test("what recovery did is a mark with details", () => {
  let now = 1000;
  const timing = new Timing({ asked: 1000 }, () => now);
  const at = (ms, act) => ((now = 1000 + ms), act());
  at(100, () => timing.text());
  at(200, () => timing.text());
  at(300, () => timing.connection("lost"));
  at(400, () => timing.connection("away"));
  at(700, () => timing.connection("open"));
  at(700, () => timing.text());
  at(1500, () => timing.text());
  at(1600, () => timing.end());
  assert.deepEqual(timing.times, { asked: 1000, first: 1100, ended: 2600 });
  assert.equal(timing.pauseAt(1000), null);
  const attempts = [
    { number: 1, upstream: "a", model: "m", strategy: "first", offset: 0, started: 0, ended: 0.8, cause: { code: "upstream-truncated", message: "the stream ended early" } },
    { number: 2, upstream: "b", model: "m", strategy: "replay", offset: 9, started: 0.8, ended: 1.6, cause: null },
  ];
  const mark = markOf(recoveryOf(timing, { attempts }));
  assert.equal(mark.words, "Resumed twice, 1.2 s");
  assert.deepEqual(mark.details, [
    "The provider’s answer was cut after 0.8 s (a, m): the stream ended early. Another attempt continued after 0.8 s.",
    "Your connection was away for 0.4 s; the text went on where it was.",
    "Attempt 2 (b, m) went to the end.",
  ]);
});

test("times that were not seen here are the gateway's, or none", () => {
  const told = { attempts: [{ ended: 0.5 }, { ended: 3 }] };
  assert.deepEqual(settled({ asked: 1000, first: 1200, ended: 4100 }, told), { asked: 1000, first: 1200, ended: 4100 });
  assert.deepEqual(settled({ asked: 1000, first: 1200, ended: 90_000 }, told), { asked: 1000, first: 1200, ended: 4000 });
  assert.deepEqual(settled({ asked: 1000, first: 89_000, ended: 90_000 }, told), { asked: 1000, first: null, ended: 4000 });
  assert.deepEqual(settled({ asked: 1000, first: null, ended: 90_000 }, null), { asked: 1000, first: null, ended: 90_000 });
});

test("an answer that nothing happened to has no mark", () => {
  const timing = new Timing({ asked: 0 }, () => 0);
  assert.deepEqual(recoveryOf(timing, null), []);
  assert.deepEqual(recoveryOf(timing, { attempts: [{ number: 1, cause: null, offset: 0 }] }), []);
  assert.equal(markOf([]), null);
  assert.equal(markOf(undefined), null);
});

test("a connection that was lost before there was text is not a resumption", () => {
  let now = 0;
  const timing = new Timing({ asked: 0 }, () => now);
  timing.connection("lost");
  now = 400;
  timing.connection("open");
  assert.deepEqual(markOf(recoveryOf(timing, null)), {
    words: "Asked again once",
    details: ["Your connection was away for 0.4 s; the question was sent again, as the same one."],
  });
});

test("an attempt that failed before there was text is not a resumption", () => {
  const attempts = [{ number: 1, ended: 0.2, cause: { code: "upstream-status", message: "503" }, offset: 0 }, { number: 2, cause: null, offset: 0 }];
  assert.equal(markOf(recoveryOf(new Timing({ asked: 0 }, () => 0), { attempts })).words, "Asked again once");
});

// Keys and themes

test("shortcuts are keys of a keyboard, and single characters only where they are not written", () => {
  const key = (key, code, more = {}) => ({ key, code, ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, isComposing: false, repeat: false, ...more });
  assert.equal(pressed(key("?", "Slash", { shiftKey: true })), "sheet");
  assert.equal(pressed(key("?", "Minus", { shiftKey: true }), { writing: true }), null);
  assert.equal(pressed(key("?", "Slash", { shiftKey: true }), { writing: true, empty: true }), "sheet");
  assert.equal(pressed(key("/", "Slash"), { writing: true, empty: true }), null);
  assert.equal(pressed(key("/", "Slash")), "prompt");
  assert.equal(pressed(key("/", "Slash", { ctrlKey: true }), { writing: true }), "sheet");
  assert.equal(pressed(key("O", "KeyO", { ctrlKey: true, shiftKey: true }), { writing: true }), "fresh");
  assert.equal(pressed(key("O", "KeyO", { metaKey: true, shiftKey: true }), { mac: true }), "fresh");
  assert.equal(pressed(key("O", "KeyO", { metaKey: true, shiftKey: true })), null);
  assert.equal(pressed(key("o", "KeyO", { ctrlKey: true })), null);
  assert.equal(pressed(key("m", "KeyM", { altKey: true })), "model");
  assert.equal(pressed(key("k", "KeyK", { ctrlKey: true, isComposing: true })), null);
  assert.deepEqual(keysOf("fresh", true), ["⌘", "⇧", "O"]);
  assert.deepEqual(keysOf("fresh", false), ["Ctrl", "Shift", "O"]);
  assert.equal(new Set(Object.values(SHORTCUTS).map(({ keys }) => keys.join())).size, Object.keys(SHORTCUTS).length);
});

test("themes", () => {
  assert.deepEqual(["light", "dark", "system", null, "neon"].map(themeOf), ["light", "dark", "system", "system", "system"]);
  assert.deepEqual(["system", "light", "dark"].map(nextTheme), ["light", "dark", "system"]);
});
