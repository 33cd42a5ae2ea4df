// `@anthropic-ai/sdk` at the gateway, and at a provider with `everytoken.fetch`: one exact message, or an error.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { breaks, fetch, INPUT, prompt, setUp, TEXT, world } from "./harness.mjs";

setUp();
const LIMIT = { timeout: 60_000 };
const TOOLS = [{ name: "get_weather", input_schema: { type: "object", properties: {} } }];

const client = (baseURL, more) => new Anthropic({ apiKey: "k", baseURL, maxRetries: 0, ...more });
const request = (ask) => ({ model: "m", max_tokens: 99, tools: TOOLS, messages: [{ role: "user", content: ask }] });

/** Read an answer with the SDK's helper; what it has shown, and the message or the error. */
async function read(client, ask) {
  const stream = client.messages.stream(request(ask));
  const shown = { text: "", indices: [], starts: 0 };
  stream.on("text", (text) => (shown.text += text));
  stream.on("streamEvent", ({ type, index }) => {
    if (type === "content_block_start") shown.indices.push(index);
    if (type === "message_start") shown.starts++;
  });
  const message = await stream.finalMessage().catch((error) => ({ error }));
  return { ...shown, ...message };
}

function isExact({ text, indices, starts, content, stop_reason, error }, where) {
  assert.equal(error, undefined, where);
  assert.deepEqual([text, indices, starts, stop_reason], [TEXT, [0, 1], 1, "tool_use"], where);
  assert.deepEqual(content.map(({ type, text, input }) => [type, text ?? input]), [["text", TEXT], ["tool_use", INPUT]], where);
  assert.match(content[1].id, /^toolu_\d+$/);
}

describe("the provider is cut", () => {
  for (const [name, made] of Object.entries({
    "behind the gateway": () => client(world.gateway.url),
    "behind the gateway, with everytoken.fetch": () => client(world.gateway.url, { fetch }),
    "itself, with everytoken.fetch": () => client(world.provider.url, { fetch }),
  })) {
    test(`${name}, once: the message is exact`, LIMIT, async () => {
      await Promise.all(
        breaks("once").map(async ({ spot, way, ask }) => {
          isExact(await read(made(), ask), `${spot}, ${way}`);
          assert.equal(world.provider.asked(ask), 2);
        }),
      );
    });

    test(`${name}, always: an error, behind a true beginning`, LIMIT, async () => {
      await Promise.all(
        breaks("always").map(async ({ spot, way, ask }) => {
          const { error, text, content } = await read(made(), ask);
          assert.ok(error instanceof Anthropic.AnthropicError, `${spot}, ${way}`);
          assert.equal(content, undefined);
          assert.ok(text && TEXT.startsWith(text));
        }),
      );
    });
  }

  test("itself, with the SDK alone: a clean end looks like a whole answer to its loop", LIMIT, async () => {
    const types = [];
    for await (const { type } of await client(world.provider.url).messages.create({ ...request(prompt("text", "close")), stream: true })) types.push(type);
    assert.equal(types.at(-1), "content_block_delta"); // which everytoken.fetch is for
  });
});

describe("everytoken.fetch: the connection to the gateway is cut", () => {
  for (const how of ["reset", "end"]) {
    test(`anywhere: ${how}`, LIMIT, async () => {
      const one = client(world.wire.url, { fetch });
      world.wire.bytes = 0;
      isExact(await read(one, prompt()));
      const length = world.wire.bytes;
      for (let at = 0; at < length; at += 61) {
        const ask = prompt();
        world.wire.cut(at, how);
        isExact(await read(one, ask), `behind ${at} bytes`);
        assert.equal(world.provider.asked(ask), 1);
      }
    });
  }
});

test("the loop over events is the same", LIMIT, async () => {
  for (const made of [client(world.gateway.url), client(world.provider.url, { fetch })]) {
    let text = "";
    let last;
    for await (const event of await made.messages.create({ ...request(prompt("text")), stream: true })) {
      if (event.delta?.type === "text_delta") text += event.delta.text;
      last = event.type;
    }
    assert.deepEqual([text, last], [TEXT, "message_stop"]);
  }
});

test("a loop that is left closes the connection, and an answer in one piece is the SDK's own business", LIMIT, async () => {
  const one = client(world.gateway.url, { fetch });
  const stream = one.messages.stream(request(prompt()));
  for await (const _ of stream) break;
  const { content } = await one.messages.create(request(prompt()));
  assert.deepEqual(content.at(-1).input, INPUT);
});
