// The AI SDK as it is, against `everytoken serve`, with an upstream that is moved by hand.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Chat } from "@ai-sdk/react";
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithToolCalls } from "ai";
import { startGateway, Upstream, Wire } from "../browser/harness.mjs";
import { mount, mountDocumented } from "./hook.mjs";

const TEXT = "Streams are rivers. 流式传输 👨‍👩‍👧 é, and then they end.";
const PIECES = TEXT.match(/.{1,4}/gsu);

let upstream, gateway, wire;
let chats = 0;
const open = new Set();

before(async () => {
  upstream = await new Upstream().start();
  gateway = await startGateway(upstream);
  wire = await new Wire(gateway.port).start();
});

after(async () => {
  wire?.stop();
  await gateway?.stop();
  upstream?.stop();
});

afterEach(async () => {
  wire.join();
  await Promise.all([...open].map((tab) => tab.stop()));
  open.clear();
  assert.equal(upstream.untaken, 0); // no request to the model that the test did not expect
});

const transport = (url = gateway.url) => new DefaultChatTransport({
  api: `${url}/api/chat`, body: { model: "scripted" }, headers: { "Everytoken-AI-SDK": "7" },
});

/** A tab: the SDK's own chat, with what became of its responses. */
function tab(id, { messages = [], url, ...more } = {}) {
  const ended = [];
  const onFinish = (end) => ended.push(end);
  const chat = new Chat({ id, messages, transport: transport(url), onFinish, ...more });
  chat.ended = ended;
  open.add(chat);
  return chat;
}

const chatId = () => `chat-${++chats}`;
const answerOf = (chat) => chat.messages.findLast((message) => message.role === "assistant");
const partsOf = (chat, type) => (answerOf(chat)?.parts ?? []).filter((part) => part.type === type);
const textOf = (chat) => partsOf(chat, "text").map((part) => part.text).join("");
/** What a page that stores its messages has when it is loaded again. */
const stored = (chat) => structuredClone(chat.messages);
const stop = (id) => fetch(`${gateway.url}/api/chat/${id}/stop`, { method: "POST" });
/** How many responses the gateway is writing. */
const writing = async () => (await (await fetch(`${gateway.url}/healthz`)).json()).responses;

