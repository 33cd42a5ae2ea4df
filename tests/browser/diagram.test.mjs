// Diagrams on the chat page: drawn when asked for, in a frame that reaches nothing, and their source wherever that fails.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { beforeEach, test } from "node:test";
import { ask, chat } from "./chat_page.mjs";
import { context, outcome, page, wire } from "./one_page.mjs";

const FLOW = "graph LR\n  A[Begin] --> B{Is it?}\n  B -->|yes| C[Done]\n";
// One of each kind that the library has, and a word that the picture must show.
const KINDS = {
  flowchart: [FLOW, "Begin"],
  sequence: ["sequenceDiagram\n  Alice->>Bob: How are you?\n  Bob-->>Alice: Fine\n", "How are you?"],
  class: ["classDiagram\n  Animal <|-- Duck\n  Animal : +int age\n  class Duck {\n    +swim()\n  }\n", "Duck"],
  state: ["stateDiagram-v2\n  [*] --> Waiting\n  Waiting --> [*]\n", "Waiting"],
  "entities and relations": ["erDiagram\n  CUSTOMER ||--o{ ORDER : places\n", "CUSTOMER"],
  gantt: ["gantt\n  title Plan\n  dateFormat YYYY-MM-DD\n  section One\n  Build :a1, 2026-01-01, 30d\n", "Build"],
  pie: ['pie title Pets\n  "Dogs" : 3\n  "Cats" : 2\n', "Dogs"],
  git: ["gitGraph\n  commit\n  branch develop\n  commit\n  checkout main\n  merge develop\n", "develop"],
};

const asked = [];
const refused = [];

beforeEach(() => {
  asked.length = refused.length = 0;
  page.on("request", (request) => asked.push(request.url()));
  page.on("console", (message) => message.type() === "error" && refused.push(message.text()));
});

const fenced = (source) => `Look:\n\n\`\`\`mermaid\n${source}\`\`\`\n`;

async function answer(text) {
  (await ask("Draw it")).write(text).finish();
  assert.equal(await outcome(), "completed");
}

/** The frame of the only diagram, when its picture is there. */
async function drawn(on = page) {
  await on.locator(".diagram:not([aria-busy]) iframe").waitFor();
  const frame = on.frames().find((one) => one.url().endsWith("/diagram/index.html"));
  await frame.locator("svg").waitFor();
  return frame;
}

test("it is drawn when asked for, and only then is anything loaded for it", async () => {
  await answer(fenced(FLOW));
  assert.deepEqual(asked.filter((url) => /mermaid|diagram/.test(url)), []);
  assert.equal(await page.locator(".draw").getAttribute("aria-pressed"), "false");
  await page.click(".draw");
  const frame = await drawn();
  const said = await frame.locator("svg").textContent();
  for (const word of ["Begin", "Is it?", "yes", "Done"]) assert.ok(said.includes(word), word);
  assert.equal(await page.locator(".code pre").isVisible(), false);
  const [place, picture] = [await page.locator(".diagram iframe").boundingBox(), await frame.locator("svg").boundingBox()];
  assert.ok(Math.abs(place.height - picture.height) <= 1, "the frame is as high as the picture");
  assert.equal(await page.locator(".diagram iframe").getAttribute("title"), "Diagram: graph LR");
  await page.click(".draw");
  assert.equal(await page.locator("iframe").count(), 0);
  assert.equal(await page.locator(".code pre").innerText(), FLOW.trimEnd());
  assert.deepEqual(refused, []);
  assert.ok(asked.every((url) => url.startsWith(wire.url)));
});

test("every kind of diagram is drawn", async () => {
  await answer(Object.values(KINDS).map(([source]) => fenced(source)).join("\n"));
  for (const [at, [kind, [, word]]] of Object.entries(KINDS).entries()) {
    const button = page.locator(".draw").nth(at);
    await button.click();
    assert.ok((await (await drawn()).locator("svg").textContent()).includes(word), kind);
    await button.click();
  }
  assert.deepEqual(refused, []);
});

