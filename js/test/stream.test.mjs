// `stream()` without a network or a clock: what it asks, when, and what it makes of the answers.

import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";
import { EverytokenError, stream } from "everytoken";
import { Body, chunk, event, FINISH, ManualClock, MESSAGES, offset, Server, settled, sse } from "./helpers.mjs";

const URL_ = "http://gateway.test/v1/chat/completions";
const STREAM = "http://gateway.test/v1/stream/s1";

function asked(server, options = {}) {
  const clock = new ManualClock();
  const states = [];
  const answer = stream(URL_, { body: { model: "m", messages: MESSAGES }, fetch: server.fetch, clock, onState: (state) => states.push(state), ...options });
  return Object.assign(loop(answer), { answer, clock, states });
}

/** Run a loop over an answer; `seen` are its chunks, `end` says how it ended. */
function loop(answer) {
  const run = { seen: [], end: undefined };
  run.done = (async () => {
    for await (const chunk of answer) run.seen.push(chunk);
  })().then(
    () => (run.end = "completed"),
    (error) => (run.end = error),
  );
  return run;
}

const whole = (...texts) => [...texts.map((text, i) => event(chunk(text), i + 1)), event(FINISH, texts.length + 1), "data: [DONE]\n\n"].join("");

describe("an answer", () => {
  test("is asked for with a POST that has a key of its own, and read to its end mark", async () => {
    const server = new Server(sse(whole("Hello ", "world"), { id: "s1" }));
    const run = asked(server);
    await run.done;
    assert.equal(run.end, "completed");
    assert.equal(run.answer.text, "Hello world");
    assert.equal(run.answer.finishReason, "stop");
    assert.equal(run.answer.offset, offset(3));
    assert.equal(run.answer.url, STREAM);
    assert.equal(run.answer.id, "s1");
    assert.deepEqual(run.states, ["streaming", "completed"]);
    assert.deepEqual(run.seen.map((seen) => seen.choices[0].delta.content), ["Hello ", "world", undefined]);
    const [post] = server.asked;
    assert.equal(post.method, "POST");
    assert.deepEqual(JSON.parse(post.body), { model: "m", messages: MESSAGES, stream: true });
    assert.match(post.headers.get("Idempotency-Key"), /^\d+(-\d+){3}$/);
    assert.deepEqual(run.clock.waits, []); // no timer is left behind
  });

  test("that exists is read by its URL, without a POST", async () => {
    const server = new Server(sse(whole("Hello")));
    const answer = stream(STREAM, { fetch: server.fetch, clock: new ManualClock() });
    for await (const _ of answer);
    assert.deepEqual(server.asked.map(({ method, url }) => [method, url]), [["GET", `${STREAM}/events`]]);
    assert.equal(server.asked[0].headers.has("Last-Event-ID"), false);
    assert.equal(answer.text, "Hello");
  });

  test("can be asked for with a Request", async () => {
    const request = new Request(URL_, { method: "POST", body: '{"stream":true}', headers: { Authorization: "Bearer k" } });
    const clock = new ManualClock();
    const server = new Server(sse(whole("Hello"), { id: "s1" }));
    const answer = stream(request, { fetch: server.fetch, clock });
    for await (const _ of answer);
    assert.equal(server.asked[0].body, '{"stream":true}');
    assert.equal(server.asked[0].headers.get("Authorization"), "Bearer k");
    assert.equal(answer.text, "Hello");
  });

  test("is read from the events when text for people came first", async () => {
    const text = sse("Hello", { id: "s1", "Content-Type": "text/plain; charset=utf-8" });
    const server = new Server(text, sse(whole("Hello ")));
    const run = asked(server);
    await run.clock.advance(0);
    await run.done;
    assert.equal(run.answer.text, "Hello ");
    assert.equal(server.asked.length, 2);
  });
});

test("what is no chunk is not given out, but its offset counts", async () => {
  const run = asked(new Server(sse(event(chunk("Hi"), 1) + event({}, 2) + event(FINISH, 3) + "data: [DONE]\n\n", { id: "s1" })));
  await run.done;
  assert.deepEqual([run.seen.length, run.answer.offset], [2, offset(3)]);
});