async function until(what) {
  const deadline = Date.now() + 5_000;
  while (!what()) {
    if (Date.now() > deadline) throw new Error(`this did not happen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function callTool(call, name, ...pieces) {
  const chunk = (delta, finish_reason = null) => {
    const body = { object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason }] };
    call.response.write(`data: ${JSON.stringify(body)}\n\n`);
  };
  chunk({ tool_calls: [{ index: 0, id: "call_w", type: "function", function: { name, arguments: "" } }] });
  for (const piece of pieces) chunk({ tool_calls: [{ index: 0, function: { arguments: piece } }] });
}

test("an answer grows word by word and ends ready", async () => {
  const chat = tab(chatId());
  const sent = chat.sendMessage({ text: "Explain streams" });
  const call = await upstream.next();
  assert.deepEqual(call.body.messages, [{ role: "user", content: "Explain streams" }]);
  assert.equal(call.body.model, "scripted");
  let soFar = "";
  for (const piece of PIECES) {
    call.write(piece);
    soFar += piece;
    await until(() => textOf(chat) === soFar);
    assert.equal(chat.status, "streaming");
  }
  call.finish();
  await sent;
  assert.equal(chat.status, "ready");
  assert.equal(textOf(chat), TEXT);
  assert.equal(partsOf(chat, "text")[0].state, "done");
  assert.equal(chat.ended[0].finishReason, "stop");
  assert.equal(answerOf(chat).metadata.everytoken.outcome, "completed");
  assert.ok(answerOf(chat).metadata.usage);
});

for (const kept of ["everything it showed", "only the question"]) {
  test(`a reload of a page that kept ${kept} shows the exact text, wherever it came`, async () => {
    for (const cut of [0, 1, PIECES.length >> 1, PIECES.length]) {
      const id = chatId();
      const first = tab(id);
      void first.sendMessage({ text: "Explain streams" });
      const call = await upstream.next();
      call.write(...PIECES.slice(0, cut));
      await until(() => textOf(first) === PIECES.slice(0, cut).join("") && first.status === "streaming" || !cut);
      await first.stop(); // a page that is left: nothing but a disconnect
      const messages = stored(first).filter((message) => kept !== "only the question" || message.role === "user");
      call.write(...PIECES.slice(cut, cut + 2));
      const again = tab(id, { messages });
      const resumed = again.resumeStream();
      await until(() => textOf(again) === PIECES.slice(0, cut + 2).join(""));
      call.write(...PIECES.slice(cut + 2));
      call.finish();
      await resumed;
      assert.equal(textOf(again), TEXT);
      assert.equal(again.status, "ready");
      assert.deepEqual(again.messages.map((message) => message.role), ["user", "assistant"]);
    }
  });
}

test("a connection that breaks is an error, and resuming gives the exact text", async () => {
  const id = chatId();
  const chat = tab(id, { url: wire.url });
  const sent = chat.sendMessage({ text: "Explain streams" });
  const call = await upstream.next();
  call.write(...PIECES.slice(0, 3));
  await until(() => textOf(chat) === PIECES.slice(0, 3).join(""));
  wire.cut();
  await sent;
  assert.equal(chat.status, "error");
  wire.join();
  const resumed = chat.resumeStream();
  call.write(...PIECES.slice(3));
  call.finish();
  await resumed;
  assert.equal(chat.status, "ready");
  assert.equal(textOf(chat), TEXT);
});

test("an answer that ended while the page was away is there when it comes back, and then no more", async () => {
  const id = chatId();
  const first = tab(id);
  void first.sendMessage({ text: "Explain streams" });
  const call = await upstream.next();
  call.write(...PIECES.slice(0, 3));
  await until(() => textOf(first));
  await first.stop();
  for (let turns = 0; turns < 3; turns += 1) await writing(); // so that the gateway sees that the page has gone
  call.write(...PIECES.slice(3));
  call.finish();
  while (await writing());
  const again = tab(id, { messages: stored(first) });
  await again.resumeStream();
  assert.equal(textOf(again), TEXT);
  assert.equal(again.status, "ready");
  const third = tab(id, { messages: stored(again) });
  await third.resumeStream();
  assert.deepEqual(third.messages, again.messages);
  assert.equal(third.ended.length, 0);
});

test("stop ends it in both tabs and at the upstream, and keeps the text", async () => {
  const id = chatId();
  const first = tab(id);
  const sent = first.sendMessage({ text: "Explain streams" });
  const call = await upstream.next();
  call.write(...PIECES.slice(0, 3));
  await until(() => textOf(first));
  const second = tab(id, { messages: stored(first) });
  const resumed = second.resumeStream();
  await until(() => second.status === "streaming");
  assert.equal((await stop(id)).status, 204);
  await Promise.all([call.closed, sent, resumed]);
  for (const chat of [first, second]) {
    assert.equal(textOf(chat), PIECES.slice(0, 3).join(""));
    assert.equal(chat.status, "ready");
    assert.equal(chat.ended[0].finishReason, "interrupted");
    assert.equal(answerOf(chat).metadata.everytoken.outcome, "cancelled");
  }
  const later = tab(id);
  await later.resumeStream();
  assert.equal(later.messages.length, 0);
});

test("an upstream that is cut never looks ready: the status is error, the text is kept", async () => {
  const chat = tab(chatId());
  const sent = chat.sendMessage({ text: "Explain streams" });
  const call = await upstream.next();
  call.write(...PIECES.slice(0, 3));
  await until(() => textOf(chat));
  call.cut();
  await sent;
  assert.equal(chat.status, "error");
  assert.match(chat.error.message, /./);
  assert.equal(textOf(chat), PIECES.slice(0, 3).join(""));
  assert.equal(partsOf(chat, "text")[0].state, "streaming");
  assert.equal(chat.ended[0].isError, true);
  assert.equal(answerOf(chat).metadata.everytoken.outcome, "interrupted");
});

test("a request that is refused is an error with its reason", async () => {
  const chat = tab("x".repeat(257));
  await chat.sendMessage({ text: "Explain streams" });
  assert.equal(chat.status, "error");
  assert.match(chat.error.message, /256 characters/);
});

test("reasoning comes before the text, each in its part", async () => {
  const chat = tab(chatId());
  const sent = chat.sendMessage({ text: "Explain streams" });
  const call = await upstream.next();
  call.reason("Let me ").reason("think.");
  await until(() => partsOf(chat, "reasoning")[0]?.text === "Let me think.");
  assert.equal(partsOf(chat, "reasoning")[0].state, "streaming");
  call.write("Yes.");
  call.finish();
  await sent;
  assert.deepEqual(answerOf(chat).parts.map((part) => part.type), ["step-start", "reasoning", "text"]);
  assert.equal(partsOf(chat, "reasoning")[0].state, "done");
  assert.equal(textOf(chat), "Yes.");
});

test("a tool runs in the page, its output goes back, and a reload in the second step keeps the first", async () => {
  const id = chatId();
  const run = [];
  const options = { sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls };
  const first = tab(id, {
    ...options,
    onToolCall({ toolCall }) {
      run.push(toolCall.input);
      void first.addToolOutput({ tool: "weather", toolCallId: toolCall.toolCallId, output: { degrees: 21 } });
    },
  });
  void first.sendMessage({ text: "How warm is it in Zürich?" });
  const call = await upstream.next();
  callTool(call, "weather", '{"city":', '"Zürich"');
  await until(() => partsOf(first, "tool-weather")[0]?.input?.city === "Zürich");
  assert.equal(partsOf(first, "tool-weather")[0].state, "input-streaming");
  assert.deepEqual(run, []); // half a call is not run
  callTool(call, undefined, "}");
  call.finish("tool_calls");
  const next = await upstream.next();
  assert.deepEqual(run, [{ city: "Zürich" }]);
  assert.equal(next.body.messages[1].tool_calls[0].function.arguments, '{"city":"Zürich"}');
  assert.deepEqual(next.body.messages[2], { role: "tool", tool_call_id: "call_w", content: '{"degrees":21}' });
  next.write("It is ");
  await until(() => textOf(first) === "It is ");
  await first.stop();
  const again = tab(id, { ...options, messages: stored(first), onToolCall: () => assert.fail("run twice") });
  const resumed = again.resumeStream();
  next.write("21 °C.");
  next.finish();
  await resumed;
  assert.equal(again.status, "ready");
  assert.equal(again.messages.length, 2);
  assert.equal(answerOf(again).id, answerOf(first).id);
  assert.deepEqual(
    answerOf(again).parts.map((part) => part.type),
    ["step-start", "tool-weather", "step-start", "text"],
  );
  assert.deepEqual(partsOf(again, "tool-weather")[0].output, { degrees: 21 });
  assert.deepEqual(partsOf(again, "tool-weather")[0].input, { city: "Zürich" });
  assert.equal(textOf(again), "It is 21 °C.");
});

test("useChat with resume: true needs nothing else: a reload goes on by itself", async () => {
  const id = chatId();
  const page = await mount({ id, transport: transport() });
  void page.chat.sendMessage({ text: "Explain streams" });
  const call = await upstream.next();
  call.write(...PIECES.slice(0, 3));
  await until(() => textOf(page.chat) === PIECES.slice(0, 3).join(""));
  const messages = stored(page.chat);
  await page.unmount();
  const again = await mount({ id, messages, transport: transport(), resume: true });
  await until(() => again.chat.status === "streaming");
  call.write(...PIECES.slice(3));
  call.finish();
  await until(() => again.chat.status === "ready");
  assert.equal(textOf(again.chat), TEXT);
  assert.equal(again.chat.messages.length, 2);
  await again.unmount();
});

test("a long answer is replayed in few steps, however many tokens it had", async () => {
  const id = chatId();
  const first = tab(id);
  void first.sendMessage({ text: "Explain streams" });
  const call = await upstream.next();
  const words = Array.from({ length: 5_000 }, (_, number) => `word ${number} `);
  call.write(words[0]);
  await until(() => textOf(first));
  await first.stop();
  for (let turns = 0; turns < 3; turns += 1) await writing();
  call.write(...words.slice(1));
  call.finish();
  while (await writing());
  const again = tab(id);
  let updates = 0;
  again["~registerMessagesCallback"](() => (updates += 1));
  await again.resumeStream();
  assert.equal(textOf(again), words.join(""));
  assert.ok(updates < 50, `${updates} updates`);
});

test("the component of the documentation asks, comes back after a reload, stops and says what went wrong", async () => {
  const id = chatId();
  const shown = (page) => page.container.querySelector("p.assistant")?.textContent ?? "";
  const button = (page, name) => [...page.container.querySelectorAll("button")].find((one) => one.textContent === name);
  const ask = () => {
    const input = page.container.querySelector("input");
    Object.getOwnPropertyDescriptor(window.HTMLInputElement.prototype, "value").set.call(input, "Explain streams");
    input.dispatchEvent(new window.Event("input", { bubbles: true }));
    page.container.querySelector("form").dispatchEvent(new window.Event("submit", { bubbles: true, cancelable: true }));
  };
  let page = await mountDocumented({ id }, gateway.url);
  await until(() => page.container.querySelector("input"));
  ask();
  const call = await upstream.next();
  assert.equal(call.body.messages[0].content, "Explain streams");
  call.write("Streams ");
  await until(() => shown(page) === "Streams ");
  page.unmount();
  page = await mountDocumented({ id }, gateway.url);
  call.write("are rivers.");
  await until(() => shown(page) === "Streams are rivers." && button(page, "Stop"));
  button(page, "Stop").click();
  await call.closed;
  await until(() => !button(page, "Stop"));
  assert.equal(shown(page), "Streams are rivers.");
  assert.equal(page.container.querySelector("[role=alert]"), null);
  page.unmount();
  page = await mountDocumented({ id: chatId() }, gateway.url);
  await until(() => page.container.querySelector("input"));
  ask();
  const cut = await upstream.next();
  cut.write("Half");
  await until(() => shown(page) === "Half");
  cut.cut();
  await until(() => page.container.querySelector("[role=alert]"));
  assert.equal(shown(page), "Half");
  button(page, "Again").click();
  const again = await upstream.next();
  again.write("Whole");
  again.finish();
  await until(() => shown(page) === "Whole" && !page.container.querySelector("[role=alert]"));
  page.unmount();
});
