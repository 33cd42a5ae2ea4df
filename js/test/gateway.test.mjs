// The real gateway: the guide's loop and `stream()` over a wire that is cut at every byte, and a gateway that is killed.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createFetch, stream } from "everytoken";
import OpenAI from "openai";
import { CuttingWire, chunk, event, FINISH, guide, MESSAGES, modelServer, startGateway } from "./helpers.mjs";

const TOKENS = ["Streaming ", "流式", "传输", " 👨‍👩‍👧", " é", " ends."];
const TEXT = TOKENS.join("");
const QUICK = { backoff: 0 };

let folder, journal, model, calls, gateway, wire;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "everytoken-"));
  journal = `sqlite:///${join(folder, "journal.db")}`;
  calls = [];
  model = await modelServer((request, response, body) => {
    if (request.method !== "POST") return response.end('{"object":"list","data":[]}');
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    const call = { body: JSON.parse(body), response, closed: new Promise((resolve) => response.on("close", resolve)) };
    calls.push(call);
    if (call.body.messages.at(-1).content === "Hello") response.end([...TOKENS.map((token) => event(chunk(token))), event(FINISH), "data: [DONE]\n\n"].join(""));
    else call.response.write(event(chunk("Begun. ")));
  });
  gateway = await startGateway(model.url, journal);
  wire = await new CuttingWire(gateway.url).start();
});

after(async () => {
  wire.stop();
  await gateway.kill();
  model.stop();
  rmSync(folder, { recursive: true, force: true });
});

const sdk = (url, policy = QUICK) => new OpenAI({ apiKey: "k", baseURL: `${url}/v1`, fetch: createFetch({ policy }) });

/** The next request that reaches the model. */
async function call(number) {
  while (calls.length <= number) await new Promise((resolve) => setImmediate(resolve));
  return calls[number];
}

describe("the guide's loop, with only `fetch` passed in", () => {
  for (const how of ["reset", "end"]) {
    test(`is exact wherever its connection is cut: ${how}`, async () => {
      wire.bytes = 0;
      assert.equal(await guide(sdk(wire.url)), TEXT);
      const length = wire.bytes;
      assert.ok(length > 1000);
      const client = sdk(wire.url);
      // fetch.test.mjs has every byte; here is a real connection, in a stride that meets each part of an event.
      for (let at = 0; at < length; at += 19) {
        wire.cut(at, how);
        assert.equal(await guide(client), TEXT, `cut behind ${at} bytes`);
      }
    });
  }
});

test("stream() is exact when its connection is cut, and its text is the journal's", async () => {
  for (let at = 300; at < 2000; at += 53) {
    wire.cut(at);
    const answer = stream(`${wire.url}/v1/chat/completions`, { body: { model: "m", messages: MESSAGES }, policy: QUICK });
    for await (const _ of answer);
    assert.equal(answer.text, TEXT);
    assert.equal(answer.state, "completed");
    if (at % 2 === 0) {
      const again = stream(answer.url);
      for await (const _ of again);
      assert.equal(again.text, TEXT);
    }
  }
});

describe("a reader", () => {
  const begin = (options) => stream(`${gateway.url}/v1/chat/completions`, { body: { model: "m", messages: [{ role: "user", content: "Slowly" }] }, ...options });

  test("stops the response: the model's connection is closed, and other readers are told", async () => {
    const number = calls.length;
    const answer = begin();
    const other = [];
    for await (const _ of answer) {
      if (other.length) continue;
      const reader = stream(answer.url);
      other.push(
        (async () => {
          for await (const _ of reader) answer.stop();
        })().catch((error) => [error.code, reader.state, reader.text]),
      );
    }
    assert.deepEqual([answer.state, answer.text], ["cancelled", "Begun. "]);
    assert.deepEqual(await other[0], ["cancelled", "cancelled", "Begun. "]);
    await (await call(number)).closed;
  });

  test("that breaks off leaves the response running, and finds it again", async () => {
    const number = calls.length;
    const answer = begin();
    for await (const _ of answer) break;
    const upstream = await call(number);
    upstream.response.end(event(chunk("Over.")) + event(FINISH) + "data: [DONE]\n\n");
    const again = stream(answer.url, { offset: answer.offset });
    for await (const _ of again);
    assert.equal(again.text, "Over.");
  });

  test("of a chat for people is given the events", async () => {
    const number = calls.length;
    const answer = stream(`${gateway.url}/api/chat`, { body: { prompt: "Slowly" }, policy: QUICK });
    const read = (async () => {
      for await (const _ of answer);
    })();
    (await call(number)).response.end(event(chunk("Over.")) + event(FINISH) + "data: [DONE]\n\n");
    await read;
    assert.equal(answer.text, "Begun. Over.");
  });
});

test("a gateway that is killed in the middle and started again finishes every answer", async () => {
  const number = calls.length;
  const slowly = { model: "m", messages: [{ role: "user", content: "Slowly, please" }], stream: true };
  const policy = { backoff: 0.1, backoffMax: 0.1 };
  const client = sdk(gateway.url, policy);
  const run = (async () => {
    let text = "";
    for await (const chunk of await client.chat.completions.create(slowly)) {
      text += chunk.choices[0]?.delta?.content || "";
      begun();
    }
    return text;
  })();
  let begun;
  const first = new Promise((resolve) => (begun = resolve));
  const answer = stream(`${gateway.url}/v1/chat/completions`, { body: slowly, policy });
  const states = [];
  const streamed = (async () => {
    for await (const _ of answer) states.push(answer.state);
  })();
  await Promise.all([first, call(number), call(number + 1)]);
  while (!states.length) await new Promise((resolve) => setImmediate(resolve));
  const { port } = new URL(gateway.url);
  await gateway.kill();
  gateway = await startGateway(model.url, journal, port);
  // The gateway asks the model for each answer again, and is given the same beginning.
  for (const number_ of [number + 2, number + 3]) {
    const upstream = await call(number_);
    upstream.response.end(event(chunk("Over.")) + event(FINISH) + "data: [DONE]\n\n");
  }
  assert.equal(await run, "Begun. Over.");
  await streamed;
  assert.equal(answer.text, "Begun. Over.");
});
