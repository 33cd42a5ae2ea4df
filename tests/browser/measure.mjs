// How quickly the chat page is there, and how much of it: `node tests/browser/measure.mjs` writes the table of docs/page.md.
// Sizes are those of the files that a browser asks for when it opens the page.

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { launchBrowser, startGateway, Upstream } from "./harness.mjs";

const PAGE = fileURLToPath(new URL("../../docs/page.md", import.meta.url));
const [BEGIN, END] = ["<!-- figures: begin -->", "<!-- figures: end -->"];
const TIMES = 9;
// A phone of the middle class on a mobile network, as Lighthouse takes one.
const SLOW = { offline: false, latency: 150, downloadThroughput: (1.6 * 1024 * 1024) / 8, uploadThroughput: (750 * 1024) / 8 };

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

async function opened(browser, url, { slow = false, warm = false } = {}) {
  const context = await browser.newContext({ viewport: slow ? { width: 360, height: 720 } : { width: 1280, height: 800 } });
  const page = await context.newPage();
  if (warm) await page.goto(url);
  if (slow) {
    const cdp = await context.newCDPSession(page);
    await cdp.send("Network.enable");
    await cdp.send("Network.emulateNetworkConditions", SLOW);
    await cdp.send("Emulation.setCPUThrottlingRate", { rate: 4 });
  }
  await page.goto(url);
  await page.locator("#model-button").waitFor();
  const seen = await page.evaluate(async () => {
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    const [navigation] = performance.getEntriesByType("navigation");
    const paint = performance.getEntriesByName("first-contentful-paint")[0].startTime;
    const shift = await new Promise((resolve) => {
      let sum = 0;
      new PerformanceObserver((list) => list.getEntries().forEach((one) => (sum += one.value))).observe({ type: "layout-shift", buffered: true });
      setTimeout(() => resolve(sum), 100);
    });
    return { paint, usable: navigation.domContentLoadedEventEnd, shift, files: performance.getEntriesByType("resource").map(({ name }) => name) };
  });
  await context.close();
  return seen;
}

async function runs(browser, url, options) {
  const all = [];
  for (let run = 0; run < TIMES; run++) all.push(await opened(browser, url, options));
  return all;
}

const upstream = await new Upstream().start();
const [gateway, browser] = await Promise.all([startGateway(upstream), launchBrowser()]);
try {
  const rows = [];
  for (const [words, options] of [
    ["a desktop, beside the gateway", {}],
    ["the same, opened again", { warm: true }],
    ["a phone, 1.6 Mbit/s, 150 ms away", { slow: true }],
  ]) {
    const all = await runs(browser, gateway.url, options);
    const ms = (name) => `${Math.round(median(all.map((one) => one[name])) / 10) * 10} ms`;
    rows.push(`| ${words} | ${ms("paint")} | ${ms("usable")} | ${median(all.map(({ shift }) => shift)).toFixed(2)} |`);
  }
  const { files } = await opened(browser, gateway.url);
  const assets = [gateway.url, ...new Set(files.filter((name) => new URL(name).pathname.startsWith("/assets/")))];
  let [raw, compressed] = [0, 0];
  for (const asset of assets) {
    const body = Buffer.from(await (await fetch(asset)).arrayBuffer());
    raw += body.length;
    compressed += gzipSync(body).length;
  }
  const kB = (bytes) => `${Math.round(bytes / 1000)} kB`;
  const table = [
    "| opened on | first paint | usable | layout shift |", "|---|---|---|---|", ...rows, "",
    `It is ${assets.length} files of ${kB(raw)}, or ${kB(compressed)} compressed, and a browser keeps them.`,
  ].join("\n");
  const page = readFileSync(PAGE, "utf8");
  if (!page.includes(BEGIN)) throw new Error(`${PAGE} has no place for it`);
  const [before, after] = [page.slice(0, page.indexOf(BEGIN) + BEGIN.length), page.slice(page.indexOf(END))];
  writeFileSync(PAGE, `${before}\n\n${table}\n\n${after}`);
  console.log(table);
} finally {
  await browser.close();
  await gateway.stop();
  upstream.stop();
}
