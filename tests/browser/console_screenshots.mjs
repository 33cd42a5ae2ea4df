// Pictures of the console for docs/operations.md: the real page and gateway, a day of made entries (tests/made_entries.py) and
// some real answers that run or were cut. `node tests/browser/console_screenshots.mjs [FOLDER]`.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { launchBrowser, startGateway, Upstream } from "./harness.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const SHOWN = ["overview", "responses", "response-dark", "overview-phone"]; // in the docs; all of them with a folder
const folder = process.argv[2] ?? here("../../docs/images/");
const ADMIN = "sk-admin-0123456789";
const WIDE = { viewport: { width: 1040, height: 860 } };
const TALL = { viewport: { width: 1040, height: 1150 } };
const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };

const upstream = await new Upstream().start();
const temporary = mkdtempSync(join(tmpdir(), "everytoken-pictures-"));
const journal = `sqlite:///${join(temporary, "journal.sqlite")}`;
const python = process.env.EVERYTOKEN ? join(dirname(process.env.EVERYTOKEN), "python") : "python";
execFileSync(python, [here("../made_entries.py"), journal, "12000", "86400"]);
const one = (name, models) => `[[upstream]]\nname = "${name}"\nurl = "${upstream.url}"\nmodels = ${models}\n`;
const config = join(temporary, "everytoken.toml");
writeFileSync(
  config,
  `admin_keys = ["${ADMIN}"]\nlog_content = true\n[prices.gpt-5]\ninput = 100.0\noutput = 1000.0\n` +
    `[prices.scripted]\ninput = 1000.0\noutput = 1000.0\n[prices.qwen-32b]\ninput = 1.0\noutput = 2.0\n[prices.llama-70b]\ninput = 1.0\noutput = 3.0\n` +
    one("openai", '["gpt-5"]') + one("vllm-1", '["qwen-32b", "llama-70b"]') + one("vllm-2", '["qwen-32b", "llama-70b"]'),
);
const gateway = await startGateway(null, { journal, options: ["--config", config], environ: { EVERYTOKEN_ATTEMPTS: "2" } });
const browser = await launchBrowser();
const post = (path, body, key) =>
  fetch(`${gateway.url}${path}`, { method: "POST", headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` }, body: JSON.stringify(body) });

async function makeKey(name, limits) {
  return (await (await post("/admin/keys", { name, limits }, ADMIN)).json()).secret;
}

const refused = (asking) =>
  new Promise((_, reject) => asking.then(async (answer) => answer.ok || reject(new Error(await answer.text()))));

async function begin(model, key) {
  const asking = post("/v1/chat/completions", { model, stream: true, max_tokens: 400, messages: [{ role: "user", content: "Explain transformers" }] }, key);
  const call = await Promise.race([upstream.next(), refused(asking)]);
  call.write("A transformer is ", "a neural network that reads a whole text at once.");
  const response = await asking;
  return { call, response, id: response.headers.get("location").split("/").at(-1) };
}

mkdirSync(folder, { recursive: true });
try {
  const app = await makeKey("chat-app", { usd_per_day: 1 });
  const research = await makeKey("research", { usd_per_month: 20 });
  await makeKey("ci", null);
  for (let number = 0; number < 8; number++) {
    const { call, response } = await begin("gpt-5", app);
    call.write(...Array.from({ length: 60 }, (_, word) => `word ${word} `)).finish();
    await response.text();
  }
  const cut = await begin("qwen-32b", research);
  await new Promise((resolve) => setTimeout(resolve, 700));
  cut.call.cut();
  const second = await upstream.next();
  await new Promise((resolve) => setTimeout(resolve, 300));
  second.write("A transformer is ", "a neural network that reads a whole text at once.", " Each word looks at every other one.");
  await new Promise((resolve) => setTimeout(resolve, 500));
  second.finish();
  await cut.response.text();
  const running = [];
  for (const model of ["gpt-5", "qwen-32b", "llama-70b", "qwen-32b"]) running.push(await begin(model, research));

  for (const [look, options] of Object.entries({ "": TALL, "-dark": { ...WIDE, colorScheme: "dark" }, "-phone": PHONE })) {
    const context = await browser.newContext({ reducedMotion: "reduce", ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    const wanted = (name) => process.argv[2] || SHOWN.includes(`${name}${look}`);
    const shot = async (name) => wanted(name) && page.screenshot({ path: join(folder, `console-${name}${look}.png`) });
    await page.goto(`${gateway.url}/console#/?range=24h`);
    await page.fill("#key-value", ADMIN);
    await page.keyboard.press("Enter");
    await page.locator(".uplot canvas").nth(4).waitFor();
    await page.locator('[aria-label="Running responses"] tbody tr').first().waitFor();
    if (look === "-phone") await page.locator("h1").click();
    else await page.locator(".u-over").first().hover({ position: { x: 180, y: 60 } });
    for (const { call } of running) call.write(" More", " words.");
    await page.waitForFunction(() => document.querySelectorAll(".tile dd")[2].textContent !== "–");
    await shot("overview");
    if (look === "") await page.locator(".columns").screenshot({ path: join(folder, "console-tables.png") });
    if (look === "") {
      await page.setViewportSize({ width: 1040, height: 700 });
      await page.goto(`${gateway.url}/console#/responses?outcome=interrupted`);
      await page.locator(".responses tbody tr").first().waitFor();
      await shot("responses");
    }
    if (look !== "-phone") {
      await page.goto(`${gateway.url}/console#/responses/${cut.id}`);
      await page.locator(".attempts li").nth(1).waitFor();
      await shot("response");
    }
    await context.close();
  }
  for (const { call } of running) call.finish();
} finally {
  await browser.close();
  await gateway.stop();
  upstream.stop();
  rmSync(temporary, { recursive: true });
}
