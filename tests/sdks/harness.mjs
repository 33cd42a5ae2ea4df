// What the tests of Node's SDKs have in common: a provider that answers in both APIs and breaks where a test says, the
// gateway in front of it, a wire that cuts, and the npm package as it is built.

import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { createFetch } from "../../js/dist/index.js";
import { CuttingWire, startGateway } from "../../js/test/helpers.mjs";

export const TEXT = "Let me look it up. 流式 👍🏽";
export const INPUT = { city: "Oslo", note: 'a "quoted" æ' };
export const ANSWER = "It is sunny in Oslo.";
export const WEATHER = "sunny";
const PIECES = [
  ["Let me ", "look ", "it up.", " 流式 👍🏽"],
  ["Let", " me look it", " up. 流", "式 👍🏽"],
];
const args = JSON.stringify(INPUT);
const ARGS = [
  [args.slice(0, 9), args.slice(9, 20), args.slice(20)],
  [args.slice(0, 3), args.slice(3)],
];

/** Where a provider breaks, and how. */
export const SPOTS = ["text", "tool", "end"];
export const WAYS = ["reset", "close"];

let asks = 0;
/** A prompt that tells the provider where to break: at a spot, or nowhere (`none`); `once`, or in every attempt. */
export const prompt = (spot = "none", way = "reset", when = "once") => `ask:${spot}:${way}:${when}:${asks++}`;

/** Events of Messages; `spots` says behind which of them an attempt may break. */
function message(attempt, ran) {
  const events = [{ type: "message_start", message: { id: `msg_${attempt}`, type: "message", role: "assistant", model: "m", content: [], stop_reason: null, stop_sequence: null, usage: { input_tokens: 9, output_tokens: 1 } } }];
  const spots = {};
  const block = (index, content_block, deltas, spot) => {
    events.push({ type: "content_block_start", index, content_block });
    for (const [number, delta] of deltas.entries()) {
      events.push({ type: "content_block_delta", index, delta });
      if (number === 1) spots[spot] = events.length;
    }
    events.push({ type: "content_block_stop", index });
  };
  const texts = ran ? [ANSWER] : PIECES[attempt % 2];
  block(0, { type: "text", text: "" }, texts.map((text) => ({ type: "text_delta", text })), "text");
  const calls = ["", ...ARGS[attempt % 2]].map((partial_json) => ({ type: "input_json_delta", partial_json }));
  if (!ran) block(1, { type: "tool_use", id: `toolu_${attempt}`, name: "get_weather", input: {} }, calls, "tool");
  events.push({ type: "message_delta", delta: { stop_reason: ran ? "end_turn" : "tool_use", stop_sequence: null }, usage: { output_tokens: 20 } });
  spots.end = events.length;
  events.push({ type: "message_stop" });
  return { events, spots };
}

