// The guide's React component, built by Vite (EXAMPLE=react-vite) or Next.js (EXAMPLE=nextjs), against the gateway.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launchBrowser, startGateway, Upstream } from "./harness.mjs";

const EXAMPLE = process.env.EXAMPLE;
const folder = new URL(`../../examples/${EXAMPLE}/`, import.meta.url);
const COMMANDS = {
  "react-vite": ["node_modules/vite/bin/vite.js", "preview", "--host", "127.0.0.1", "--port", "0"],
  nextjs: ["node_modules/next/dist/bin/next", "start", "--hostname", "127.0.0.1", "--port", "0"],
};

let upstream, gateway, app, browser, page, url;

before(async () => {
  [upstream, browser] = await Promise.all([new Upstream().start(), launchBrowser()]);
  gateway = await startGateway(upstream);
  if (EXAMPLE === "nextjs") await pointRewrites(gateway.url);
  [app, url] = await startApp();
  page = await browser.newPage();
  page.setDefaultTimeout(10_000);
  // How many times the component's decoder was given something.
  await page.addInitScript(() => {
    window.arrivals = 0;
    const { decode } = TextDecoder.prototype;
    TextDecoder.prototype.decode = function (...given) {
      window.arrivals++;
      return decode.apply(this, given);
    };
  });
  await page.goto(url);
  // A page from the server can be typed into before React has taken it over.
  await page.waitForFunction(() => Object.keys(document.querySelector("form") ?? {}).some((key) => key.startsWith("__reactProps")));
});

after(async () => {
  await browser?.close();
  if (app?.exitCode === null) {
    app.kill("SIGKILL");
    await once(app, "exit");
  }
  await gateway?.stop();
  upstream?.stop();
});

// Next.js fixes its rewrites when it builds; the gateway of a test has another port each time.
async function pointRewrites(gatewayUrl) {
  const manifest = new URL(".next/routes-manifest.json", folder);
  const text = await readFile(manifest, "utf8");
  await writeFile(manifest, text.replaceAll(/http:\/\/127\.0\.0\.1:\d+\/api/g, `${gatewayUrl}/api`));
}

async function startApp() {
  const child = spawn(process.execPath, COMMANDS[EXAMPLE], {
    cwd: fileURLToPath(folder),
    env: { ...process.env, EVERYTOKEN_URL: gateway.url, NEXT_TELEMETRY_DISABLED: "1", NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const said = [];
  for await (const line of createInterface({ input: child.stdout })) {
    said.push(line);
    const match = /http:\/\/127\.0\.0\.1:\d+/.exec(line);
    if (match) {
      child.stdout.resume();
      return [child, match[0]];
    }
  }
  throw new Error(`${EXAMPLE} did not start:\n${said.join("\n")}`);
}

const output = () => page.evaluate(() => document.querySelector("main > div").textContent.replace(/▊$/, ""));

async function ask(prompt) {
  await page.fill("[name=prompt]", prompt);
  await page.keyboard.press("Enter");
  return upstream.next();
}

test("text arrives as it is written, with emoji and Chinese whole, and the cursor goes", async () => {
  const call = await ask("Hello");
  assert.deepEqual(call.body.messages, [{ role: "user", content: "Hello" }]);
  await page.locator(".animate-pulse").waitFor();
  const piece = "你好，世界！👩‍👩‍👧 emoji 🌍 und Wörter ";
  for (let number = 1; number <= 15; number++) {
    call.write(piece);
    await page.waitForFunction((length) => document.querySelector("main > div").textContent.length > length, piece.length * (number - 1));
  }
  assert.ok((await page.evaluate(() => window.arrivals)) > 10);
  // 30 kB at once, more than one write of the gateway: no read may end inside a character either. (Far more than
  // 64 kB at once would be cut anywhere by the proxy between, which no server can prevent.)
  const long = "🌍你好 ".repeat(2700);
  call.write(long, "Ende.").finish();
  await page.locator(".animate-pulse").waitFor({ state: "detached" });
  const text = await output();
  assert.ok(!text.includes("\uFFFD"), `U+FFFD at ${text.indexOf("\uFFFD")}`);
  assert.equal(text, piece.repeat(15) + long + "Ende.");
});

test("an interrupted answer does not look like a whole one", async () => {
  const call = await ask("Again");
  call.write("The first half ");
  await page.waitForFunction(() => document.querySelector("main > div").textContent.includes("first half"));
  call.cut();
  await page.waitForFunction(() => /interrupted/i.test(document.querySelector("main").textContent));
  await page.locator(".animate-pulse").waitFor({ state: "detached" });
});
