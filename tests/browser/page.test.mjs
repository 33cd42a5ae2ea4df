import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { Call, lastMessage, launchBrowser, startGateway, startHalf, Upstream, Wire } from "./harness.mjs";

let upstream, gateway, wire, browser, context, page, faults;

before(async () => {
  [upstream, browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
  gateway = await startGateway(upstream);
  wire = await new Wire(gateway.port).start();
  context = await browser.newContext();
});

after(async () => {
  await browser?.close();
  wire?.stop();
  await gateway?.stop();
  upstream?.stop();
});

beforeEach(async () => {
  faults = [];
  page = await open();
});

afterEach(async () => {
  wire.join();
  await Promise.all(context.pages().map((opened) => opened.close()));
  assert.deepEqual(faults, []); // no refused script, nothing from another host
  assert.equal(upstream.untaken, 0); // and no request to the model that the test did not expect
});

async function open(url = wire.url) {
  const opened = await context.newPage();
  opened.setDefaultTimeout(10_000);
  opened.on("console", (message) => {
    if (/Content Security Policy|Trusted/.test(message.text())) faults.push(message.text());
  });
  opened.on("request", (request) => {
    if (!request.url().startsWith(new URL(url).origin)) faults.push(request.url());
  });
  await opened.goto(url);
  return opened;
}

async function ask(question, on = page) {
  await on.keyboard.type(question);
  await on.keyboard.press("Enter");
  return upstream.next();
}

// The last answer as it stands on the screen, without its cursor.
function shown(on = page) {
  return on.evaluate(() => {
    const text = [...document.querySelectorAll(".assistant .text")].at(-1);
    const copy = text.cloneNode(true);
    copy.querySelectorAll(".cursor").forEach((cursor) => cursor.remove());
    return copy.textContent.trimEnd();
  });
}

async function shows(text, on = page) {
  await on.waitForFunction((wanted) => {
    const place = [...document.querySelectorAll(".assistant .text")].at(-1);
    return place?.textContent.replace("▊", "").trimEnd() === wanted;
  }, text).catch(async (error) => assert.equal(await shown(on), text, error.message));
}

const outcome = (on = page) =>
  on.waitForFunction(() => [...document.querySelectorAll(".assistant")].at(-1)?.dataset.outcome).then((h) => h.jsonValue());

test("text grows behind a blinking cursor, which is gone at the end", async () => {
  const call = await ask("Hello");
  assert.deepEqual(call.body.messages, [{ role: "user", content: "Hello" }]);
  const cursor = page.locator(".cursor");
  await cursor.waitFor();
  assert.equal(await cursor.textContent(), "▊");
  assert.equal(await cursor.evaluate((element) => getComputedStyle(element).animationName), "blink");
  for (const [text, sofar] of [["One ", "One "], ["two ", "One two "], ["three. ", "One two three. "]]) {
    call.write(text);
    await shows(sofar.trimEnd());
    assert.equal(await page.locator(".assistant .text p .cursor").count(), 1);
  }
  call.finish();
  assert.equal(await outcome(), "completed");
  assert.equal(await cursor.count(), 0);
});

test("the cursor stands still for who wants less motion", async () => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  const call = await ask("Hello");
  const name = await page.locator(".cursor").evaluate((element) => getComputedStyle(element).animationName);
  assert.equal(name, "none");
  call.finish();
  await outcome();
});

test("the next question carries the conversation", async () => {
  (await ask("First")).write("Answer.").finish();
  await outcome();
  const call = await ask("Second");
  assert.deepEqual(call.body.messages.map(({ role, content }) => [role, content]), [
    ["user", "First"],
    ["assistant", "Answer."],
    ["user", "Second"],
  ]);
  call.finish();
  await page.waitForFunction(() => !document.querySelector("[aria-busy]"));
});

test("Escape stops the generation upstream, and the page says so", async () => {
  const call = await ask("Hello");
  call.write("Some text ");
  await shows("Some text");
  await page.keyboard.press("Escape");
  await call.closed;
  assert.equal(await outcome(), "stopped");
  assert.match(await page.locator(".note").innerText(), /^Stopped/);
  assert.equal(await page.locator(".cursor").count(), 0);
  assert.equal(await shown(), "Some text");
});

test("Stop works before the first token", async () => {
  const call = await ask("Hello");
  await page.keyboard.press("Escape");
  await call.closed;
  assert.equal(await outcome(), "stopped");
  assert.equal(await shown(), "");
  await page.locator("text=Try again").waitFor();
});

