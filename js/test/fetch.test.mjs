// `fetch` for SDKs, with the openai package on top and no network: what it asks, and what the loop sees.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createFetch } from "everytoken";
import OpenAI, { APIError } from "openai";
import { Body, chunk, event, FINISH, guide, ManualClock, MESSAGES, offset, Server, settled, sse } from "./helpers.mjs";

const DONE = "data: [DONE]\n\n";

function loop(server, { policy, maxRetries = 0, ...request } = {}) {
  const clock = new ManualClock();
  const fetch = createFetch({ fetch: server.fetch, clock, policy });
  const client = new OpenAI({ apiKey: "k", baseURL: "http://model.test/v1", maxRetries, fetch });
  const run = { clock, text: "", chunks: [], end: undefined };
  run.done = (async () => {
    const stream = await client.chat.completions.create({ model: "m", messages: MESSAGES, stream: true, ...request });
    for await (const chunk of stream) {
      run.chunks.push(chunk);
      run.text += chunk.choices[0]?.delta?.content || "";
    }
  })().then(
    () => (run.end = "completed"),
    (error) => (run.end = error),
  );
  return run;
}

const body = (...events) => events.map((value) => (typeof value === "string" ? value : event(value))).join("");
const cut = (...events) => sse(new Body().write(body(...events)).end());
const bodyOf = (call) => JSON.parse(call.body);
const json = (value) => new Response(JSON.stringify(value), { headers: { "Content-Type": "application/json" } });
const HELLO = [chunk("", { role: "assistant" }), chunk("Hel"), chunk("lo 世"), chunk("界")];

describe("against everytoken", () => {
  test("a lost connection is taken up at the offset", async () => {
    const first = new Body();
    const server = new Server(sse(first, { id: "s1" }), sse(event(chunk("world"), 2) + event(FINISH, 3) + DONE));
    const run = loop(server);
    await settled();
    first.write(event(chunk("Hello "), 1)).break();
    await run.clock.advance(375);
    await run.done;
    assert.deepEqual([run.end, run.text], ["completed", "Hello world"]);
    const [post, get] = server.asked;
    assert.match(post.headers.get("Idempotency-Key"), /^\d+(-\d+){3}$/);
    assert.equal(get.url, "http://model.test/v1/stream/s1/events");
    assert.equal(get.headers.get("Last-Event-ID"), offset(1));
    assert.equal(get.headers.get("Authorization"), "Bearer k");
    assert.equal(get.headers.has("Idempotency-Key"), false);
  });

  test("the gateway's error is the SDK's own", async () => {
    const error = { error: { message: "3 attempts failed", type: "upstream_error", code: "recovery-exhausted" } };
    const run = loop(new Server(sse(event(chunk("Hello "), 1) + event(error, 2), { id: "s1" })));
    await run.done;
    assert.ok(run.end instanceof APIError);
    assert.equal(run.end.code, "recovery-exhausted");
  });

  test("the gateway's recovery is waited for, however long it is without content", async () => {
    const first = new Body();
    const run = loop(new Server(sse(first, { id: "s1" })));
    for (let i = 0; i < 8; i++) {
      await run.clock.advance(15_000);
      first.write(": keep-alive\n");
    }
    first.write(event(chunk("late"), 1) + event(FINISH, 2) + DONE);
    await run.done;
    assert.deepEqual([run.end, run.text], ["completed", "late"]);
  });
});

describe("what is none of its business goes through untouched", () => {
  for (const [name, init, path] of [
    ["a request that is not streamed", { method: "POST", body: '{"stream":false}' }, "/v1/chat/completions"],
    ["another route", { method: "POST", body: '{"stream":true}' }, "/v1/completions"],
    ["a body that is not JSON", { method: "POST", body: "stream" }, "/v1/chat/completions"],
    ["a GET", {}, "/v1/models"],
  ]) {
    test(name, async () => {
      const answer = json({});
      const server = new Server(answer);
      assert.equal(await createFetch({ fetch: server.fetch })(`http://model.test${path}`, init), answer);
      assert.equal(server.asked[0].body, init.body);
      assert.deepEqual([...server.asked[0].headers], []);
    });
  }
});

