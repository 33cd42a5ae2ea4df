// Everything that a reader can see is content: after a cut at any byte each field is there once, or there is an error.
// The shapes are those of servers in the field, the same that recovery is tested with in Python.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { createFetch } from "everytoken";

const SHAPES = JSON.parse(readFileSync(new URL("../../tests/fixtures/content_shapes.json", import.meta.url), "utf8"));
/** Cuts at every byte in a soak, at one in five otherwise, shape by shape at others. */
const STEP = process.env.EVERYTOKEN_SOAK ? 1 : 5;
const END = { delta: {}, finish: "stop" };

// Waits are over at once; what limits a read never comes.
const clock = {
  now: () => 0,
  random: () => 0.5,
  setTimeout: (callback, ms) => ms < 2_000 && setImmediate(callback),
  clearTimeout: () => {},
};

/** The bytes of an answer; ids and times are those of its `number`. */
function wire(shape, number = 1) {
  const events = [...shape, END].map(({ delta, finish = null, beside = {} }) => {
    const chunk = { id: `c${number}`, object: "chat.completion.chunk", created: number, choices: [{ index: 0, delta, finish_reason: finish }] };
    const text = JSON.stringify({ ...chunk, ...beside });
    return `data: ${text.replaceAll("call_", `call_${number}_`).replaceAll("audio_", `audio_${number}_`)}\n\n`;
  });
  return new TextEncoder().encode([...events, "data: [DONE]\n\n"].join(""));
}

/** What a loop over the chunks gets of these answers, one for each attempt, or the error. */
async function read(...answers) {
  let asked = 0;
  const answer = () => answers[Math.min(asked++, answers.length - 1)];
  const fetch = createFetch({
    fetch: async () => new Response(answer(), { headers: { "Content-Type": "text/event-stream" } }),
    clock,
  });
  const body = JSON.stringify({ model: "m", messages: [], stream: true });
  try {
    const response = await fetch("http://model.test/v1/chat/completions", { method: "POST", body });
    return joined(await response.text());
  } catch (error) {
    return error;
  }
}

/** The leaves of all deltas, and how often each list beside them came. */
function joined(text) {
  const leaves = {};
  const items = {};
  const walk = (path, value) => {
    if (Array.isArray(value)) {
      for (const item of value) {
        items[path] ??= 0;
        walk(`${path}.${typeof item?.index === "number" ? `#${item.index}` : items[path]++}`, item);
      }
    } else if (typeof value === "object" && value !== null) {
      for (const [key, item] of Object.entries(value)) walk(`${path}.${key}`, item);
    } else if (/\.(id|type|index|expires_at)$/.test(path)) {
      leaves[path] ??= value;
    } else if (value !== null && value !== "") {
      leaves[path] = (leaves[path] ?? "") + value;
    }
  };
  const events = text.split("\n\n").filter(Boolean);
  assert.equal(events.at(-1), "data: [DONE]");
  for (const event of events.slice(0, -1)) {
    const { choices, id, object, created, prompt_progress, ...beside } = JSON.parse(event.slice(6)); // progress is no content
    walk("", choices[0].delta);
    for (const [name, value] of Object.entries(beside)) leaves[name] = JSON.stringify(value);
  }
  for (const [path, value] of Object.entries(leaves)) {
    leaves[path] = String(value).replaceAll(/(call|audio)_[12]_/g, "$1_");
  }
  return leaves;
}

for (const [name, shape] of Object.entries(SHAPES)) {
  describe(name, () => {
    const first = wire(shape);
    const second = wire(shape, 2);

    test("cut at any byte, each field is there once", async () => {
      const uncut = await read(first);
      assert.ok(Object.keys(uncut).length > 0);
      for (let cut = name.length % STEP; cut < first.length; cut += STEP) {
        assert.deepEqual(await read(first.slice(0, cut), second), uncut, `cut at ${cut}`);
      }
    });

    test("always cut, it is never complete", async () => {
      const end = new TextDecoder().decode(first).indexOf('"finish_reason":"stop"');
      for (let cut = name.length % STEP; cut < end; cut += STEP) assert.ok((await read(first.slice(0, cut))) instanceof Error, `cut at ${cut}`);
    });

    test("one that differs is never spliced", async () => {
      const text = new TextDecoder().decode(first);
      for (const mark of ["SIGNATURE", "MARK/1", "AAAA", "BBBB", "RESULT", "xyz", "--dry-run", "rm -r", "hard", "Hm."]) {
        if (!text.includes(mark)) continue;
        const other = new TextEncoder().encode(text.replaceAll(mark, `${mark.slice(0, -1)}Z`));
        const [uncut, others] = [await read(first), await read(other)];
        for (let cut = 0; cut < first.length; cut += 3 * STEP) {
          const got = await read(first.slice(0, cut), other);
          const same = (answer) => JSON.stringify(got) === JSON.stringify(answer);
          assert.ok(got instanceof Error || same(uncut) || same(others), `${mark}, cut at ${cut}`);
        }
      }
    });
  });
}
