// Messages and Responses without a network: recorded streams, cut behind every event, and another attempt that has other
// ids and other pieces. What a reader gets is one stream, or an error. tests/sdks has the SDKs on top.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createFetch, SSEDecoder } from "everytoken";
import { Body, ManualClock, PYTHON, Server, settled, sse } from "./helpers.mjs";

const script = spawnSync(PYTHON, [fileURLToPath(new URL("streams.py", import.meta.url))], { encoding: "utf8" });
assert.equal(script.status, 0, script.stderr);
const STREAMS = JSON.parse(script.stdout);

const wire = (event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
const whole = (events) => sse(events.map(wire).join(""));
const cut = (events, more = "") => sse(new Body().write(events.map(wire).join("") + more).end());
const shown = (events) => events.filter(({ type }) => type !== "ping");

/** Ask, and read what comes: `events`, each with the name that it came under, and what ended it. */
async function ask(server, { api, path = `/v1/${api}`, request = { stream: true }, init = {}, advance = 10_000, policy } = {}) {
  const clock = new ManualClock();
  const fetch = createFetch({ fetch: server.fetch, clock, policy });
  const run = { events: [], raw: "" };
  const read = (async () => {
    const posted = { method: "POST", body: JSON.stringify(request), ...init };
    const response = (run.response = await fetch(`http://model.test${path}`, posted));
    const decoder = new SSEDecoder();
    const utf8 = new TextDecoder();
    for await (const bytes of response.body) {
      run.raw += utf8.decode(bytes, { stream: true });
      for (const { data, event } of decoder.receive(bytes)) {
        const value = JSON.parse(data);
        assert.equal(event, value.type);
        run.events.push(value);
      }
    }
  })().then(
    () => (run.end = "completed"),
    (error) => (run.end = error),
  );
  for (let i = 0; i < 20 && run.end === undefined; i++) await clock.advance(advance / 20);
  await settled();
  await read;
  return run;
}

const NO_CONTENT = new Set(["sequence_number", "obfuscation", "logprobs"]);
const IDS = /^(id|item_id|call_id|tool_use_id|created_at|encrypted_content)$/;

/** What a stream says, however its texts are cut and whatever its ids are; the ids, by place, apart. */
function said(events) {
  const ids = {};
  const bare = (value, path) => {
    if (typeof value !== "object" || !value) return value;
    if (Array.isArray(value)) return value.map((item, at) => bare(item, `${path}.${at}`));
    const found = {};
    for (const [name, item] of Object.entries(value)) {
      if (IDS.test(name)) (ids[path] ??= {})[name] = item;
      else if (!NO_CONTENT.has(name)) found[name] = bare(item, `${path}.${name}`);
    }
    return found;
  };
  const told = [];
  let texts = "";
  for (const [number, event] of events.entries()) {
    const { delta, ...rest } = bare(event, `${number}`);
    const field = typeof delta === "string" ? "" : ["text", "thinking", "partial_json"].find((name) => typeof delta?.[name] === "string");
    if (field === undefined) {
      told.push({ delta, ...rest });
      texts = "";
      continue;
    }
    const place = JSON.stringify([rest, field]);
    const text = field ? delta[field] : delta;
    if (place === texts) told.at(-1).text += text;
    else if (text) {
      told.push({ ...rest, text });
      texts = place;
    }
  }
  for (const { message } of told) delete message?.usage; // of one attempt, as that of message_delta
  return told.filter(({ type }) => type !== "message_delta");
}

/** Every item has one id in all its events, no attempt's secret under another's id, and the numbers run on. */
function checkIds(events) {
  const numbers = events.map((event) => event.sequence_number).filter((number) => number !== undefined);
  assert.deepEqual(numbers, [...numbers.keys()]);
  const [first, last] = [events[0], events.at(-1)];
  if (!first.response) return assert.equal(events.filter(({ type }) => type === "message_start").length, 1);
  assert.equal(last.response.id, first.response.id);
  assert.equal(last.response.created_at, first.response.created_at);
  const known = {};
  for (const { item, item_id, output_index } of events) {
    const id = item?.id ?? item_id;
    if (id) assert.equal((known[output_index] ??= id), id);
    if (item?.call_id) assert.equal((known[`call ${output_index}`] ??= item.call_id), item.call_id);
  }
  for (const [at, { id, call_id, encrypted_content }] of last.response.output.entries()) {
    assert.equal(id, known[at]);
    if (call_id) assert.equal(call_id, known[`call ${at}`]);
    if (encrypted_content) assert.equal(encrypted_content.at(-1), id.split("_")[1][0]);
  }
}

const isDiverged = (error) => /differs/.test(error?.message);

for (const [api, streams] of Object.entries(STREAMS)) {
  describe(api, () => {
    for (const [name, [first, again]] of Object.entries(streams)) {
      test(`${name}: a whole answer is passed on as it was sent`, async () => {
        const run = await ask(new Server(whole(first)), { api });
        assert.deepEqual([run.end, run.raw], ["completed", shown(first).map(wire).join("")]);
      });

      test(`${name}: cut behind any event it is continued exactly, and never ends early`, async () => {
        for (let at = 0; at < first.length; at++) {
          for (const more of ["", wire(first[at]).slice(0, -1)]) {
            const server = new Server(cut(first.slice(0, at), more), whole(again));
            const run = await ask(server, { api });
            // Another attempt's secret does not belong to an item that has begun.
            if (name === "encrypted" && isDiverged(run.end)) {
              assert.equal(first[at - 1].item?.type ?? "reasoning", "reasoning");
              continue;
            }
            assert.equal(run.end, "completed", `behind ${at} events: ${run.end.message}`);
            assert.deepEqual(said(run.events), said(shown(first)), `behind ${at} events`);
            checkIds(run.events);
            assert.deepEqual(server.asked[1].body, server.asked[0].body);
          }
        }
      });

      test(`${name}: a beginning for good is an error behind it`, async () => {
        for (let at = 0; at < first.length; at++) {
          const run = await ask(new Server(...[1, 2, 3].map(() => cut(first.slice(0, at)))), { api });
          assert.equal(run.end.code, "recovery-exhausted");
          assert.equal(run.end.cause.code, "upstream-truncated");
          assert.equal(run.events.some(({ type }) => /^message_(delta|stop)|completed$/.test(type) && !/call/.test(type)), false);
        }
      });
    }

    test("an answer that differs anywhere is an error, never a splice", async () => {
      for (const [name, [first, again]] of Object.entries(streams)) {
        const texts = JSON.stringify(again).match(/"(text|delta|partial_json|thinking|signature|data|name|arguments)":"[^"\\]{3,}/g) ?? [];
        for (const found of new Set(texts)) {
          const other = JSON.parse(JSON.stringify(again).replace(found, `${found.slice(0, -1)}~`));
          const at = first.length - 2; // all of the content is delivered
          const run = await ask(new Server(cut(first.slice(0, at)), whole(other)), { api });
          assert.ok(isDiverged(run.end), `${name}: ${found}: ${run.end}`);
          assert.deepEqual(run.events, shown(first.slice(0, at)).filter(({ type }) => type !== "message_delta"));
        }
      }
    });

    test("an error in its place is another attempt, and at last it is told", async () => {
      const [[first, again]] = Object.values(streams);
      const error = api === "messages" ? { type: "error", error: { type: "overloaded_error", message: "Overloaded" } } : { type: "error", code: "server_error", message: "Overloaded", param: null, sequence_number: 9 };
      const failed = { type: "response.failed", sequence_number: 9, response: { id: "r", status: "failed", error: { code: "server_error", message: "Overloaded" } } };
      for (const event of api === "messages" ? [error] : [error, failed]) {
        for (const at of [0, 2, 5]) {
          const healed = await ask(new Server(cut(first.slice(0, at), wire(event)), whole(again)), { api });
          assert.equal(healed.end, "completed");
          assert.deepEqual(said(healed.events), said(shown(first)));
          const run = await ask(new Server(...[1, 2, 3].map(() => cut(first.slice(0, at), wire(event)))), { api });
          assert.equal(run.end.code, "recovery-exhausted");
          assert.match(run.end.message, /Overloaded/);
        }
      }
    });

    test("what other servers add is not taken for an end", async () => {
      const [[first, again]] = Object.values(streams);
      const run = await ask(new Server(cut(first.slice(0, 5), "data: [DONE]\n\n"), whole(again)), { api });
      assert.deepEqual(said(run.events), said(shown(first)));
    });

    test("neither seed nor another field is added, and the key stays", async () => {
      const [[first, again]] = Object.values(streams);
      const request = { model: "m", stream: true, temperature: 0.0, odd: [1, { two: null }] };
      const server = new Server(new Response("{}", { status: 529 }), cut(first.slice(0, 5)), whole(again));
      const run = await ask(server, { api, request });
      assert.equal(run.end, "completed");
      assert.deepEqual(server.asked.map(({ body }) => JSON.parse(body)), [request, request, request]);
      assert.equal(new Set(server.asked.map(({ headers }) => headers.get("Idempotency-Key"))).size, 1);
    });

    test("pings keep the connection, and are no content", async () => {
      const body = new Body().write(wire(Object.values(streams)[0][0][0]));
      const server = new Server(sse(body), new Response("{}", { status: 400 }));
      const clock = new ManualClock();
      const response = await createFetch({ fetch: server.fetch, clock })(`http://model.test/v1/${api}`, { method: "POST", body: '{"stream":true}' });
      const text = response.text().catch((error) => error);
      for (let seconds = 0; seconds < 290; seconds += 10) {
        await clock.advance(10_000);
        body.write('event: ping\ndata: {"type": "ping"}\n\n');
      }
      assert.equal(server.asked.length, 1);
      await clock.advance(20_000);
      assert.equal(server.asked.length, 2);
      assert.equal((await text).cause.code, "upstream-stalled-first-content");
    });
  });
}

