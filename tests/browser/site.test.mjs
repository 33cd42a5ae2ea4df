// The documentation as a site, from a web server and from the disk, with every other host out of reach.

import assert from "node:assert/strict";
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { launchBrowser } from "./harness.mjs";

const SITE = process.env.SITE;
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml", ".png": "image/png" };
// Pages with the widest tables, the longest lines of code, and pictures.
const PAGES = ["index", "docs/gateway", "docs/benchmarks", "docs/comparison", "docs/page"];

let server, browser, origin;

before(async () => {
  server = createServer((request, response) => {
    const path = join(SITE, decodeURIComponent(new URL(request.url, "http://site").pathname));
    if (!existsSync(path)) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" });
    createReadStream(path).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${server.address().port}`;
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  server?.close();
});

/** A page that reaches nothing but the site; `wrong` is what it asked for elsewhere, and what failed. */
async function opened(base, options) {
  const page = await browser.newPage(options);
  page.setDefaultTimeout(10_000);
  const wrong = [];
  await page.route(
    (url) => !url.href.startsWith(base) && !["data:", "blob:"].includes(url.protocol),
    (route) => {
      wrong.push(`asks for ${route.request().url()}`);
      return route.abort();
    },
  );
  page.on("requestfailed", (request) => {
    const { errorText } = request.failure(); // aborted: the test went to the next page before it was there
    if (errorText !== "net::ERR_ABORTED") wrong.push(`${errorText}: ${request.url()}`);
  });
  page.on("response", (response) => response.status() >= 400 && wrong.push(`${response.status()}: ${response.url()}`));
  page.on("pageerror", (error) => wrong.push(error.message));
  return [page, wrong];
}

describe("the search", () => {
  for (const [how, base] of [
    ["on a web server", () => origin],
    ["from the disk", () => `file://${SITE}`],
  ]) {
    test(`finds a header ${how}`, async () => {
      const [page, wrong] = await opened(base());
      await page.goto(`${base()}/index.html`);
      await page.waitForFunction(() => [...document.body.children].some((part) => part.shadowRoot)); // the search is there
      await page.keyboard.press("Control+k");
      await page.getByRole("combobox").fill("Idempotency-Key");
      await page.getByRole("option", { name: /the same answer/ }).first().click();
      await page.waitForURL(/docs\/clients\.html/);
      assert.deepEqual(wrong, []);
      await page.close();
    });
  }
});

test("nothing is wider than a phone, and no picture is missing", async () => {
  const [page, wrong] = await opened(origin, { viewport: { width: 360, height: 740 } });
  for (const name of PAGES) {
    await page.goto(`${origin}/${name}.html`);
    const [width, lost] = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      [...document.images].filter((image) => image.complete && !image.naturalWidth).map((image) => image.src),
    ]);
    assert.ok(width <= 360, `${name}: ${width} px`);
    assert.deepEqual(lost, [], name);
  }
  assert.deepEqual(wrong, []);
  await page.close();
});

test("it is light or dark as the system is", async () => {
  const [page, wrong] = await opened(origin, { colorScheme: "light" });
  await page.goto(`${origin}/index.html`);
  const brightness = () => page.evaluate(() => Number(/\d+/.exec(getComputedStyle(document.body).backgroundColor)[0]));
  assert.ok((await brightness()) > 128);
  await page.emulateMedia({ colorScheme: "dark" });
  await page.waitForFunction(() => Number(/\d+/.exec(getComputedStyle(document.body).backgroundColor)[0]) < 128);
  assert.deepEqual(wrong, []);
  await page.close();
});