describe("a lost connection", () => {
  for (const [name, lose] of [["reset", (body) => body.break()], ["clean end", (body) => body.end()]]) {
    test(`is taken up again at the offset: ${name}`, async () => {
      const body = new Body();
      const server = new Server(sse(body, { id: "s1" }), sse(event(chunk("world"), 2) + event(FINISH, 3) + "data: [DONE]\n\n"));
      const run = asked(server, { headers: { Authorization: "Bearer k" } });
      body.write(event(chunk("Hello "), 1) + "data: {unfinished");
      await settled();
      lose(body);
      await settled();
      assert.equal(run.answer.state, "reconnecting");
      assert.deepEqual(run.clock.waits, [375]);
      await run.clock.advance(375);
      await run.done;
      assert.equal(run.end, "completed");
      assert.equal(run.answer.text, "Hello world");
      const [, again] = server.asked;
      assert.deepEqual([again.method, again.url], ["GET", `${STREAM}/events`]);
      assert.equal(again.headers.get("Last-Event-ID"), offset(1));
      assert.equal(again.headers.get("Authorization"), "Bearer k");
      assert.equal(again.headers.has("Idempotency-Key"), false);
      assert.deepEqual(run.states, ["streaming", "reconnecting", "streaming", "completed"]);
    });
  }

  test("to a response that is no longer kept is over at once, in the gateway's words", async () => {
    const error = { message: "a response of that age is no longer kept", type: "invalid_request_error", code: "offset-expired" };
    const body = new Body().write(event(chunk("Hello "), 1)).end();
    const server = new Server(sse(body, { id: "s1" }), new Response(JSON.stringify({ error }), { status: 410 }));
    const run = asked(server);
    await run.clock.advance(10_000);
    await run.done;
    assert.deepEqual([run.end.code, run.end.message, run.end.retryable], ["offset-expired", error.message, false]);
    assert.equal(run.answer.state, "interrupted");
    assert.equal(run.answer.text, "Hello ");
    assert.equal(server.asked.length, 2);
  });

  test("before the answer repeats the POST with the same key, three times at most", async () => {
    const server = new Server(new TypeError("fetch failed"), new TypeError("fetch failed"), new TypeError("fetch failed"));
    const run = asked(server);
    await run.clock.advance(10_000);
    assert.equal(run.end.code, "upstream-connect");
    assert.equal(run.answer.state, "failed");
    assert.equal(server.asked.length, 3);
    assert.equal(new Set(server.asked.map(({ headers }) => headers.get("Idempotency-Key"))).size, 1);
  });

  test("of a server without offsets is an error once text has come, and no second POST", async () => {
    const body = new Body().write(event(chunk("Hello "))).end();
    const server = new Server(sse(body));
    const run = asked(server);
    await run.done;
    assert.equal(run.end.code, "upstream-truncated");
    assert.ok(run.end instanceof EverytokenError && run.end.retryable);
    assert.equal(run.answer.state, "interrupted");
    assert.equal(run.answer.text, "Hello ");
    assert.equal(run.answer.error, run.end);
  });

  test("behind the finish reason is no loss", async () => {
    const run = asked(new Server(sse(event(chunk("Hello")) + event(FINISH))));
    await run.done;
    assert.equal(run.end, "completed");
  });

  test("is noticed when three keep-alives are missing", async () => {
    const body = new Body().write(event(chunk("Hello "), 1));
    const server = new Server(sse(body, { id: "s1" }), sse(event(FINISH, 2) + "data: [DONE]\n\n"));
    const run = asked(server);
    for (let i = 0; i < 4; i++) {
      await run.clock.advance(40_000);
      body.write(": keep-alive\n");
    }
    await settled();
    assert.equal(server.asked.length, 1);
    await run.clock.advance(44_999);
    assert.equal(run.answer.state, "streaming");
    await run.clock.advance(1000);
    await run.done;
    assert.equal(run.end, "completed");
    assert.equal(body.cancelled, true);
  });

  test("backs off up to eight seconds, and gives up after the time for being away", async () => {
    const server = new Server(sse(new Body().write(event(chunk("Hello "), 1)).end(), { id: "s1" }), ...Array(200).fill(new TypeError("fetch failed")));
    const run = asked(server);
    const waits = [];
    for (let i = 0; i < 6; i++) {
      await settled();
      waits.push(run.clock.waits[0]);
      await run.clock.advance(run.clock.waits[0]);
    }
    assert.deepEqual(waits, [375, 750, 1500, 3000, 6000, 6000]);
    await run.clock.advance(300_000);
    assert.equal(run.end.code, "upstream-connect");
    assert.equal(run.answer.state, "interrupted");
  });

  test("honours Retry-After", async () => {
    const server = new Server(
      sse(new Body().write(event(chunk("a"), 1)).end(), { id: "s1" }),
      new Response("", { status: 503, headers: { "Retry-After": "7" } }),
      sse(event(FINISH, 2) + "data: [DONE]\n\n"),
    );
    const run = asked(server);
    await run.clock.advance(375);
    assert.deepEqual(run.clock.waits, [7000]);
    await run.clock.advance(7000);
    await run.done;
    assert.equal(run.end, "completed");
  });
});