describe("an answer in one piece", () => {
  const json = (value) => new Response(JSON.stringify(value), { headers: { "Content-Type": "application/json" } });
  // Not those whose events nobody could make up afterwards.
  const NAMES = { messages: ["text", "thinking", "citations", "length", "nothing"], responses: ["text", "two_parts", "refusal", "function_call", "custom_tool", "reasoning", "encrypted", "incomplete"] };

  function wholeOf(events) {
    if (events[0].response) return events.at(-1).response;
    const message = structuredClone(events[0].message);
    for (const { type, index, content_block, delta, usage } of events) {
      const block = message.content[index];
      if (type === "content_block_start") message.content[index] = structuredClone(content_block);
      if (type === "message_delta") Object.assign(message, delta, { usage: { ...message.usage, ...usage } });
      if (type !== "content_block_delta") continue;
      const { type: kind, citation, ...texts } = delta;
      if (citation) block.citations.push(citation);
      for (const [name, text] of Object.entries(texts)) block[name] += text;
    }
    return message;
  }

  for (const [api, names] of Object.entries(NAMES)) {
    test(`${api}: is read as the events that it would have been`, async () => {
      for (const name of names) {
        const [events] = STREAMS[api][name];
        const run = await ask(new Server(json(wholeOf(events))), { api });
        assert.deepEqual([run.end, said(run.events)], ["completed", said(shown(events))], name);
        checkIds(run.events);
      }
    });

    test(`${api}: is asked for when streaming itself keeps breaking`, async () => {
      for (const name of names) {
        const [first, again] = STREAMS[api][name];
        for (let at = 0; at < first.length; at++) {
          const server = new Server(cut(first.slice(0, at)), cut(again.slice(0, 2)), json(wholeOf(again)));
          const run = await ask(server, { api, request: { stream: true, stream_options: {}, input: "x" } });
          assert.deepEqual(server.asked.map(({ body }) => JSON.parse(body)).at(-1), { stream: false, input: "x" });
          if (name === "encrypted" && isDiverged(run.end)) continue;
          assert.equal(run.end, "completed", `${name} behind ${at}: ${run.end.message}`);
          assert.deepEqual(said(run.events), said(shown(first)), `${name} behind ${at} events`);
          checkIds(run.events);
        }
      }
    });

    test(`${api}: that is none is an error`, async () => {
      for (const value of [{}, [], null, { content: [] }, { output: [], status: "in_progress" }, { object: "response", status: "failed", output: [], error: { code: "x", message: "no" } }, { type: "error", error: { message: "no" } }]) {
        const run = await ask(new Server(json(value), json(value), json(value)), { api });
        assert.equal(run.end.code, "recovery-exhausted");
        assert.deepEqual(run.events, []);
      }
    });
  }
});

