// `useChat` of each version of the AI SDK that is in use, against one `everytoken serve` on its defaults.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { startGateway, Upstream } from "../browser/harness.mjs";
import { mount } from "./hook.mjs";

const VERSIONS = { 5: ["ai5", "react5"], 6: ["ai6", "react6"], 7: ["ai", "@ai-sdk/react"] };
const PIECES = ["Streams ", "are ", "rivers."];

let upstream, gateway;
let chats = 0;
const pages = new Set();

before(async () => {
  upstream = await new Upstream().start();
  gateway = await startGateway(upstream);
});

after(async () => {
  await gateway?.stop();
  upstream?.stop();
});

afterEach(async () => {
  await Promise.all([...pages].map((page) => page.unmount()));
  pages.clear();
  assert.equal(upstream.untaken, 0); // no request to the model that the test did not expect
});

const textOf = (chat) =>
  (chat.messages.findLast((message) => message.role === "assistant")?.parts ?? [])
    .filter((part) => part.type === "text")
    .map((part) => part.text)
    .join("");

async function until(what) {
  const deadline = Date.now() + 5_000;
  while (!what()) {
    if (Date.now() > deadline) throw new Error(`this did not happen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

for (const [version, [core, hooks]] of Object.entries(VERSIONS)) {
  const { DefaultChatTransport } = await import(core);
  const { useChat } = await import(hooks);

  /** A page with this version's hook; `errors` and `ended` are what its callbacks were given. */
  async function open(id, more = {}) {
    const errors = [];
    const ended = [];
    const page = await mount(
      {
        id,
        transport: new DefaultChatTransport({ api: `${gateway.url}/api/chat`, body: { model: "scripted" } }),
        onError: (error) => errors.push(error),
        onFinish: (end) => ended.push(end),
        ...more,
      },
      useChat,
    );
    pages.add(page);
    return Object.assign(page, { errors, ended });
  }

  test(`version ${version} is what is installed`, async () => {
    const { default: about } = await import(`${core}/package.json`, { with: { type: "json" } });
    assert.equal(about.version.split(".")[0], version);
  });

  test(`version ${version}: an answer grows and ends ready`, async () => {
    const page = await open(`${version}-${++chats}`);
    void page.chat.sendMessage({ text: "Explain streams" });
    const call = await upstream.next();
    call.write(PIECES[0]);
    await until(() => textOf(page.chat) === PIECES[0]);
    call.write(...PIECES.slice(1));
    call.finish();
    await until(() => page.chat.status === "ready");
    assert.equal(textOf(page.chat), PIECES.join(""));
    assert.deepEqual(page.errors, []);
    assert.equal(page.ended.length, 1);
  });

  test(`version ${version}: Stop leaves the text, and no error, in every tab`, async () => {
    const id = `${version}-${++chats}`;
    const first = await open(id);
    void first.chat.sendMessage({ text: "Explain streams" });
    const call = await upstream.next();
    call.write(...PIECES.slice(0, 2));
    await until(() => textOf(first.chat) === "Streams are ");
    const second = await open(id, { messages: structuredClone(first.chat.messages), resume: true });
    await until(() => second.chat.status === "streaming");
    assert.equal((await fetch(`${gateway.url}/api/chat/${id}/stop`, { method: "POST" })).status, 204);
    await call.closed;
    for (const page of [first, second]) {
      await until(() => page.chat.status === "ready" || page.chat.status === "error");
      assert.equal(page.chat.error, undefined);
      assert.deepEqual(page.errors, []);
      assert.equal(page.chat.status, "ready");
      assert.equal(textOf(page.chat), "Streams are ");
    }
    // And the page can go on.
    void first.chat.sendMessage({ text: "Again" });
    const next = await upstream.next();
    next.write("Yes.");
    next.finish();
    await until(() => first.chat.status === "ready" && textOf(first.chat) === "Yes.");
    assert.deepEqual(first.errors, []);
  });

  test(`version ${version}: an upstream that is cut is one error with its reason, and the text is kept`, async () => {
    const page = await open(`${version}-${++chats}`);
    void page.chat.sendMessage({ text: "Explain streams" });
    const call = await upstream.next();
    call.write(PIECES[0]);
    await until(() => textOf(page.chat) === PIECES[0]);
    call.cut();
    await until(() => page.chat.status === "error");
    assert.equal(page.errors.length, 1);
    assert.doesNotMatch(page.chat.error.message, /validation/i);
    assert.equal(textOf(page.chat), PIECES[0]);
  });

  test(`version ${version}: reasoning and a tool call are parts that it knows`, async () => {
    const calls = [];
    const page = await open(`${version}-${++chats}`, { onToolCall: ({ toolCall }) => calls.push(toolCall.input) });
    void page.chat.sendMessage({ text: "How warm is it?" });
    const call = await upstream.next();
    call.reason("Hm.");
    const chunk = (delta, finish_reason = null) => {
      const body = { object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason }] };
      call.response.write(`data: ${JSON.stringify(body)}\n\n`);
    };
    const named = { index: 0, id: "call_w", type: "function", function: { name: "weather", arguments: "" } };
    chunk({ tool_calls: [named] });
    chunk({ tool_calls: [{ index: 0, function: { arguments: '{"city": "Bern"}' } }] });
    call.finish("tool_calls");
    await until(() => page.chat.status === "ready");
    assert.deepEqual(calls, [{ city: "Bern" }]);
    assert.deepEqual(page.errors, []);
  });

  test(`version ${version}: a reload goes on by itself`, async () => {
    const id = `${version}-${++chats}`;
    const page = await open(id);
    void page.chat.sendMessage({ text: "Explain streams" });
    const call = await upstream.next();
    call.write(PIECES[0]);
    await until(() => textOf(page.chat) === PIECES[0]);
    const messages = structuredClone(page.chat.messages);
    await page.unmount();
    pages.delete(page);
    const again = await open(id, { messages, resume: true });
    await until(() => again.chat.status === "streaming");
    call.write(...PIECES.slice(1));
    call.finish();
    await until(() => again.chat.status === "ready");
    assert.equal(textOf(again.chat), PIECES.join(""));
    assert.equal(again.chat.messages.length, 2);
    assert.deepEqual(again.errors, []);
  });
}