test("the Stop button stops in every tab", async (t) => {
  const call = await ask("Hello");
  call.write("Some text ");
  await shows("Some text");
  const second = await open(page.url());
  await shows("Some text", second);
  await second.evaluate(() => document.querySelector("#stop").addEventListener("click", () => (window.pressed = Date.now()), { capture: true }));
  const closed = call.closed.then(() => Date.now());
  await second.click("#stop");
  const took = (await closed) - (await second.evaluate(() => window.pressed));
  t.diagnostic(`the model's connection was closed ${took} ms after Stop`);
  assert.ok(took < 5000); // the promise is one second, on a machine that has nothing else to do
  assert.equal(await outcome(), "stopped");
  assert.equal(await outcome(second), "stopped");
});

test("everything works with the keyboard alone", async () => {
  assert.equal(await page.evaluate(() => document.activeElement.id), "prompt");
  await page.keyboard.type("Line one");
  await page.keyboard.press("Shift+Enter");
  const call = await ask("line two");
  assert.equal(call.body.messages[0].content, "Line one\nline two");
  call.write("Text ");
  await shows("Text");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "stop");
  await page.keyboard.press("Enter");
  await call.closed;
  assert.equal(await outcome(), "stopped");
  assert.equal(await page.evaluate(() => document.activeElement.id), "prompt"); // the focus is never lost
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Shift+Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Continue");
  await page.keyboard.press("Enter");
  (await upstream.next()).write("more.").finish();
  assert.equal(await outcome(), "completed");
  assert.equal(await page.evaluate(() => document.activeElement.id), "prompt");
});

test("a screen reader hears the answer once, at its end", async () => {
  await page.evaluate(() => {
    window.heard = [];
    const live = [...document.querySelectorAll("[aria-live]")];
    new MutationObserver(() => window.heard.push(live[0].textContent)).observe(live[0], { childList: true });
    window.live = live.length;
  });
  const call = await ask("Hello");
  call.write("One **two** ");
  await shows("One two");
  assert.equal(await page.locator(".assistant").getAttribute("aria-busy"), "true");
  assert.deepEqual(await page.evaluate(() => [window.live, window.heard]), [1, []]);
  call.write("three.").finish();
  await outcome();
  assert.equal(await page.locator(".assistant").getAttribute("aria-busy"), null);
  assert.deepEqual(await page.evaluate(() => window.heard), ["One two three."]);
});

test("a cut answer is interrupted, never done, and can be gone on with", async () => {
  const call = await ask("Hello");
  call.write("The first ");
  await shows("The first");
  call.cut();
  assert.equal(await outcome(), "interrupted");
  assert.match(await page.locator(".note").innerText(), /^Interrupted/);
  assert.equal(await shown(), "The first");
  await page.click("text=Continue");
  const rest = await upstream.next();
  assert.deepEqual(rest.body.messages.at(-1), { role: "assistant", content: "The first " });
  rest.write("and the rest.").finish();
  await shows("The first and the rest.");
  assert.equal(await outcome(), "completed");
  assert.equal(await page.locator(".assistant").count(), 1);
});

test("a reload in the middle shows the whole text and goes on", async () => {
  const call = await ask("Hello");
  call.write("Before ");
  await shows("Before");
  await page.reload();
  await shows("Before");
  call.write("and after.").finish();
  await shows("Before and after.");
  assert.equal(await outcome(), "completed");
  assert.equal(await page.locator(".user").innerText(), "Hello");
});

test("a question is asked once, also when the page is left before its answer has a name", async () => {
  const release = upstream.hold();
  await page.keyboard.type("Hello");
  await page.keyboard.press("Enter");
  await page.waitForFunction(async () => {
    const { read } = await import("/assets/store.js");
    const record = await read(location.hash.slice(1));
    return Object.values(record?.nodes ?? {}).some(({ content }) => content === "Hello");
  });
  const second = await open(page.url());
  await page.reload();
  await page.locator(".assistant .cursor").waitFor();
  release();
  const call = await upstream.next();
  call.write("Here ");
  await shows("Here");
  await shows("Here", second);
  call.write("it is.").finish();
  await shows("Here it is.");
  assert.equal(await outcome(), "completed");
  assert.equal(await outcome(second), "completed");
});

test("a question whose connection breaks is sent again, as the same one", async () => {
  const release = upstream.hold();
  const posts = wire.posts;
  await page.keyboard.type("Hello");
  await page.keyboard.press("Enter");
  while (wire.posts === posts) await new Promise((resolve) => setImmediate(resolve));
  wire.cut();
  await page.locator(".said", { hasText: "Reconnecting" }).waitFor();
  wire.join();
  release();
  (await upstream.next()).write("Here.").finish();
  await shows("Here.");
  assert.equal(await outcome(), "completed");
  assert.equal(wire.posts, posts + 2); // and the model has one request
});

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

