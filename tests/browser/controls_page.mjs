// A page of the chat with a gateway that knows prices and models, for tests of what stands around a conversation.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach } from "node:test";
import { launchBrowser, startGateway, Upstream, Wire } from "./harness.mjs";

const MODELS = [
  ...["gpt-5.1", "gpt-5.1-mini"].map((id) => ({ id, object: "model", owned_by: "openai" })),
  ...["claude-opus", "claude-haiku"].map((id) => ({ id, object: "model", owned_by: "anthropic" })),
  ...["a", "b", "c", "accounts/somebody/models/llama-405b-instruct"].map((id) => ({ id, object: "model", owned_by: "local" })),
];

export let upstream, gateway, wire, browser, context, page, directory;
let faults;

/** Start and stop them around the tests of a file; each test has a browser context of its own. */
export function withPage() {
  before(async () => {
    directory = mkdtempSync(join(tmpdir(), "everytoken-"));
    writeFileSync(join(directory, "everytoken.toml"), '[prices."gpt-5.1"]\ninput = 1.0\noutput = 2.0\n');
    [upstream, browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
    gateway = await startGateway(upstream, { options: ["--config", join(directory, "everytoken.toml")], environ: { EVERYTOKEN_ATTEMPTS: "3" } });
    wire = await new Wire(gateway.port).start();
  });

  after(async () => {
    await browser?.close();
    wire?.stop();
    await gateway?.stop();
    upstream?.stop();
    rmSync(directory, { recursive: true });
  });

  beforeEach(async () => {
    faults = [];
    upstream.models = MODELS;
    context = await browser.newContext();
    page = await open();
  });

  afterEach(async () => {
    wire.join();
    await context.close();
    assert.deepEqual(faults, []);
    assert.equal(upstream.untaken, 0);
  });
}

export async function open(url = wire.url) {
  const opened = await context.newPage();
  opened.setDefaultTimeout(10_000);
  opened.on("console", (message) => /Content Security Policy|Trusted/.test(message.text()) && faults.push(message.text()));
  opened.on("request", (request) => !/^(data:|http:\/\/127\.)/.test(request.url()) && faults.push(request.url()));
  await opened.goto(url);
  await opened.locator("#model-button").waitFor();
  return opened;
}

export async function ask(question, on = page) {
  await on.fill("#prompt", question);
  await on.press("#prompt", "Enter");
  return upstream.next();
}

export const outcome = (on = page) => on.waitForFunction(() => [...document.querySelectorAll(".assistant")].at(-1)?.dataset.outcome).then((h) => h.jsonValue());
export const model = (on = page) => on.locator("#model-button .name").innerText();
export const active = (on = page) => on.evaluate(() => document.activeElement.id);
export const figures = (on = page) => on.locator(".assistant:last-child .figures li").allInnerTexts();
export const open_ = (id, on = page) => on.locator(`#${id}[open]`);

/** A picture of one colour, as a file. */
export const picture = (width, height, on = page) =>
  on.evaluate(([width, height]) => {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.getContext("2d").fillRect(0, 0, width, height);
    return canvas.toDataURL("image/png").split(",")[1];
  }, [width, height]).then((base64) => Buffer.from(base64, "base64"));
