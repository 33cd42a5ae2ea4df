// The AI SDK with `@ai-sdk/openai`, whose default is Responses, and `@ai-sdk/anthropic`: `streamText` with a tool that it
// runs itself. The tool is run once, with its exact input, or there is an error.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { isStepCount, streamText, tool } from "ai";
import { z } from "zod";
import { ANSWER, breaks, fetch, INPUT, prompt, setUp, TEXT, WEATHER, world } from "./harness.mjs";

setUp();
const LIMIT = { timeout: 60_000 };

const providers = {
  "@ai-sdk/openai": (url, more) => createOpenAI({ apiKey: "k", baseURL: `${url}/v1`, ...more })("m"),
  "@ai-sdk/anthropic": (url, more) => createAnthropic({ apiKey: "k", baseURL: `${url}/v1`, ...more })("m"),
};

/** Ask, and let the SDK run the tool: what was shown, how the tool was called, and the errors. */
async function read(model, ask) {
  const shown = { text: "", inputs: [], errors: [] };
  const get_weather = tool({
    inputSchema: z.object({ city: z.string(), note: z.string() }),
    execute: (input) => (shown.inputs.push(input), WEATHER),
  });
  const onError = ({ error }) => shown.errors.push(error);
  const limits = { maxOutputTokens: 99, maxRetries: 0, stopWhen: isStepCount(3) };
  const result = streamText({ model, prompt: ask, tools: { get_weather }, onError, ...limits });
  try {
    for await (const text of result.textStream) shown.text += text;
  } catch (error) {
    shown.errors.push(error); // a body that breaks ends the loop, an event of the provider does not
  }
  return shown;
}

for (const [name, model] of Object.entries(providers)) {
  describe(name, () => {
    for (const [where, made] of Object.entries({
      "behind the gateway": () => model(world.gateway.url),
      "behind the gateway, with everytoken.fetch": () => model(world.gateway.url, { fetch }),
      "itself, with everytoken.fetch": () => model(world.provider.url, { fetch }),
    })) {
      test(`the provider is cut ${where}, once: text and tool are exact`, LIMIT, async () => {
        await Promise.all(
          breaks("once").map(async ({ spot, way, ask }) => {
            assert.deepEqual(await read(made(), ask), { text: TEXT + ANSWER, inputs: [INPUT], errors: [] }, `${spot}, ${way}`);
            assert.equal(world.provider.asked(ask), 2);
          }),
        );
      });

      test(`the provider is cut ${where}, always: an error, and no half a call is run`, LIMIT, async () => {
        await Promise.all(
          breaks("always").map(async ({ spot, way, ask }) => {
            const { text, inputs, errors } = await read(made(), ask);
            assert.ok(errors.length > 0, `${spot}, ${way}`);
            assert.ok(text && TEXT.startsWith(text));
            // A call whose item was whole may be run; half of one never is.
            assert.deepEqual(inputs, spot === "end" ? inputs.slice(0, 1) : []);
            for (const input of inputs) assert.deepEqual(input, INPUT);
          }),
        );
      });
    }

    for (const how of ["reset", "end"]) {
      test(`everytoken.fetch: the connection to the gateway is cut: ${how}`, LIMIT, async () => {
        const one = model(world.wire.url, { fetch });
        for (let at = 0; at < 4000; at += 311) {
          const ask = prompt();
          world.wire.cut(at, how);
          assert.deepEqual(await read(one, ask), { text: TEXT + ANSWER, inputs: [INPUT], errors: [] }, `behind ${at} bytes`);
          assert.equal(world.provider.asked(ask), 1);
        }
      });
    }
  });
}