test("the view follows the text only while the reader is at its end", async () => {
  const lines = Array.from({ length: 80 }, (_, line) => `Line ${line}\n\n`);
  const call = await ask("Hello");
  call.write(...lines);
  await page.locator("text=Line 79").waitFor();
  const rest = () => page.evaluate(() => {
    const main = document.querySelector("main");
    return Math.round(main.scrollHeight - main.clientHeight - main.scrollTop);
  });
  assert.ok((await rest()) <= 1);
  await page.locator("main").hover();
  await page.mouse.wheel(0, -600);
  await page.locator("#latest").waitFor();
  const before = await rest();
  call.write("One more.\n\n", "And the last.");
  await page.locator("text=And the last.").waitFor({ state: "attached" });
  assert.ok((await rest()) > before);
  await page.click("#latest");
  assert.ok((await rest()) <= 1);
  call.finish();
  assert.equal(await outcome(), "completed");
});

test("reasoning is there for who wants it, and is not the answer", async () => {
  const call = await ask("Hello");
  call.reason("Let me think.").write("Forty-two.").finish();
  assert.equal(await outcome(), "completed");
  assert.equal(await shown(), "Forty-two.");
  assert.equal(await page.locator(".thinking").getAttribute("open"), null);
  await page.click("summary");
  assert.equal(await page.locator(".thinking div").innerText(), "Let me think.");
});

const TONGUES = [
  "Family 👨‍👩‍👧‍👦, flags 🇩🇪🇯🇵, a wave 👋🏽 and keys 1️⃣.",
  "中文没有空格，但是每个字都要完整。",
  "ภาษาไทยไม่มีช่องว่างระหว่างคำ และมีวรรณยุกต์",
  "العربية تُكتب من اليمين إلى اليسار، مع 123 رقمًا.",
  "עברית נכתבת מימין לשמאל (וגם 😀).",
  "हिन्दी, é as e + ́, and a line of Latin again.",
];

test("emoji, Chinese, Thai and right-to-left text come whole, however they are cut", async () => {
  const text = TONGUES.join("\n\n");
  const call = await ask("Hello");
  await page.evaluate(() => {
    window.broken = [];
    const place = [...document.querySelectorAll(".text")].at(-1);
    const look = () => /\uFFFD|[\uD800-\uDBFF](?![\uDC00-\uDFFF])/.test(place.textContent) && window.broken.push(place.textContent);
    new MutationObserver(look).observe(place, { childList: true, subtree: true, characterData: true });
  });
  // One code point in each chunk, and every third chunk in two reads, cut within a character.
  for (const [number, character] of [...text].entries()) {
    const bytes = Call.chunk({ content: character });
    const cut = number % 3 === 0 ? bytes.indexOf(Buffer.from(character)) + 1 : bytes.length;
    call.raw(bytes.subarray(0, cut));
    if (cut < bytes.length) {
      await new Promise((resolve) => call.response.write("", resolve)); // it is on its way by itself
      call.raw(bytes.subarray(cut));
    }
  }
  call.finish();
  assert.equal(await outcome(), "completed");
  assert.deepEqual(await page.locator(".assistant .text p").allTextContents(), TONGUES);
  assert.deepEqual(await page.evaluate(() => window.broken), []);
  // Each paragraph has its own direction.
  const directions = await page.locator(".assistant .text p").evaluateAll((all) => all.map((one) => getComputedStyle(one).direction));
  assert.deepEqual(directions, ["ltr", "ltr", "ltr", "rtl", "rtl", "ltr"]);
  await page.reload();
  assert.equal(await outcome(), "completed");
  assert.deepEqual(await page.locator(".assistant .text p").allTextContents(), TONGUES);
});

test("Markdown is text: no HTML, no script link, no image", async () => {
  const call = await ask("Hello");
  call.write("<img src=x onerror=alert(1)> [a](javascript:alert(1)) ![b](http://192.0.2.1/x.png) <b>c</b>").finish();
  await outcome();
  const names = await page.evaluate(() => [...document.querySelectorAll(".text .part *")].map((e) => e.localName));
  assert.deepEqual(names, ["p", "span", "a"]);
  assert.match(await shown(), /^<img src=x onerror=alert\(1\)> a b <b>c<\/b>$/);
});
