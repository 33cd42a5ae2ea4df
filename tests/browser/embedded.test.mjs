// The chat page and a page with `useStream`, in a browser as people have it, against the gateway with the model that comes
// with it. What a page shows is compared with what the journal has, byte for byte. Nothing here waits for a time: a page's
// ten or thirty seconds pass on its own clock.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { serve } from "../../js/test/page/serve.mjs";
import { journaled, lastMessage, openBrowser, startGateway, Wire } from "./harness.mjs";

const QUESTION = "Tell me a long story about a river.";
// Long enough to be interrupted, and the same answer every time.
const CONFIG = `
[[upstream]]
name = "embedded"
url = ""
prefill = "no"
extra = { max_tokens = 80, seed = 11 }
`;
const RELOADS = 10;
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));
const random = mulberry32(SEED);

let folder, gateway, direct, site, proxied, browser, context;
let answer; // to QUESTION, the first in a conversation
const faults = [];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "everytoken-embedded-"));
  writeFileSync(join(folder, "everytoken.toml"), CONFIG);
  [gateway, browser] = await Promise.all([start(), openBrowser()]);
  context = browser.context;
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await context.addInitScript(look);
  direct = await new Wire(gateway.port).start();
  site = await serve(() => gateway.url);
  proxied = await new Wire(site.address().port).start();
});