describe("half a tool call", () => {
  const [call, again] = STREAMS.messages.tool;
  const [made] = STREAMS.responses.function_call;

  test("is never passed off as a whole one", async () => {
    const half = call.filter(({ type, index }) => !(type === "content_block_stop" && index === 1));
    for (const [api, events] of [
      ["messages", half],
      ["responses", made.filter(({ type }) => type !== "response.output_item.done").map((event) => (event.type === "response.completed" ? { ...event, response: { ...event.response, output: [] } } : event))],
    ]) {
      const run = await ask(new Server(...[1, 2, 3].map(() => whole(events))), { api });
      assert.equal(run.end.code, "recovery-exhausted");
      assert.equal(run.end.cause.code, "upstream-truncated");
    }
  });

  test("that was delivered is not finished by other arguments", async () => {
    const at = call.findIndex(({ delta }) => delta?.partial_json?.startsWith('{"loca')) + 1;
    const other = JSON.parse(JSON.stringify(again).replace('{\\"location', '{\\"place'));
    assert.notDeepEqual(other, again);
    const run = await ask(new Server(cut(call.slice(0, at)), whole(other)), { api: "messages" });
    assert.ok(isDiverged(run.end));
    assert.deepEqual(run.events, shown(call.slice(0, at)));
  });

  test("a message without a stop_reason has not ended", async () => {
    const [text] = STREAMS.messages.text;
    const run = await ask(new Server(...[1, 2, 3].map(() => whole(text.filter(({ type }) => type !== "message_delta")))), { api: "messages" });
    assert.equal(run.end.cause.code, "upstream-truncated");
  });
});