describe("an end is a claim", () => {
  test("204 ends an answer whose finish reason has come", async () => {
    const run = asked(new Server(sse(event(chunk("Hi"), 1) + event(FINISH, 2), { id: "s1" }), new Response(null, { status: 204 })));
    await run.clock.advance(375);
    await run.done;
    assert.equal(run.end, "completed");
  });

  test("who comes back behind the last record learns from the records how it ended", async () => {
    for (const [last, end] of [["data: [DONE]\n\n", "completed"], [event({ error: { message: "m", type: "upstream_error", code: "upstream-truncated" } }, 3), "upstream-truncated"]]) {
      const server = new Server(new Response(null, { status: 204 }), sse(event(chunk("Hi"), 1) + event(FINISH, 2) + last));
      const run = loop(stream(STREAM, { offset: offset(2), fetch: server.fetch, clock: new ManualClock() }));
      await run.done;
      assert.equal(run.end.code ?? run.end, end);
      assert.deepEqual(run.seen, []);
    }
  });

  for (const [name, value, code] of [
    ["OpenAI", { error: { message: "m", type: "upstream_error", code: "recovery-exhausted" } }, "recovery-exhausted"],
    ["vLLM", { object: "error", message: "m", code: 500 }, "upstream-error-event"],
    ["Responses", { type: "error", message: "m", code: "server_error" }, "server_error"],
    ["OpenRouter", { ...chunk("", {}, "error"), error: { message: "m", code: 502 } }, "upstream-error-event"],
    ["a finish reason", chunk("", {}, "error"), "upstream-error-event"],
    ["FastAPI", { detail: "m" }, "upstream-error-event"],
    ["Cloudflare", { errors: [{ message: "m", code: 7 }] }, "upstream-error-event"],
    ["a text", { error: "m" }, "upstream-error-event"],
  ]) {
    test(`an error inside the stream is thrown: ${name}`, async () => {
      const run = asked(new Server(sse(event(chunk("Hi"), 1) + event(value, 2), { id: "s1" })));
      await run.done;
      assert.equal(run.end.code, code);
      assert.equal(run.end.message, name === "a finish reason" ? "the upstream broke off" : "m");
      assert.equal(run.answer.state, "interrupted");
    });
  }

  test("an event named error is an error whatever its data", async () => {
    const run = asked(new Server(sse(`event: error\ndata: {"message":"m"}\n\n`, { id: "s1" })));
    await run.done;
    assert.equal(run.end.message, "m");
    assert.equal(run.answer.state, "failed");
  });

  test("a refusal is thrown with the gateway's code, and not tried again", async () => {
    const body = JSON.stringify({ error: { message: "no such model", type: "invalid_request_error", code: "model-not-found" } });
    const run = asked(new Server(new Response(body, { status: 404 })));
    await run.done;
    assert.deepEqual([run.end.code, run.end.message, run.end.retryable], ["model-not-found", "no such model", false]);
  });
});