test("one that is being written has no button yet; after a reload it is drawn again when asked for", async () => {
  const call = await ask("Draw it");
  call.write(fenced(FLOW).slice(0, -4));
  await page.locator(".code", { hasText: "Done" }).waitFor();
  assert.equal(await page.locator(".draw").isVisible(), false);
  call.write("```\n").finish();
  assert.equal(await outcome(), "completed");
  await page.click(".draw");
  await drawn();
  await page.reload();
  await page.locator(".code pre").waitFor();
  assert.equal(await page.locator("iframe").count(), 0);
  await page.click(".draw");
  assert.ok((await (await drawn()).locator("svg").textContent()).includes("Begin"));
});

test("what cannot be drawn says why, and stays its source", async () => {
  await answer(fenced("graph LR\n  A[[[ --> nothing\n"));
  await page.click(".draw");
  assert.match(await page.locator(".diagram [role=alert]").innerText(), /^This diagram cannot be drawn: .*line 2/);
  assert.equal(await page.locator(".code pre").isVisible(), true);
  assert.equal(await page.locator(".draw").getAttribute("aria-pressed"), "false");
});

test("a gateway that is away costs the picture only", async () => {
  await answer(fenced(FLOW));
  await page.click(".draw"); // what draws is there
  await drawn();
  await page.click(".draw");
  await context.setOffline(true);
  await page.click(".draw");
  assert.match(await page.locator(".diagram [role=alert]").innerText(), /could not be loaded/);
  assert.equal(await page.locator(".code pre").isVisible(), true);
  await context.setOffline(false);
  await page.click(".draw");
  await drawn();
});

test("it has the colours of the theme, also when that changes", async () => {
  await answer(fenced(FLOW));
  await page.click(".draw");
  const ink = async () => (await drawn()).locator("svg .nodeLabel").first().evaluate((label) => getComputedStyle(label).color);
  const light = await ink();
  assert.equal(light, await page.locator(".code").evaluate((code) => getComputedStyle(code).color));
  await page.evaluate(() => (document.documentElement.dataset.theme = "dark"));
  await page.locator(".diagram:not([aria-busy]) iframe").waitFor();
  assert.notEqual(await ink(), light);
  assert.equal(await ink(), await page.locator(".code").evaluate((code) => getComputedStyle(code).color));
});

const hostile = (other) => `graph LR
  A["<img src='${other}' onerror='parent.hit = 1'>"] --> B["<script>parent.hit = 2</script>b"]
  B --> C["<a href='${other}'>leave</a>"]
  click A href "javascript:parent.hit = 3"
  click B href "${other}" _top
  click C call alert()
`;

test("a diagram reaches nothing: not the page, what it has stored, or another host", async (t) => {
  let calls = 0;
  const other = createServer((_, response) => response.end(void calls++)).listen(0, "127.0.0.1");
  await once(other, "listening");
  t.after(() => other.close());
  const address = `http://127.0.0.1:${other.address().port}/`;
  chat.refused = new RegExp(`${address}|Content Security Policy`);
  await answer(fenced(hostile(`${address}x.png`)));
  await page.click(".draw");
  await page.locator(".diagram:not([aria-busy])").waitFor();
  const frame = page.frames().find((one) => one.url().endsWith("/diagram/index.html"));
  assert.ok(frame, await page.locator(".diagram").innerText());
  assert.equal(await frame.evaluate(() => origin), "null");
  const reached = await frame.evaluate(async () => {
    const ways = {
      page: () => parent.document,
      address: () => top.location.href,
      storage: () => localStorage,
      database: () => indexedDB.open("x").onerror,
      gateway: () => fetch("/v1/models", { method: "POST" }),
      "another window": () => open("about:blank").name,
      "markup that runs": () => document.body.append(Object.assign(document.createElement("script"), { textContent: "self.hit = 1" })) ?? hit,
    };
    const found = [];
    for (const [name, way] of Object.entries(ways)) await Promise.resolve().then(way).then(() => found.push(name), () => {});
    return found;
  });
  assert.deepEqual(reached, []);
  for (const link of await frame.locator("svg a").all()) await link.click({ force: true, timeout: 1000 }).catch(() => {});
  assert.equal(page.url().startsWith(wire.url), true);
  // An image as a node is asked for by a script: refused, and so is the picture.
  await answer(fenced(`graph LR\n  D@{ img: "${address}y.png", label: "d", h: 60 } --> A\n`));
  await page.locator(".draw").last().click();
  await page.locator(".diagram [role=alert]", { hasText: "cannot be drawn" }).waitFor();
  assert.equal(await page.evaluate(() => window.hit), undefined);
  assert.equal(calls, 0);
});