describe("thinking", () => {
  const [first, again] = STREAMS.messages.thinking;
  const signed = first.findIndex(({ delta }) => delta?.type === "signature_delta");

  test("that differs is never put under a signature", async () => {
    const other = JSON.parse(JSON.stringify(again).replace("27 × 453.", "27 × 45."));
    for (let at = signed - 1; at <= signed + 1; at++) {
      const run = await ask(new Server(cut(first.slice(0, at)), whole(other)), { api: "messages" });
      const delivered = run.events.filter(({ delta }) => delta?.type === "signature_delta").length;
      if (at < signed) assert.equal(run.end, "completed"); // only what both say had been delivered
      else assert.ok(isDiverged(run.end));
      assert.equal(delivered, at < signed ? 1 : at - signed);
    }
  });

  test("whose signature differs is not continued behind it", async () => {
    const other = JSON.parse(JSON.stringify(again).replace("EqQBCgIYAhIM1gbc", "EqQBCgIYAhIM0000"));
    const run = await ask(new Server(cut(first.slice(0, signed + 1)), whole(other)), { api: "messages" });
    assert.ok(isDiverged(run.end));
    const before = await ask(new Server(cut(first.slice(0, signed)), whole(other)), { api: "messages" });
    assert.equal(before.end, "completed"); // all of the thinking was the same, and this is its signature
  });
});

describe("responses that a server keeps", () => {
  const [events] = STREAMS.responses.function_call;
  const behind = (number) => whole(events.filter(({ sequence_number }) => sequence_number > number));
  const api = "responses";

  test("in the background they are never asked for twice: the rest is read by its number", async () => {
    for (let at = 1; at < events.length; at++) {
      const server = new Server(cut(events.slice(0, at)), behind(at - 1));
      const run = await ask(server, { api, request: { stream: true, background: true, include: ["x"] }, init: { headers: { Authorization: "Bearer k" } } });
      assert.deepEqual([run.end, run.events], ["completed", events]);
      const [post, get] = server.asked;
      assert.deepEqual([post.method, get.method], ["POST", "GET"]);
      assert.equal(get.url, `http://model.test/v1/responses/resp_a?stream=true&starting_after=${at - 1}`);
      assert.equal(get.headers.get("Authorization"), "Bearer k");
      assert.equal(get.headers.has("Idempotency-Key"), false);
    }
  });

  test("nothing is asked for again before it has a name", async () => {
    const server = new Server(cut([]));
    const run = await ask(server, { api, request: { stream: true, background: true } });
    assert.deepEqual([run.end.code, run.end.cause.code], ["recovery-exhausted", "upstream-truncated"]);
    const refused = new Server(new Response("{}", { status: 503 }));
    const { response } = await ask(refused, { api, request: { stream: true, background: true } });
    assert.deepEqual([response.status, response.headers.get("X-Should-Retry")], [503, null]); // for the SDK to judge
    assert.deepEqual([server.asked.length, refused.asked.length], [1, 1]);
  });

  test("one that is read again is read on", async () => {
    for (const cuts of [[4, 9], [7], [12, 12]]) {
      const answers = [...cuts.map((at, turn) => cut(events.slice(turn ? cuts[turn - 1] : 3, at))), behind(cuts.at(-1) - 1)];
      const server = new Server(...answers);
      const path = "/v1/responses/resp_a?stream=true&starting_after=2";
      const run = await ask(server, { path, init: { method: "GET", body: undefined } });
      assert.deepEqual([run.end, run.events], ["completed", events.slice(3)]);
      assert.equal(server.asked[0].url, `http://model.test${path}`);
      assert.match(server.asked[1].url, new RegExp(`starting_after=${cuts[0] - 1}$`));
    }
  });

  test("without numbers they are not read again", async () => {
    const bare = events.map(({ sequence_number, ...event }) => event);
    const server = new Server(cut(bare.slice(0, 1)));
    const run = await ask(server, { path: "/v1/responses/resp_a?stream=true", init: { method: "GET", body: undefined } });
    assert.deepEqual([run.end.code, run.events], ["upstream-truncated", bare.slice(0, 1)]);
    const healthy = await ask(new Server(whole(bare)), { path: "/v1/responses/resp_a?stream=true", init: { method: "GET", body: undefined } });
    assert.deepEqual([healthy.end, healthy.events], ["completed", bare]);
  });

  test("its end for good is told", async () => {
    const path = "/v1/responses/resp_a?stream=true";
    const run = await ask(new Server(...[1, 2, 3].map(() => cut(events.slice(0, 4)))), { path, init: { method: "GET", body: undefined } });
    assert.deepEqual([run.end.code, run.end.cause.code], ["recovery-exhausted", "upstream-truncated"]);
    assert.equal(run.events.some(({ type }) => type === "response.completed"), false);
  });
});