describe("Stop", () => {
  const stopped = event({ error: { message: "stopped", type: "cancelled", code: "cancelled" } }, 2);

  test("is a request of its own; the gateway's word ends the loop without an error", async () => {
    const body = new Body().write(event(chunk("Hello "), 1));
    const server = new Server(sse(body, { id: "s1" }));
    const run = asked(server, { headers: { Authorization: "Bearer k" } });
    await settled();
    run.answer.stop();
    run.answer.stop();
    await settled();
    assert.equal(run.end, undefined);
    body.write(stopped);
    await run.done;
    assert.equal(run.end, "completed");
    assert.equal(run.answer.state, "cancelled");
    const cancels = server.asked.slice(1);
    assert.deepEqual(cancels.map(({ method, url }) => [method, url]), [["POST", `${STREAM}/cancel`]]);
    assert.equal(cancels[0].headers.get("Authorization"), "Bearer k");
    await settled();
    assert.deepEqual(run.clock.waits, []);
  });

  test("ends the loop by itself when the gateway is silent", async () => {
    const run = asked(new Server(sse(new Body().write(event(chunk("Hello "), 1)), { id: "s1" })));
    await settled();
    run.answer.stop();
    await run.clock.advance(3000);
    await run.done;
    assert.deepEqual([run.end, run.answer.state], ["completed", "cancelled"]);
  });

  test("before the answer has begun ends the loop at once, and cancels it when it has a name", async () => {
    let begin;
    const server = new Server(() => new Promise((resolve) => (begin = resolve)));
    const run = asked(server);
    await settled();
    run.answer.stop();
    await run.done;
    assert.equal(run.answer.state, "cancelled");
    assert.equal(server.asked[0].signal.aborted, false);
    begin(sse(new Body(), { id: "s1" }));
    await settled();
    assert.deepEqual(server.asked.slice(1).map(({ url }) => url), [`${STREAM}/cancel`]);
  });

  for (const [what, answer, url = URL_] of [
    ["has a body that broke", () => sse(new Body().break(), { id: "s1" })],
    ["has a Location that is no URL", () => sse(new Body(), { Location: "http://[/stream/s1" }), "http://gateway.test/api/chat"],
  ]) {
    test(`before an answer that ${what} leaves no rejection that nobody handles`, async () => {
      let begin;
      const server = new Server(() => new Promise((resolve) => (begin = resolve)));
      const stopping = stream(url, { body: {}, fetch: server.fetch, clock: new ManualClock() });
      const run = loop(stopping);
      await settled();
      stopping.stop();
      await run.done;
      begin(answer());
      await settled(); // node fails a test in which there is one
      assert.equal(stopping.state, "cancelled");
    });
  }

  test("before the loop has begun asks nothing", async () => {
    const server = new Server();
    const answer = stream(URL_, { body: {}, fetch: server.fetch, clock: new ManualClock() });
    answer.stop();
    await loop(answer).done;
    assert.deepEqual([answer.state, server.asked], ["cancelled", []]);
  });

  test("by somebody else is an error with a code of its own", async () => {
    const run = asked(new Server(sse(event(chunk("Hello "), 1) + stopped, { id: "s1" })));
    await run.done;
    assert.deepEqual([run.end.code, run.end.retryable, run.answer.state], ["cancelled", false, "cancelled"]);
  });
});

describe("leaving", () => {
  test("a break closes the connection and does not stop the response", async () => {
    const body = new Body().write(event(chunk("Hello "), 1));
    const server = new Server(sse(body, { id: "s1" }));
    for await (const _ of stream(URL_, { body: {}, fetch: server.fetch, clock: new ManualClock() })) break;
    await settled();
    assert.equal(body.cancelled, true);
    assert.equal(server.asked.length, 1);
  });

  test("by a signal throws its reason", async () => {
    const leave = new AbortController();
    const server = new Server(sse(new Body().write(event(chunk("Hello "), 1)), { id: "s1" }));
    const run = asked(server, { signal: leave.signal });
    await settled();
    leave.abort(new Error("left"));
    await run.done;
    assert.equal(run.end.message, "left");
    assert.equal(run.answer.state, "streaming");
    assert.deepEqual(run.clock.waits, []);
  });
});