describe("against any other server", () => {
  test("an answer that is whole is passed on as it was sent", async () => {
    const odd = '{"id": "x",  "choices": [{"index":0,"delta":{"content":"Hi"}}], "other": 1.0}';
    const server = new Server(sse(body(odd.replace(/^/, "data: ") + "\n\n", FINISH, DONE)));
    const response = await createFetch({ fetch: server.fetch, clock: new ManualClock() })("http://model.test/v1/chat/completions", {
      method: "POST",
      body: '{"stream":true}',
    });
    assert.equal(await response.text(), `data: ${odd}\n\n${event(FINISH)}${DONE}`);
    assert.equal(response.headers.get("Content-Type"), "text/event-stream; charset=utf-8");
  });

  for (let at = 0; at <= HELLO.length; at++) {
    test(`a cut behind ${at} chunks is replayed with the same seed, and what repeats is dropped`, async () => {
      // The repetition comes in other pieces, and under another id.
      const again = [chunk("", { role: "assistant" }), chunk("Hello "), chunk("世界!")].map((c) => ({ ...c, id: "c2", created: 2 }));
      const server = new Server(cut(...HELLO.slice(0, at)), sse(body(...again, { ...FINISH, id: "c2" }, DONE)));
      const run = loop(server);
      await run.clock.advance(375);
      await run.done;
      assert.deepEqual([run.end, run.text], ["completed", "Hello 世界!"]);
      const [first, second] = server.asked.map(bodyOf);
      assert.equal(first.seed, 2 ** 30);
      assert.deepEqual(second, first);
      assert.equal(new Set(server.asked.map(({ headers }) => headers.get("Idempotency-Key"))).size, 1);
      if (at) {
        assert.deepEqual([...new Set(run.chunks.map(({ id }) => id))], ["c1"]);
        assert.equal(run.chunks.filter(({ choices }) => choices[0].delta.role).length, 1);
      }
    });
  }

  test("a ping is no chunk, and an empty error is none", async () => {
    const server = new Server(sse(body("event: ping\ndata: {}\n\n", "data: null\n\n", { ...chunk("Hi"), error: null, errors: [] }, FINISH, DONE)));
    const run = loop(server);
    await run.done;
    assert.deepEqual([run.end, run.text, run.chunks.length], ["completed", "Hi", 2]);
  });

  test("the caller's own seed stands", async () => {
    const server = new Server(sse(body(chunk("Hi"), FINISH, DONE)));
    await loop(server, { seed: 7 }).done;
    assert.equal(bodyOf(server.asked[0]).seed, 7);
  });

  test("a server that refuses our seed is asked without", async () => {
    const server = new Server(new Response("{}", { status: 400 }), sse(body(chunk("Hi"), FINISH, DONE)));
    const run = loop(server);
    await run.done;
    assert.equal(run.text, "Hi");
    assert.equal("seed" in bodyOf(server.asked[1]), false);
    const [first, second] = server.asked.map(({ headers }) => headers.get("Idempotency-Key"));
    assert.notEqual(first, second); // another body
  });

  test("a repetition that differs is an error, never a splice", async () => {
    for (const other of [[chunk("Help!")], [chunk("He"), FINISH, DONE], [chunk("Hel"), chunk(null, {}, "length")], [FINISH]]) {
      const server = new Server(cut(chunk("Hello ")), sse(body(...other)));
      const run = loop(server);
      await run.clock.advance(375);
      await run.done;
      assert.deepEqual([run.end.code, run.text], ["recovery-exhausted", "Hello "]);
      assert.match(run.end.message, /differs/);
      assert.equal(run.end.cause.code, "upstream-truncated");
    }
  });

  test("when streaming itself keeps failing the answer is asked for in one piece", async () => {
    const server = new Server(
      cut(chunk("Hello ")),
      cut(chunk("Hel"), chunk("lo w")),
      json({ id: "c3", choices: [{ index: 0, message: { role: "assistant", content: "Hello world" }, finish_reason: "stop" }] }),
    );
    const run = loop(server, { stream_options: { include_usage: true } });
    await run.clock.advance(10_000);
    await run.done;
    assert.deepEqual([run.end, run.text], ["completed", "Hello world"]);
    const last = bodyOf(server.asked[2]);
    assert.equal(last.stream, false);
    assert.equal("stream_options" in last, false);
    assert.equal(last.seed, bodyOf(server.asked[0]).seed);
  });

  test("a server that does not stream is no fault", async () => {
    const server = new Server(json({ id: "c", choices: [{ index: 0, message: { content: "Hi" }, finish_reason: "stop" }] }));
    const run = loop(server);
    await run.done;
    assert.deepEqual([run.end, run.text], ["completed", "Hi"]);
  });

  test("when nothing helps the loop throws, with the first cause", async () => {
    const server = new Server(cut(chunk("Hello ")), cut(), json({ choices: [] }));
    const run = loop(server);
    await run.clock.advance(10_000);
    await run.done;
    assert.deepEqual([run.end.code, run.end.cause.code, run.text], ["recovery-exhausted", "upstream-truncated", "Hello "]);
    assert.equal(server.asked.length, 3);
  });

  test("a tool call is repeated too: its first id stands, its arguments come once", async () => {
    const call = (index, id, name, args) => chunk(null, { tool_calls: [{ index, ...(id && { id, type: "function" }), function: { ...(name && { name }), arguments: args } }] });
    const end = chunk(null, {}, "tool_calls");
    const server = new Server(
      cut(call(0, "call_a", "weather", ""), call(0, "", "", '{"ci')),
      sse(body(call(0, "call_b", "weather", '{"city":"Rom"}'), call(1, "call_c", "time", "{}"), end, DONE)),
    );
    const run = loop(server);
    await run.clock.advance(375);
    await run.done;
    assert.equal(run.end, "completed");
    const calls = [];
    for (const { choices } of run.chunks) {
      for (const { index, id, function: called } of choices[0].delta.tool_calls ?? []) {
        const joined = (calls[index] ??= { id: "", name: "", arguments: "" });
        joined.id += id ?? "";
        joined.name += called.name ?? "";
        joined.arguments += called.arguments;
      }
    }
    assert.deepEqual(calls, [
      { id: "call_a", name: "weather", arguments: '{"city":"Rom"}' },
      { id: "call_c", name: "time", arguments: "{}" },
    ]);
  });

  test("several choices are not laid over each other", async () => {
    const two = { ...chunk("a"), choices: [0, 1].map((index) => ({ index, delta: { content: "a" }, finish_reason: null })) };
    const run = loop(new Server(cut(two)), { n: 2 });
    await run.clock.advance(10_000);
    await run.done;
    assert.equal(run.end.code, "upstream-truncated");
  });

  for (const [name, silent, ms] of [
    ["before the answer", () => new Promise(() => {}), 40_000],
    ["before the first content", () => sse(new Body().write(body(chunk("", { role: "assistant" })))), 30_000],
    ["between two pieces of content", () => sse(new Body().write(body(chunk("Hel"), ": ping\n\n", chunk("")))), 30_000],
  ]) {
    test(`silence ${name} ends the attempt, and the next one answers`, async () => {
      const server = new Server(silent, sse(body(chunk("Hello"), FINISH, DONE)));
      const run = loop(server);
      await run.clock.advance(ms - 1);
      assert.equal(server.asked.length, 1);
      await run.clock.advance(1 + 375);
      await run.done;
      assert.deepEqual([run.end, run.text], ["completed", "Hello"]);
    });
  }

  const MIDDLE = [chunk("One "), FINISH, chunk("two "), chunk("three.", {}, "stop")];
  for (let at = 3; at <= MIDDLE.length; at++) {
    test(`an answer that goes on behind a finish_reason and is cut behind ${at} chunks is exact`, async () => {
      for (const broken of [(b) => b.break(), (b) => b.write(event({ error: { message: "overloaded" } })).end(), (b) => b.write("data: {\"cho\n\n").end()]) {
        const first = new Body().write(body(...MIDDLE.slice(0, at)));
        broken(first);
        const server = new Server(sse(first), sse(body(...MIDDLE, DONE)));
        const run = loop(server);
        await run.clock.advance(375);
        await run.done;
        assert.deepEqual([run.end, run.text, server.asked.length], ["completed", "One two three.", 2]);
        assert.equal(run.chunks.filter(({ choices }) => choices[0].finish_reason).length, 2);
      }
    });
  }

  test("half a tool call behind a finish_reason is no whole answer", async () => {
    const call = (index, args) => chunk(null, { tool_calls: [{ index, id: `call_${index}`, type: "function", function: { name: "f", arguments: args } }] });
    const end = chunk(null, {}, "tool_calls");
    const events = [call(0, "{}"), end, call(1, '{"a":')];
    const server = new Server(cut(...events), sse(body(call(0, "{}"), end, call(1, '{"a":1}'), end, DONE)));
    const run = loop(server);
    await run.clock.advance(375);
    await run.done;
    assert.equal(run.end, "completed");
    const args = run.chunks.flatMap(({ choices }) => choices[0].delta.tool_calls ?? []).filter(({ index }) => index === 1).map((one) => one.function.arguments);
    assert.equal(args.join(""), '{"a":1}');
  });

  test("signs of life of every dress are passed over, and half a chunk is none", async () => {
    const alive = ["data:", "data: ping", "data: [PING]", "data: null", "data: :keep-alive", 'data: "pong"', "event: ping\ndata: still here"];
    const server = new Server(sse(body(...alive.map((line) => `${line}\n\n`), chunk("Hi"), ...alive.map((line) => `${line}\n\n`), FINISH, DONE)));
    const run = loop(server);
    await run.done;
    assert.deepEqual([run.end, run.text, run.chunks.length, server.asked.length], ["completed", "Hi", 2, 1]);
    for (const half of ['data: {"choices":[{"delta"', "data: tok", 'event: ping\ndata: {"cho']) {
      const garbled = loop(new Server(sse(body(chunk("H"), `${half}\n\n`, FINISH, DONE)), sse(body(chunk("Hi"), FINISH, DONE))));
      await garbled.clock.advance(375);
      await garbled.done;
      assert.deepEqual([garbled.end, garbled.text], ["completed", "Hi"]);
    }
  });

  test("a server that keeps sending comments may think for five minutes", async () => {
    const answer = new Body().write(body(chunk("One ")));
    const server = new Server(sse(answer));
    const run = loop(server);
    for (let i = 0; i < 13; i++) {
      await run.clock.advance(20_000);
      answer.write(": processing\n\n");
    }
    answer.write(body(chunk("two."), FINISH, DONE));
    await run.done;
    assert.deepEqual([run.end, run.text, server.asked.length], ["completed", "One two.", 1]);
    const endless = new Body();
    const other = new Server(sse(endless), sse(body(chunk("Hi"), FINISH, DONE)));
    const second = loop(other);
    for (let i = 0; i < 31; i++) {
      if (!endless.cancelled) endless.write(": processing\n\n");
      await second.clock.advance(10_000);
    }
    await second.done;
    assert.deepEqual([second.text, other.asked.length], ["Hi", 2]);
  });

  test("the last attempt is not given up for nothing: it has as long as a plain SDK would wait", async () => {
    const silent = () => sse(new Body());
    const last = new Body();
    const run = loop(new Server(silent, silent, sse(last)));
    await run.clock.advance(61_500);
    await run.clock.advance(590_000);
    assert.equal(run.end, undefined);
    last.write(body(chunk("late"), FINISH, DONE));
    await run.done;
    assert.deepEqual([run.end, run.text], ["completed", "late"]);
  });

  test("20 s of thinking, and a second before each chunk, are no fault", async () => {
    const answer = new Body();
    const server = new Server(sse(answer));
    const run = loop(server);
    for (let i = 0; i < 20; i++) {
      answer.write(": thinking\n\n");
      await run.clock.advance(1000);
    }
    for (const part of [...HELLO, FINISH]) {
      answer.write(event(part));
      await run.clock.advance(1000);
    }
    answer.write(DONE).end();
    await run.done;
    assert.deepEqual([run.end, run.text, server.asked.length], ["completed", "Hello 世界", 1]);
  });

  test("usage and [DONE] may lag behind the finish reason for a moment", async () => {
    const first = new Body().write(body(chunk("Hi"), FINISH));
    const run = loop(new Server(sse(first)));
    await run.clock.advance(9_999);
    assert.equal(run.end, undefined);
    await run.clock.advance(1);
    await run.done;
    assert.deepEqual([run.end, first.cancelled], ["completed", true]);
  });

  test("a refusal that may pass is tried again with the same key and seed, and not by the SDK once more", async () => {
    const busy = (headers) => new Response('{"error":{"message":"busy"}}', { status: 503, headers });
    const server = new Server(busy({ "Retry-After": "2" }), busy(), busy());
    const run = loop(server, { maxRetries: 2 });
    await run.clock.advance(1999);
    assert.equal(server.asked.length, 1);
    await run.clock.advance(10_000);
    await run.done;
    assert.deepEqual([run.end.status, run.end.message], [503, "503 busy"]);
    assert.equal(server.asked.length, 3);
    assert.equal(new Set(server.asked.map(({ headers, body }) => headers.get("Idempotency-Key") + body)).size, 1);
  });

  test("what a server says of a retry counts more than its status", async () => {
    const told = (status, should) => new Response("{}", { status, headers: { "X-Should-Retry": should, "Retry-After-Ms": "250", "Retry-After": "9" } });
    const run = loop(new Server(told(503, "false")), { maxRetries: 2 });
    await run.done;
    assert.equal(run.end.status, 503);
    const other = loop(new Server(told(418, "true"), sse(body(chunk("Hi"), FINISH, DONE))));
    await settled();
    assert.deepEqual(other.clock.waits, [250]);
    await other.clock.advance(250);
    await other.done;
    assert.equal(other.text, "Hi");
  });

  test("a refusal that does not name our seed costs one call", async () => {
    const error = { message: "filtered", code: "content_filter", param: "prompt" };
    const server = new Server(new Response(JSON.stringify({ error }), { status: 400 }));
    const run = loop(server, { maxRetries: 2 });
    await run.done;
    assert.deepEqual([run.end.status, run.end.code, server.asked.length], [400, "content_filter", 1]);
    const named = { error: { message: "unknown field: seed" } };
    const second = new Server(new Response(JSON.stringify(named), { status: 422 }), sse(body(chunk("Hi"), FINISH, DONE)));
    const again = loop(second);
    await again.done;
    assert.deepEqual([again.text, second.asked.length], ["Hi", 2]);
  });

  test("a refusal for good is left to the SDK", async () => {
    const server = new Server(new Response('{"error":{"message":"no"}}', { status: 401 }));
    const run = loop(server);
    await run.done;
    assert.equal(run.end.status, 401);
  });

  test("a refusal for good within an answer ends it", async () => {
    const server = new Server(cut(chunk("Hel")), new Response('{"error":{"message":"no more"}}', { status: 401 }));
    const run = loop(server);
    await run.clock.advance(10_000);
    await run.done;
    assert.deepEqual([run.end.code, run.text, server.asked.length], ["recovery-exhausted", "Hel", 2]);
    assert.match(run.end.message, /no more/);
  });

  test("a body that is cancelled closes the connection", async () => {
    const server = new Server(sse(new Body()));
    const asked = createFetch({ fetch: server.fetch, clock: new ManualClock() })("http://model.test/v1/chat/completions", {
      method: "POST",
      body: '{"stream":true}',
    });
    await (await asked).body.cancel();
    assert.equal(server.asked[0].signal.aborted, true);
  });

  test("Retry-After is honoured within an answer", async () => {
    const server = new Server(
      cut(chunk("Hel")),
      new Response("", { status: 429, headers: { "Retry-After": "3" } }),
      sse(body(chunk("Hello"), FINISH, DONE)),
    );
    const run = loop(server);
    await run.clock.advance(375);
    assert.deepEqual(run.clock.waits, [3000]);
    await run.clock.advance(3000);
    await run.done;
    assert.equal(run.text, "Hello");
  });

  test("a break closes the connection", async () => {
    const first = new Body().write(body(chunk("Hel")));
    const server = new Server(sse(first));
    const client = new OpenAI({ apiKey: "k", baseURL: "http://model.test/v1", fetch: createFetch({ fetch: server.fetch, clock: new ManualClock() }) });
    for await (const _ of await client.chat.completions.create({ model: "m", messages: MESSAGES, stream: true })) break;
    await settled();
    assert.equal(server.asked[0].signal.aborted, true);
  });
});

