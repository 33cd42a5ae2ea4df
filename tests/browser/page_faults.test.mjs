// The chat page when something is away, cut or forgotten, and with a second tab.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { lastMessage, startGateway, startHalf, Wire } from "./harness.mjs";
import { ask, gateway, open, outcome, page, shows, upstream, wire } from "./one_page.mjs";

test("an answer that the gateway no longer keeps is said so", async () => {
  const directory = mkdtempSync(join(tmpdir(), "everytoken-"));
  writeFileSync(join(directory, "everytoken.toml"), "max_journal = 1"); // room for what ended last
  const small = await startGateway(upstream, { options: ["--config", join(directory, "everytoken.toml")] });
  const near = await new Wire(small.port).start();
  try {
    const first = await open(near.url);
    const call = await ask("Hello", first);
    call.write("Before ");
    await shows("Before", first);
    const chat = first.url();
    const { stream: id } = await lastMessage(first);
    // A page that is being closed may still read and store what comes: nothing comes to this one.
    near.cut();
    await first.close();
    near.join();
    call.write("and after.").finish();
    const body = JSON.stringify({ messages: [{ role: "user", content: "Another" }] });
    const another = fetch(`${small.url}/v1/chat/completions`, { method: "POST", body });
    (await upstream.next()).write("One.").finish();
    assert.equal((await another).status, 200);
    // What is too much is removed after the answer has ended, and nobody is told when.
    for (const late = AbortSignal.timeout(10_000); ; late.throwIfAborted()) {
      if ((await fetch(`${small.url}/v1/stream/${id}`, { signal: late })).status === 410) break;
    }
    const again = await open(chat);
    assert.equal(await outcome(again), "interrupted");
    assert.match(await again.locator(".note").innerText(), / response of that age is no longer kept/);
  } finally {
    near.stop();
    await small.stop();
    rmSync(directory, { recursive: true });
  }
});

test("a list of models that breaks off in its middle is no list, and everything else works", async () => {
  // The head and half of the body come, and then the connection breaks.
  const half = await startHalf("/v1/models", gateway.port);
  try {
    const opened = await open(half.url);
    await half.broken;
    const call = await ask("Hello", opened);
    assert.equal(call.body.model, "default");
    call.write("Here.").finish();
    await shows("Here.", opened);
    assert.equal(await outcome(opened), "completed");
    assert.equal(await opened.locator("#model-label").isVisible(), false);
    await opened.close();
  } finally {
    half.stop();
  }
});

const NO_LISTS = ["no JSON", '{"data": [null]}', ...(process.env.EVERYTOKEN_SOAK ? ["null", '{"data": null}', '{"object": "list"}'] : [])];
for (const body of NO_LISTS) {
  test(`a list of models that is ${body} is no list`, async () => {
    await page.route("**/v1/models", (route) => route.fulfill({ contentType: "application/json", body }));
    const listed = page.waitForResponse("**/v1/models");
    await page.reload();
    await listed; // not `finished()`, which may never come of an answer that the test itself gives
    (await ask("Hello")).write("Here.").finish();
    await shows("Here.");
    assert.equal(await outcome(), "completed");
  });
}

test("a refusal that breaks off in its middle is a refusal", async () => {
  const half = await startHalf("/v1/chat/completions", gateway.port, 400);
  try {
    const opened = await open(half.url);
    await opened.keyboard.type("Hello");
    await opened.keyboard.press("Enter");
    assert.equal(await outcome(opened), "interrupted");
    assert.match(await opened.locator(".note").innerText(), /The server answered 400/);
    await opened.close();
  } finally {
    half.stop();
  }
});

test("a second tab follows", async () => {
  (await ask("First")).write("One.").finish();
  await outcome();
  const second = await open(page.url());
  await shows("One.", second);
  const call = await ask("Second");
  call.write("Two ");
  await shows("Two", second);
  call.finish();
  assert.equal(await outcome(second), "completed");
});

test("a lost connection is a small sign, and nothing is lost or doubled", async () => {
  const call = await ask("Hello");
  call.write("Before ");
  await shows("Before");
  wire.cut();
  await page.locator(".said", { hasText: "Reconnecting" }).waitFor();
  call.write("in ", "the ", "dark ");
  wire.join();
  await shows("Before in the dark");
  await page.locator(".said").waitFor({ state: "detached" });
  call.write("and after.").finish();
  await shows("Before in the dark and after.");
  assert.equal(await outcome(), "completed");
});

test("a server that is away is said so, and asked again only by hand", async () => {
  wire.cut();
  await page.keyboard.type("Hello");
  await page.keyboard.press("Enter");
  assert.equal(await outcome(), "interrupted");
  assert.match(await page.locator(".note").innerText(), /The server cannot be reached/);
  wire.join();
  await page.click("text=Try again");
  (await upstream.next()).write("Here.").finish();
  await shows("Here.");
  assert.equal(await outcome(), "completed");
});

test("an error of the gateway is shown in its words", async () => {
  await page.route("**/v1/chat/completions", (route) =>
    route.fulfill({ status: 400, json: { error: { message: "The prompt is too long.", code: "invalid-request" } } }),
  );
  await page.keyboard.type("Hello");
  await page.keyboard.press("Enter");
  assert.equal(await outcome(), "interrupted");
  assert.match(await page.locator(".note").innerText(), /The prompt is too long/);
});