describe("a request of one's own", () => {
  test("whose body breaks is an error of the loop, and of nobody else", async () => {
    const broken = new ReadableStream({ pull: (controller) => controller.error(new Error("torn")) });
    const request = new Request(URL_, { method: "POST", body: broken, duplex: "half" });
    const answer = stream(request, { fetch: new Server().fetch, clock: new ManualClock(), policy: { attempts: 1 } });
    await settled(); // node fails a test with a rejection that nobody handles
    const run = loop(answer);
    await run.done;
    assert.match(run.end.message, /torn/);
  });

  test("is not sent by who has left already", async () => {
    const server = new Server();
    const run = asked(server, { signal: AbortSignal.abort(new Error("left")) });
    await run.done;
    assert.deepEqual([run.end.message, server.asked], ["left", []]);
  });
});

describe("the Location", () => {
  const follows = async (location, url = URL_) => {
    const server = new Server(
      sse(new Body().write(event(chunk("a"), 1)).end(), { Location: location }),
      sse(event(FINISH, 2) + "data: [DONE]\n\n"),
    );
    const clock = new ManualClock();
    const run = loop(stream(url, { body: {}, fetch: server.fetch, clock }));
    await clock.advance(375);
    await run.done;
    return server.asked[1]?.url;
  };

  test("never leads to another host", async () => {
    assert.equal(await follows("https://elsewhere.test/v1/stream/s1"), `${STREAM}/events`);
    assert.equal(await follows("//elsewhere.test/v1/stream/s1"), `${STREAM}/events`);
  });
  test("is found beside the request where a proxy adds a prefix", async () => {
    assert.equal(await follows("/v1/stream/s1", "https://proxy.test/llm/v1/chat/completions?x=1"), "https://proxy.test/llm/v1/stream/s1/events");
  });
  test("is taken as it is for other routes", async () => {
    assert.equal(await follows("/base/v1/stream/s1", "https://host.test/base/api/chat"), "https://host.test/base/v1/stream/s1/events");
  });
  test("behind a redirect to another host is not followed", async () => {
    const elsewhere = sse(new Body().write(event(chunk("a"), 1)).end(), { id: "s1" });
    Object.defineProperty(elsewhere, "url", { value: "https://elsewhere.test/v1/chat/completions" });
    const server = new Server(elsewhere);
    const run = asked(server);
    await run.done;
    assert.equal(run.end.code, "upstream-truncated");
    assert.equal(run.answer.url, "");
  });
  test("of something else is not a stream's", async () => {
    assert.equal(await follows("/v1/stream/../../admin"), undefined);
    assert.equal(await follows("/elsewhere"), undefined);
  });
});

describe("a page", () => {
  afterEach(() => {
    for (const name of ["document", "addEventListener", "removeEventListener"]) delete globalThis[name];
  });

  function page() {
    const heard = new EventTarget();
    globalThis.document = Object.assign(new EventTarget(), { hidden: false });
    globalThis.addEventListener = heard.addEventListener.bind(heard);
    globalThis.removeEventListener = heard.removeEventListener.bind(heard);
    return { online: () => heard.dispatchEvent(new Event("online")), shown: () => document.dispatchEvent(new Event("visibilitychange")) };
  }

  for (const how of ["online", "shown"]) {
    test(`that is ${how} again reconnects at once, without a POST`, async () => {
      const wake = page();
      const server = new Server(
        sse(new Body().write(event(chunk("a"), 1)).end(), { id: "s1" }),
        new TypeError("fetch failed"),
        sse(event(FINISH, 2) + "data: [DONE]\n\n"),
      );
      const run = asked(server);
      await run.clock.advance(375);
      assert.equal(server.asked.length, 2);
      document.hidden = true;
      wake[how]();
      await settled();
      assert.equal(server.asked.length, 2); // it is not looked at
      document.hidden = false;
      wake[how]();
      await run.done;
      assert.equal(run.end, "completed");
      assert.deepEqual(server.asked.map(({ method }) => method), ["POST", "GET", "GET"]);
    });
  }

  test("that wakes does not trust a connection on which a keep-alive is missing", async () => {
    const wake = page();
    const server = new Server(sse(new Body().write(event(chunk("a"), 1)), { id: "s1" }), sse(event(FINISH, 2) + "data: [DONE]\n\n"));
    const run = asked(server);
    await run.clock.advance(15_000);
    wake.shown();
    await settled();
    assert.equal(run.answer.state, "streaming");
    await run.clock.advance(1000);
    wake.shown();
    await run.clock.advance(375);
    await run.done;
    assert.equal(run.end, "completed");
  });
});
