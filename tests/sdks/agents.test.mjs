// `@openai/agents`: the loop of an agent with one tool, over Responses. The tool is run once, with its exact input.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Agent, OpenAIResponsesModel, run, setTracingDisabled, tool } from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";
import { ANSWER, breaks, fetch, INPUT, prompt, setUp, TEXT, WEATHER, world } from "./harness.mjs";

setTracingDisabled(true);
setUp();
const LIMIT = { timeout: 60_000 };

/** Run an agent: what it has shown, how its tool was called, and what came out. */
async function act(url, more, ask) {
  const shown = { text: "", inputs: [] };
  const get_weather = tool({
    name: "get_weather",
    description: "The weather in a city.",
    parameters: z.object({ city: z.string(), note: z.string() }),
    execute: (input) => (shown.inputs.push(input), WEATHER),
  });
  const client = new OpenAI({ apiKey: "k", baseURL: `${url}/v1`, maxRetries: 0, ...more });
  const agent = new Agent({ name: "A", model: new OpenAIResponsesModel(client, "m"), tools: [get_weather] });
  try {
    const result = await run(agent, ask, { stream: true });
    for await (const text of result.toTextStream()) shown.text += text;
    await result.completed;
    shown.output = result.finalOutput;
  } catch (error) {
    shown.error = error;
  }
  return shown;
}

describe("the provider is cut", () => {
  for (const [where, made] of Object.entries({
    "behind the gateway": () => [world.gateway.url, {}],
    "behind the gateway, with everytoken.fetch": () => [world.gateway.url, { fetch }],
    "itself, with everytoken.fetch": () => [world.provider.url, { fetch }],
  })) {
    test(`${where}, once: the tool is run once, and the answer is exact`, LIMIT, async () => {
      await Promise.all(
        [{ spot: "none", ask: prompt() }, ...breaks("once")].map(async ({ spot, way, ask }) => {
          assert.deepEqual(await act(...made(), ask), { text: TEXT + ANSWER, inputs: [INPUT], output: ANSWER }, `${spot}, ${way}`);
        }),
      );
    });

    test(`${where}, always: an error, and the tool is not run`, LIMIT, async () => {
      await Promise.all(
        breaks("always").map(async ({ spot, way, ask }) => {
          const { error, inputs, text } = await act(...made(), ask);
          assert.ok(error instanceof Error, `${spot}, ${way}`);
          assert.deepEqual(inputs, []);
          assert.ok(text && TEXT.startsWith(text));
        }),
      );
    });
  }
});

for (const how of ["reset", "end"]) {
  test(`everytoken.fetch: the connection to the gateway is cut: ${how}`, LIMIT, async () => {
    for (let at = 0; at < 6000; at += 523) {
      const ask = prompt();
      world.wire.cut(at, how);
      assert.deepEqual(await act(world.wire.url, { fetch }, ask), { text: TEXT + ANSWER, inputs: [INPUT], output: ANSWER }, `behind ${at} bytes`);
      assert.equal(world.provider.asked(ask), 1);
    }
  });
}
