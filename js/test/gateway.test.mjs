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

const LIMIT = { timeout: 30_000 };

let folder, journal, model, gateway, wire;
const calls = [];
let waiting = () => {};

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "everytoken-"));
  journal = `sqlite:///${join(folder, "journal.db")}`;
  model = await modelServer((request, response, body) => {
    if (request.method !== "POST") return response.end('{"object":"list","data":[]}');
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    const call = { body: JSON.parse(body), response, closed: new Promise((resolve) => response.on("close", resolve)) };
    calls.push(call);
    waiting();
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
  while (calls.length <= number) await new Promise((resolve) => (waiting = resolve));
  return calls[number];
}

describe("the guide's loop, with only `fetch` passed in", () => {
  for (const how of ["reset", "end"]) {
    test(`is exact wherever its connection is cut: ${how}`, LIMIT, async () => {
      wire.bytes = 0;
      assert.equal(await guide(sdk(wire.url)), TEXT);
      const length = wire.bytes;
      assert.ok(length > 1000);
      const client = sdk(wire.url);
      // fetch.test.mjs has every byte; here is a real connection, in a stride that meets each part of an event.
      for (let at = 0; at < length; at += 37) {
        wire.cut(at, how);
        assert.equal(await guide(client), TEXT, `cut behind ${at} bytes`);
      }
    });
  }
});

test("stream() is exact when its connection is cut, and its text is the journal's", LIMIT, async () => {
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

  test("stops the response: the model's connection is closed, and other readers are told", LIMIT, async () => {
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

  test("that breaks off leaves the response running, and finds it again", LIMIT, async () => {
    const number = calls.length;
    const answer = begin();
    for await (const _ of answer) break;
    const upstream = await call(number);
    upstream.response.end(event(chunk("Over.")) + event(FINISH) + "data: [DONE]\n\n");
    const again = stream(answer.url, { offset: answer.offset });
    for await (const _ of again);
    assert.equal(again.text, "Over.");
  });

  test("of a chat for people is given the events", LIMIT, async () => {
    const number = calls.length;
    const answer = stream(`${gateway.url}/api/chat`, { body: { prompt: "Slowly", model: "m" }, policy: QUICK });
    const read = (async () => {
      for await (const _ of answer);
    })();
    (await call(number)).response.end(event(chunk("Over.")) + event(FINISH) + "data: [DONE]\n\n");
    await read;
    assert.equal(answer.text, "Begun. Over.");
  });
});

test("a gateway that is killed in the middle and started again finishes every answer", LIMIT, async () => {
  const number = calls.length;
  const slowly = { model: "m", messages: [{ role: "user", content: "Slowly, please" }], stream: true };
  const policy = { backoff: 0.1, backoffMax: 0.1 };
  let texts = 0;
  let begun;
  const both = new Promise((resolve) => (begun = () => ++texts === 2 && resolve()));
  const looped = (async () => {
    let text = "";
    for await (const chunk of await sdk(gateway.url, policy).chat.completions.create(slowly)) {
      text += chunk.choices[0]?.delta?.content || "";
      if (text === "Begun. ") begun();
    }
    return text;
  })();
  const answer = stream(`${gateway.url}/v1/chat/completions`, { body: slowly, policy });
  const streamed = (async () => {
    for await (const _ of answer) if (answer.text === "Begun. ") begun();
    return answer.text;
  })();
  await both;
  const { port } = new URL(gateway.url);
  await gateway.kill();
  gateway = await startGateway(model.url, journal, port);
  // The gateway asks the model for each answer again, and is given the same beginning.
  for (const again of [number + 2, number + 3]) {
    (await call(again)).response.end(event(chunk("Over.")) + event(FINISH) + "data: [DONE]\n\n");
  }
  assert.deepEqual(await Promise.all([looped, streamed]), ["Begun. Over.", "Begun. Over."]);
});