describe("everytoken's stream of them", () => {
  for (const [api, streams] of Object.entries(STREAMS)) {
    test(`${api}: is taken up at its offset`, async () => {
      const [events] = streams[api === "messages" ? "tool" : "function_call"];
      const kept = events.map((event, at) => `event: ${event.type}\nid: ${at + 1}\ndata: ${JSON.stringify(event)}\n\n`);
      for (let at = 1; at < events.length; at++) {
        const server = new Server(sse(new Body().write(kept.slice(0, at).join("") + kept[at].slice(0, 40)).end(), { id: "s1" }), sse(kept.slice(at).join("")));
        const run = await ask(server, { api });
        assert.deepEqual([run.end, run.events], ["completed", shown(events)]);
        assert.equal(server.asked[1].url, "http://model.test/v1/stream/s1/events");
        assert.equal(server.asked[1].headers.get("Last-Event-ID"), `${at}`);
      }
    });
  }

  test("read again it begins where it was asked to", async () => {
    const [events] = STREAMS.responses.text;
    const kept = events.map((event, at) => `event: ${event.type}\nid: ${at + 1}\ndata: ${JSON.stringify(event)}\n\n`);
    const server = new Server(sse(new Body().break(), { id: "s1", "Stream-Next-Offset": "3" }), sse(kept.slice(3).join("")));
    const run = await ask(server, { path: "/v1/responses/resp_s1?stream=true&starting_after=2", init: { method: "GET", body: undefined } });
    assert.deepEqual([run.end, run.events], ["completed", events.slice(3)]);
    assert.equal(server.asked[1].headers.get("Last-Event-ID"), "3");
  });

  test("read behind its end it is nothing", async () => {
    const server = new Server(sse("", { id: "s1", "Stream-Next-Offset": "9" }), new Response(null, { status: 204 }));
    const run = await ask(server, { path: "/v1/responses/resp_s1?stream=true&starting_after=8", init: { method: "GET", body: undefined } });
    assert.deepEqual([run.end, run.events], ["completed", []]);
    assert.equal(server.asked[1].headers.get("Last-Event-ID"), "9");
  });

  test("an error that it tells is passed on as it is", async () => {
    const error = { type: "error", error: { type: "api_error", message: "3 attempts failed", code: "recovery-exhausted" } };
    const [first] = STREAMS.messages.text;
    const run = await ask(new Server(sse([...first.slice(0, 3), error].map(wire).join(""), { id: "s1" })), { api: "messages" });
    assert.deepEqual(run.events.at(-1), error);
  });
});

describe("a bundle for browsers", async () => {
  const { createFetch: forBrowsers } = await import(new URL("browser.js", import.meta.resolve("everytoken")));
  const init = { method: "POST", body: '{"stream":true}' };

  test("passes on what comes from other servers", async () => {
    const [events] = STREAMS.messages.text;
    const body = events.slice(0, 4).map(wire).join("");
    const answer = sse(body);
    const server = new Server(answer);
    assert.equal(await forBrowsers({ fetch: server.fetch })("http://model.test/v1/messages", init), answer);
    const kept = new Server(sse(body));
    await forBrowsers({ fetch: kept.fetch })("http://model.test/v1/responses/r?stream=true", {});
    assert.equal(kept.asked.length, 1);
  });

  test("resumes at everytoken", async () => {
    const [events] = STREAMS.messages.text;
    const kept = events.map((event, at) => `event: ${event.type}\nid: ${at + 1}\ndata: ${JSON.stringify(event)}\n\n`);
    const server = new Server(sse(new Body().write(kept.slice(0, 4).join("")).end(), { id: "s1" }), sse(kept.slice(4).join("")));
    const clock = new ManualClock();
    const text = (await forBrowsers({ fetch: server.fetch, clock })("http://model.test/v1/messages", init)).text();
    await clock.advance(1000);
    assert.match(await text, /message_stop/);
    assert.equal(server.asked[1].headers.get("Last-Event-ID"), "4");
  });
});
