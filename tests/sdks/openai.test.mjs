// `client.responses` of `openai` at the gateway, and at a provider with `everytoken.fetch`: one exact response, or an error.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import OpenAI, { OpenAIError } from "openai";
import { breaks, fetch, INPUT, prompt, setUp, TEXT, world } from "./harness.mjs";

setUp();
const LIMIT = { timeout: 60_000 };
const TOOLS = [{ type: "function", name: "get_weather", strict: false, parameters: { type: "object", properties: {} } }];

const client = (url, more) => new OpenAI({ apiKey: "k", baseURL: `${url}/v1`, maxRetries: 0, ...more });
const request = (ask) => ({ model: "m", input: ask, tools: TOOLS });

/** Read events; what they have shown, with the response at their end or the error. */
async function read(events) {
  const shown = { text: "", args: "", numbers: [] };
  try {
    for await (const event of await events) {
      shown.numbers.push(event.sequence_number);
      if (event.type === "response.output_text.delta") shown.text += event.delta;
      if (event.type === "response.function_call_arguments.delta") shown.args += event.delta;
      shown.id ??= event.response?.id;
      if (event.type === "response.completed") shown.response = event.response;
    }
  } catch (error) {
    shown.error = error;
  }
  return shown;
}

function isExact({ text, args, numbers, id, response, error }, where) {
  assert.equal(error, undefined, where);
  assert.deepEqual([text, JSON.parse(args)], [TEXT, INPUT], where);
  assert.deepEqual(numbers, [...numbers.keys()], where);
  assert.equal(response.id, id, where);
  assert.deepEqual(response.output.map(({ type }) => type), ["message", "function_call"], where);
  assert.equal(response.output[0].content[0].text, TEXT, where);
  assert.deepEqual(JSON.parse(response.output[1].arguments), INPUT, where);
}

const ways = {
  create: (one, ask) => one.responses.create({ ...request(ask), stream: true }),
  stream: (one, ask) => one.responses.stream(request(ask)),
};

describe("the provider is cut", () => {
  for (const [name, made] of Object.entries({
    "behind the gateway": () => client(world.gateway.url),
    "behind the gateway, with everytoken.fetch": () => client(world.gateway.url, { fetch }),
    "itself, with everytoken.fetch": () => client(world.provider.url, { fetch }),
  })) {
    for (const [method, open] of Object.entries(ways)) {
      test(`${name}, once: ${method}() is exact`, LIMIT, async () => {
        await Promise.all(
          breaks("once").map(async ({ spot, way, ask }) => {
            isExact(await read(open(made(), ask)), `${spot}, ${way}`);
            assert.equal(world.provider.asked(ask), 2);
          }),
        );
      });
    }

    test(`${name}, always: an error, behind a true beginning`, LIMIT, async () => {
      await Promise.all(
        breaks("always").map(async ({ spot, way, ask }) => {
          const { error, text, response } = await read(ways.create(made(), ask));
          assert.ok(error instanceof Error, `${spot}, ${way}`);
          assert.equal(error.code, "recovery-exhausted");
          assert.equal(response, undefined);
          assert.ok(text && TEXT.startsWith(text));
          const final = await ways.stream(made(), prompt(spot, way, "always")).finalResponse().catch((error) => error);
          assert.ok(final instanceof OpenAIError, `${spot}, ${way}: ${final}`);
        }),
      );
    });
  }

  test("itself, with the SDK alone: a clean end looks like a whole answer to its loop", LIMIT, async () => {
    const { error, response } = await read(ways.create(client(world.provider.url), prompt("text", "close")));
    assert.deepEqual([error, response], [undefined, undefined]); // which everytoken.fetch is for
  });
});

describe("everytoken.fetch: the connection to the gateway is cut", () => {
  for (const how of ["reset", "end"]) {
    test(`anywhere: ${how}`, LIMIT, async () => {
      const one = client(world.wire.url, { fetch });
      world.wire.bytes = 0;
      isExact(await read(ways.create(one, prompt())));
      const length = world.wire.bytes;
      for (let at = 0; at < length; at += 97) {
        const ask = prompt();
        world.wire.cut(at, how);
        isExact(await read(ways.create(one, ask)), `behind ${at} bytes`);
        assert.equal(world.provider.asked(ask), 1);
      }
    });
  }
});

describe("a response that the gateway keeps", () => {
  for (const more of [{}, { fetch }]) {
    const name = more.fetch ? "with everytoken.fetch" : "with the SDK alone";

    test(`${name} is read behind any number`, LIMIT, async () => {
      const one = client(world.gateway.url, more);
      const events = [];
      for await (const event of await ways.create(one, prompt("tool"))) events.push(event);
      const { id } = events[0].response;
      for (let number = 0; number < events.length; number++) {
        const rest = [];
        for await (const event of await one.responses.retrieve(id, { stream: true, starting_after: number })) rest.push(event);
        assert.deepEqual(rest, events.slice(number + 1));
        const again = [];
        for await (const { type, sequence_number } of one.responses.stream({ response_id: id, starting_after: number })) again.push([type, sequence_number]);
        assert.deepEqual(again, events.slice(number + 1).map(({ type, sequence_number }) => [type, sequence_number]));
      }
    });

    test(`${name} runs in the background, and is taken up again`, LIMIT, async () => {
      const one = client(world.gateway.url, more);
      const ask = prompt("tool");
      const stream = await one.responses.create({ ...request(ask), stream: true, background: true });
      const first = [];
      for await (const event of stream) {
        first.push(event);
        if (event.type === "response.output_text.delta") break;
      }
      const { id } = first[0].response;
      const rest = await read(one.responses.retrieve(id, { stream: true, starting_after: first.at(-1).sequence_number }));
      assert.equal(first.at(-1).delta + rest.text, TEXT);
      assert.equal(rest.response.id, id);
      assert.equal(rest.numbers[0], first.length);
      assert.equal((await one.responses.retrieve(id)).status, "completed");
      assert.equal(world.provider.asked(ask), 2);
    });
  }

  test("with everytoken.fetch it is read on when the connection is cut", LIMIT, async () => {
    const one = client(world.wire.url, { fetch });
    const { id, numbers } = await read(ways.create(one, prompt()));
    for (const how of ["reset", "end"]) {
      for (let at = 0; at < 3000; at += 211) {
        world.wire.cut(at, how);
        const rest = await read(one.responses.retrieve(id, { stream: true, starting_after: 3 }));
        assert.deepEqual([rest.error, rest.numbers], [undefined, numbers.slice(4)], `behind ${at} bytes: ${how}`);
      }
    }
  });
});
