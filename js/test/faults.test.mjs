// The guide's loop with only `fetch` passed in, straight at a model server with every fault of `everytoken.testing`; and a loop over Messages.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createFetch, SSEDecoder } from "everytoken";
import OpenAI from "openai";
import { MESSAGES, PYTHON, start } from "./helpers.mjs";

// Faults that last: their time is cut short by a policy.
const SILENT = /^(silent|only-|tls-silent|half-head)/;
// Healthy but slow: 20 s of thinking, a second for each chunk; fetch.test.mjs has them in time of its own.
const SLOW = new Set(["thinking-silence", "slow-gaps"]);
const PATIENT = { backoff: 0.01 };
const HASTY = { ...PATIENT, connect: 0, firstContent: 0.8, contentGap: 0.8, thinking: 0.8, giveUp: 1.6 };
// Where the next attempt must succeed, on a machine that has other things to do.
const CALM = { ...PATIENT, connect: 0, firstContent: 3, contentGap: 3, thinking: 3, giveUp: 6 };

/** The guide's loop. */
async function chat(url, fetch, add) {
  const client = new OpenAI({ apiKey: "k", baseURL: url, fetch, maxRetries: 0 });
  const stream = await client.chat.completions.create({ model: "...", messages: MESSAGES, stream: true });
  for await (const chunk of stream) {
    // The guide's line; one fault sends two choices in turn.
    const content = chunk.choices[0]?.delta?.content || "";
    if (!chunk.choices[0]?.index) add(content);
  }
}

/** A loop over the events of Messages that takes any end for the answer's own, as the SDK's does. */
async function messages(url, fetch, add) {
  const body = JSON.stringify({ model: "m", max_tokens: 1000, messages: MESSAGES, stream: true });
  const response = await fetch(`${url}/messages`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
  if (!response.ok) throw Object.assign(new Error("refused"), { status: response.status });
  const decoder = new SSEDecoder();
  for await (const bytes of response.body) {
    for (const { data } of decoder.receive(bytes)) {
      const { delta } = JSON.parse(data);
      if (delta?.type === "text_delta") add(delta.text);
    }
  }
}

async function run({ url, name, broken, first }, loop) {
  // A server whose address is broken at first: the first request goes where it is not.
  const moving = (input, init) => {
    const asked = broken ? String(input).replace(url, broken) : input;
    broken = null;
    return globalThis.fetch(asked, init);
  };
  const fetch = createFetch({ policy: !SILENT.test(name) ? PATIENT : first ? CALM : HASTY, ...(broken && { fetch: moving }) });
  let text = "";
  const error = await loop(url, fetch, (piece) => (text += piece)).catch((caught) => caught);
  return { text, error };
}

// Some at a time: there are two hundred, and they share the machine.
async function all(loop, rows, wanted, check) {
  const left = rows.filter(wanted).filter((_, number) => process.env.EVERYTOKEN_SOAK || number % 2 === 0);
  assert.ok(left.length > 0);
  const bad = [];
  const work = async () => {
    for (let row; (row = left.shift()); ) {
      const { text, error } = await run(row, loop);
      const problem = check(row, text, error);
      if (problem) bad.push(`${row.name} at ${row.position}: ${problem}; ${JSON.stringify(text)}; ${error}`);
    }
  };
  await Promise.all(Array.from({ length: 32 }, work));
  assert.deepEqual(bad, []);
}

for (const loop of [chat, messages]) {
  describe(`${loop.name}: every fault`, () => {
    let server, rows;

    before(async () => {
      server = await start(PYTHON, [fileURLToPath(new URL("faults.py", import.meta.url)), loop.name]);
      // Waiting and 50 MB are the same everywhere, and take their time; the rest is tried everywhere in a soak.
      const dear = ({ name }) => !process.env.EVERYTOKEN_SOAK || SILENT.test(name) || name === "huge-event";
      rows = JSON.parse(server.first).filter((row) => !SLOW.has(row.name) && ((row.first && !dear(row)) || /start|middle/.test(row.position)));
    });
    after(() => server.kill());

    test("of the first attempt leaves the exact text", () =>
      all(
        loop,
        rows,
        ({ kind, first }) => kind === "broken" && first,
        (row, text, error) => error ? "failed" : text !== row.text && "another text",
      ));

    test("of every attempt is an exception behind a true beginning, or the exact text", () =>
      all(
        loop,
        rows,
        ({ kind, first }) => kind === "broken" && !first,
        (row, text, error) => (error ? !row.text.startsWith(text) : text !== row.text) && "another text",
      ));

    test("that is none leaves the exact text", () =>
      all(
        loop,
        rows,
        ({ kind, first }) => kind === "healthy" && first,
        (row, text, error) => error ? "failed" : text !== row.text && "another text",
      ));

    test("that is a refusal is the SDK's own error", () =>
      all(
        loop,
        rows,
        ({ kind, first }) => kind === "refused" && !first,
        (row, _, error) => error?.status !== +row.name.slice(-3) && "another error",
      ));
  });
}