after(async () => {
  for (const wire of [direct, proxied]) wire?.stop();
  site?.closeAllConnections();
  site?.close();
  await gateway?.stop();
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

function start() {
  const options = ["--config", join(folder, "everytoken.toml")];
  return startGateway(null, { journal: `sqlite:///${join(folder, "journal.db")}`, options });
}

afterEach(async () => {
  await context.setOffline(false);
  for (const wire of [direct, proxied]) wire.join();
  // The browser would end with its last tab.
  const blank = await context.newPage();
  await Promise.all(context.pages().map((page) => page !== blank && page.close()));
  assert.deepEqual(faults.splice(0), []);
});

/** Runs in each page: what it shows of the last answer, without the cursor, and how that has ended. */
function look() {
  window.look = () => {
    const form = document.querySelector("form[data-state]"); // useStream
    const text = [...document.querySelectorAll(".text")].at(-1)?.textContent ?? "";
    return {
      text: text.replace("▊", "").replace(form ? "" : /\n$/, ""),
      outcome: form ? /completed|cancelled|interrupted|failed/.exec(form.dataset.state)?.[0] : [...document.querySelectorAll(".assistant")].at(-1)?.dataset.outcome,
    };
  };
}

const chatPage = {
  wire: () => direct,
  url: () => direct.url,
  prompt: "#prompt",
  cursor: ".assistant .cursor",
  stop: "#stop",
  stopped: "stopped",
  id: async (page) => (await lastMessage(page))?.stream,
  named: () => {}, // it may be left before
  /** The text the page had when it was left: it writes it down in that moment. */
  left: async (page) => (await lastMessage(page)).content,
  reconnecting: (page) => page.locator(".said", { hasText: /Reconnecting|cannot be reached/ }).waitFor(),
  /** All of the answer: as it is copied, and as it looks, which is as if it had come in one piece. */
  async whole(page) {
    await page.locator(".assistant .acts > .copy").last().click();
    await page.locator(".copy", { hasText: "Copied" }).waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    const [shown, fresh] = await page.evaluate(async (text) => {
      const { MarkdownView } = await import("/assets/markdown.js");
      const element = document.createElement("div");
      new MarkdownView(element).write(text, { final: true, cut: look().outcome !== "completed" });
      const shown = [...document.querySelectorAll(".text")].at(-1);
      return [shown, element].map((one) => (one.normalize(), one.innerHTML));
    }, copied);
    assert.equal(shown, fresh);
    return copied;
  },
};

/** It shows the text as it is. */
const reactPage = {
  wire: () => proxied,
  url: () => `${proxied.url}/`,
  prompt: "input",
  cursor: "[data-cursor]",
  stop: "button",
  stopped: "cancelled",
  id: (page) => new URL(page.url()).searchParams.get("stream"),
  named: (page) => page.waitForURL(/stream=/),
  left: null,
  reconnecting: (page) => page.locator("form[data-state=reconnecting]").waitFor(),
  whole: async (page) => (await page.evaluate(() => look())).text,
};

async function open(kind, { ownClock = false } = {}) {
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => faults.push(String(error)));
  if (ownClock) await page.clock.install();
  await page.goto(typeof kind === "string" ? kind : kind.url());
  return page;
}

async function ask(page, kind) {
  await page.locator(kind.prompt).fill("");
  await page.keyboard.type(QUESTION);
  await page.keyboard.press("Enter");
}

/** Wait until the last answer has so many characters; how it has ended, if it has. */
const grown = (page, length) =>
  page.waitForFunction((wanted) => look().text.length >= wanted || look().outcome, length).then(() => page.evaluate(() => look().outcome));

function assertSame(text, wanted) {
  assert.ok(Buffer.from(text).equals(Buffer.from(wanted)), `${JSON.stringify(text)} is not ${JSON.stringify(wanted)}`);
}

/** The model repeats its answer to the same request, so it is the same whatever has happened. */
function assertAnswer(text) {
  answer ??= text;
  assertSame(text, answer);
}

/** The answer ends, is what the journal has, and was asked for once. */
async function ends(page, kind, posts, wanted = "completed") {
  await page.bringToFront(); // who is not looked at does not draw
  const outcome = await page.waitForFunction(() => look().outcome);
  assert.equal(await outcome.jsonValue(), wanted);
  const { text, closed } = await journaled(gateway, await kind.id(page));
  assert.ok(closed);
  assertSame(await kind.whole(page), text);
  assert.equal(kind.wire().posts, posts);
  return text;
}

// The hook is tried with a scripted model, too; with this one in a soak.
const KINDS = Object.entries({ "the chat page": chatPage, ...(process.env.EVERYTOKEN_SOAK && { "a page with useStream": reactPage }) });

for (const [name, kind] of KINDS) {
  describe(name, () => {
    test("text grows behind a cursor; a second tab follows, and the one behind it misses nothing", async () => {
      const page = await open(kind);
      const posts = kind.wire().posts;
      await page.evaluate((cursor) => {
        window.seen = [];
        new MutationObserver(() => {
          const text = [...document.querySelectorAll(".text")].at(-1)?.textContent ?? "";
          if (text !== seen.at(-1)?.text) seen.push({ text, cursors: document.querySelectorAll(cursor).length });
        }).observe(document.body, { childList: true, subtree: true, characterData: true });
      }, kind.cursor);
      await ask(page, kind);
      await grown(page, 100);
      const seen = await page.evaluate(() => seen.filter(({ text }) => text !== "" && text !== "▊"));
      assert.ok(seen.length >= 5, `it was seen to grow ${seen.length} times`);
      for (const { text, cursors } of seen) {
        assert.equal(cursors, 1);
        assert.ok(text.trimEnd().endsWith("▊"), text);
      }
      const lengths = seen.map(({ text }) => text.length);
      assert.deepEqual(lengths, [...lengths].sort((a, b) => a - b));

      const second = await open(page.url());
      await grown(second, 120);
      assert.equal(await page.evaluate(() => document.visibilityState), "hidden");
      assertAnswer(await ends(second, kind, posts + 1));
      assertAnswer(await ends(page, kind, posts + 1));
      assert.equal(await page.locator(kind.cursor).count(), 0);
    });

    test("ten reloads at random moments lose nothing and double nothing", async (t) => {
      t.diagnostic(`SEED=${SEED}`);
      const page = await open(kind);
      let posts = kind.wire().posts;
      const moments = [];
      for (;;) {
        await ask(page, kind);
        posts++;
        await kind.named(page);
        for (let moment = 0; moments.length < RELOADS; ) {
          moment += Math.floor(random() * 50);
          if (await grown(page, moment)) break; // it has ended: another one
          const { text } = await page.evaluate(() => look());
          await page.reload();
          const had = kind.left ? await kind.left(page) : text;
          assert.ok(had.length >= text.length);
          const id = await kind.id(page);
          if (id) assertSame(had, (await journaled(gateway, id)).text.slice(0, had.length));
          else assert.equal(had, ""); // reloaded before the answer had a name
          moments.push(had.length);
          await grown(page, text.length); // all of it is back
          moment = Math.max(moment, text.length);
        }
        await ends(page, kind, posts);
        if (moments.length === RELOADS) break;
      }
      t.diagnostic(`reloaded behind ${moments.join(", ")} characters`);
    });

    test("the gateway is killed and started again while it streams, and nobody asks twice", async () => {
      const page = await open(kind);
      const posts = kind.wire().posts;
      await ask(page, kind);
      await grown(page, 20);
      await gateway.stop("SIGKILL");
      await kind.reconnecting(page);
      gateway = await start();
      direct.port = gateway.port;
      assertAnswer(await ends(page, kind, posts + 1));
    });

    test("Stop stops the model, and both tabs say so", async (t) => {
      const page = await open(kind);
      const posts = kind.wire().posts;
      await ask(page, kind);
      await grown(page, 20);
      const second = await open(page.url());
      await grown(second, 20);
      await second.evaluate((button) => {
        document.querySelector(button).addEventListener("click", () => (window.pressed = Date.now()), { capture: true });
      }, kind.stop);
      await second.click(kind.stop);
      await journaled(gateway, await kind.id(second), () => false); // to its end
      const took = Date.now() - (await second.evaluate(() => pressed));
      assert.equal((await (await fetch(`${gateway.url}/healthz`)).json()).responses, 0);
      t.diagnostic(`generation had ended ${took} ms after Stop`);
      const text = await ends(second, kind, posts + 1, kind.stopped);
      assert.equal(await ends(page, kind, posts + 1, kind.stopped), text);
    });
  });
}

// These come last: a clock of its own is not taken from a browser again.
for (const [name, kind] of KINDS) {
  describe(`${name}, on its own clock`, () => {
    test("ten seconds offline are a small sign, and then the text goes on", async () => {
      const page = await open(kind, { ownClock: true });
      const posts = kind.wire().posts;
      await ask(page, kind);
      await grown(page, 20);
      await context.setOffline(true);
      kind.wire().cut(); // what playwright calls offline leaves open connections open
      await kind.reconnecting(page);
      await page.clock.runFor(10_000);
      await kind.reconnecting(page);
      const { text } = await page.evaluate(() => look());
      assert.notEqual(text, "");
      // Meanwhile the answer goes on.
      await journaled(gateway, await kind.id(page), (so) => so.text.length > text.length + 40);
      kind.wire().join();
      await context.setOffline(false);
      assertAnswer(await ends(page, kind, posts + 1));
    });

    test("thirty seconds hidden ask for nothing", async () => {
      const page = await open(kind, { ownClock: true });
      const posts = kind.wire().posts;
      await ask(page, kind);
      await grown(page, 20);
      await open("about:blank"); // in front of it
      assert.equal(await page.evaluate(() => document.visibilityState), "hidden");
      await page.clock.runFor(30_000);
      await journaled(gateway, await kind.id(page), () => false); // to its end
      assert.equal(await page.evaluate(() => document.visibilityState), "hidden");
      assertAnswer(await ends(page, kind, posts + 1));
    });
  });
}

// A generator that a seed repeats.
function mulberry32(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