/** Events of Responses. */
function response(attempt, ran) {
  const events = [];
  const spots = {};
  const output = [];
  const say = (type, more) => events.push(structuredClone({ type, sequence_number: events.length, ...more }));
  const whole = (status, more) => ({ id: `resp_${attempt}`, object: "response", created_at: 1000 + attempt, status, error: null, incomplete_details: null, model: "m", output: [], parallel_tool_calls: true, tools: [], ...more });
  const item = (kind, started, deltas, done, spot) => {
    const id = `${kind.slice(0, 3)}_${attempt}`;
    const at = { item_id: id, output_index: output.length };
    say("response.output_item.added", { output_index: at.output_index, item: { id, type: kind, status: "in_progress", ...started } });
    deltas(at, () => (spots[spot] ??= events.length));
    const last = { id, type: kind, status: "completed", ...done };
    say("response.output_item.done", { output_index: at.output_index, item: last });
    output.push(last);
  };
  for (const kind of ["created", "in_progress"]) say(`response.${kind}`, { response: whole("in_progress") });
  const text = ran ? ANSWER : TEXT;
  const part = { type: "output_text", annotations: [], logprobs: [], text };
  const parts = (at, mark) => {
    const where = { ...at, content_index: 0 };
    say("response.content_part.added", { ...where, part: { ...part, text: "" } });
    for (const [number, delta] of (ran ? [ANSWER] : PIECES[attempt % 2]).entries()) {
      say("response.output_text.delta", { ...where, delta, logprobs: [] });
      if (number === 1) mark();
    }
    say("response.output_text.done", { ...where, text, logprobs: [] });
    say("response.content_part.done", { ...where, part });
  };
  item("message", { role: "assistant", content: [] }, parts, { role: "assistant", content: [part] }, "text");
  const call = { call_id: `call_${attempt}`, name: "get_weather" };
  const calls = (at, mark) => {
    for (const delta of ARGS[attempt % 2]) {
      say("response.function_call_arguments.delta", { ...at, delta });
      mark();
    }
    say("response.function_call_arguments.done", { ...at, name: call.name, arguments: args });
  };
  if (!ran) item("function_call", { ...call, arguments: "" }, calls, { ...call, arguments: args }, "tool");
  spots.end = events.length;
  const usage = { input_tokens: 9, input_tokens_details: { cached_tokens: 0 }, output_tokens: 20, output_tokens_details: { reasoning_tokens: 0 }, total_tokens: 29 };
  say("response.completed", { response: whole("completed", { output, usage }) });
  return { events, spots };
}

/** A provider of both APIs. Its first answer calls a tool; the answer to the tool's result is a text. */
class Provider {
  attempts = {};
  /** What stands behind `prompt`, and how often it was asked for that. */
  asked(prompt) {
    return this.attempts[prompt] ?? 0;
  }

  async start() {
    this.server = createServer((request, response) => this.#serve(request, response));
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  async #serve(request, reply) {
    let body = "";
    for await (const piece of request) body += piece;
    const [path] = request.url.split("?");
    const script = { "/v1/messages": message, "/v1/responses": response }[path];
    const [found, spot, way, when] = /ask:(\w+):(\w+):(\w+):\d+/.exec(body) ?? ["", "none"];
    if (!script) return reply.writeHead(404).end("{}");
    const asked = JSON.parse(body);
    if (asked.messages?.at(-1).role === "assistant") return reply.writeHead(400).end('{"type":"error","error":{"type":"invalid_request_error","message":"no prefill"}}');
    const ran = /"tool_result"|"function_call_output"/.test(body);
    if (!ran) this.attempts[found] = this.asked(found) + 1;
    const attempt = ran ? 99 : this.attempts[found];
    const { events, spots } = script(attempt, ran);
    reply.writeHead(200, { "Content-Type": "text/event-stream" });
    const breaks = !ran && spot !== "none" && (when === "always" || attempt === 1);
    const sent = breaks ? events.slice(0, spots[spot]) : events;
    const bytes = sent.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join("");
    if (!breaks || way === "close") return reply.end(bytes); // its HTTP is in good order
    reply.write(bytes, () => request.socket.resetAndDestroy());
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** What each test has: `provider`, `gateway` before it, and `wire` before the gateway. */
export const world = {};

export function setUp() {
  let folder;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "everytoken-"));
    world.provider = await new Provider().start();
    world.gateway = await startGateway(`${world.provider.url}/v1`, `sqlite:///${join(folder, "journal.db")}`);
    world.wire = await new CuttingWire(world.gateway.url).start();
  });
  after(async () => {
    world.wire.stop();
    await world.gateway.kill();
    world.provider.stop();
    rmSync(folder, { recursive: true, force: true });
  });
}

/** `everytoken.fetch`, in a hurry. */
export const fetch = createFetch({ policy: { backoff: 0.001, backoffMax: 0.001 } });

/** Every way to break, each with a prompt of its own. */
export const breaks = (when) => SPOTS.flatMap((spot) => WAYS.map((way) => ({ spot, way, ask: prompt(spot, way, when) })));