describe("cut behind every byte, the answer is exact", () => {
  const utf8 = new TextEncoder();
  const say = (content, finish_reason = null) => ({ choices: [{ delta: { content }, finish_reason }] });
  const ANSWER = [say("Hi 世"), say("👍", "stop")];

  // The first `at` bytes, then the end of the body or of the connection.
  const cutAt = (bytes, at, how) => {
    const steps = [(to) => to.enqueue(bytes.subarray(0, at)), (to) => (how === "end" ? to.close() : to.error(new TypeError("terminated")))];
    return new ReadableStream({ pull: (controller) => steps.shift()(controller) });
  };

  async function everywhere(bytes, options, rest) {
    let server;
    const fetch = createFetch({ fetch: (...given) => server.fetch(...given), policy: { backoff: 0 } });
    const client = new OpenAI({ apiKey: "k", baseURL: "http://model.test/v1", fetch });
    for (let at = 0; at <= bytes.length; at++) {
      for (const how of ["reset", "end"]) {
        server = new Server(sse(cutAt(bytes, at, how), options), rest);
        assert.equal(await guide(client), "Hi 世👍", `${how} behind ${at} bytes`);
      }
    }
  }

  test("by its offset", () => {
    const events = ANSWER.map((value, i) => event(value, i + 1));
    const rest = ({ headers }) => sse(events.slice(+(headers.get("Last-Event-ID") ?? 0)).join("") + DONE);
    return everywhere(utf8.encode(events.join("") + DONE), { id: "s1" }, rest);
  });

  test("by a repetition", () => {
    const whole = body(...ANSWER, DONE);
    return everywhere(utf8.encode(whole), {}, () => sse(whole));
  });
});
