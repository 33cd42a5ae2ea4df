// Pictures of the chat page, from the real page and gateway in a real browser; the words come from here, so that each moment
// is the same every time. `node tests/browser/screenshots.mjs FOLDER` takes every state in every look; without a folder, those
// that docs/page.md shows are taken anew. Emoji, Chinese and Thai need their fonts (Debian: fonts-noto-core, -cjk, -color-emoji).

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { conversation, store } from "./chat_page.mjs";
import { launchBrowser, startGateway, Upstream, Wire } from "./harness.mjs";

const SHOWN = [
  ...["reconnecting", "stopped", "interrupted", "languages", "text", "text-dark", "diagram", "key", "completed-dark", "streaming-phone"],
  ...["history-wide", "versions", "too-long", "list-phone"],
  ...["figures", "image", "settings", "models-phone", "shortcuts-dark"],
];
const folder = process.argv[2] ?? fileURLToPath(new URL("../../docs/images/", import.meta.url));
const wanted = (picture) => process.argv[2] || SHOWN.includes(picture);
const WIDE = { width: 900, height: 660 };
const PHONE = { width: 390, height: 720 };
const WIDEST = { width: 1280, height: 720 };

const QUESTION = "Explain transformers";
const ANSWER = [
  "A **transformer** is a neural network that reads a whole text at once. Each word looks at every other one, and decides how much it matters: this is called ",
  "*attention*.\n\n1. Words become vectors.\n2. Layers of attention mix them.\n3. The last layer says which word is ",
  "likely to come next.\n\n```py\nscores = query @ key.T / sqrt(d)\nweights = softmax(scores)\n```\n\nThe word that is chosen is appended, and everything begins again.",
];
const TONGUES = [
  "Family 👨‍👩‍👧‍👦, flags 🇩🇪🇯🇵, a wave 👋🏽.\n\n",
  "中文没有空格，但是每个字都要完整。\n\n",
  "ภาษาไทยไม่มีช่องว่างระหว่างคำ\n\n",
  "العربية تُكتب من اليمين إلى اليسار، مع 123 رقمًا.\n\n- أولاً\n- ثانيًا\n\n",
  "עברית נכתבת מימין לשמאל (וגם 😀).\n\n",
  "And a line of Latin again.",
];

const TEXT = [
  "<think>They want **Gauss**. The square is easier than $I$ itself.</think>\n\nThe integral is $\\sqrt{\\pi}$, because its square can be read in polar coordinates[^1]:\n\n",
  "\\[\n\\left(\\int_{-\\infty}^{\\infty} e^{-x^2}\\,dx\\right)^2 = \\int_0^{2\\pi}\\!\\!\\int_0^{\\infty} e^{-r^2} r\\,dr\\,d\\theta = \\pi\n\\]\n\n",
  '```py\nfrom math import exp, pi, sqrt\n\ndef integral(steps: int) -> float:\n    """The sum of many\n    thin rectangles."""\n    width = 20 / steps  # from -10 to 10\n    return width * sum(exp(-((i * width - 10) ** 2)) for i in range(steps))\n```\n\n',
  "| steps | result | error |\n|--:|:-:|--:|\n| 10 | 2.0007 | $2 \\cdot 10^{-1}$ |\n| 100 | **1.7725** | $10^{-15}$ |\n\n- [x] Formula\n- [ ] Proof\n\n[^1]: By Poisson; see *Laplace* for more.",
];

const DIAGRAM =
  "A request goes like this:\n\n```mermaid\ngraph LR\n  A[Client] --> B{Is it stored?}\n  B -->|yes| C[Resume]\n  B -->|no| D[(Upstream)]\n  D --> E[Answer]\n  C --> E\n```\n\nThe upstream is asked only for what is not there yet.";

const CHATS = ["Plan a weekend in Lisbon", "Why is the sky blue?", "A regular expression for dates", "Explain the borrow checker", "متى تأسست بغداد؟", "Rewrite this letter", "Fibonacci in Rust"];

async function history(at) {
  await store(CHATS.map((title, index) => conversation(`c${index}`, [[title, "…"]], { updated: Date.now() - (index + 1) ** 2 * 7_200_000 })), at.page);
  await at.page.reload();
  await at.write(...ANSWER);
  at.call.finish();
  await at.ended();
  await at.page.locator("#chats li:has([aria-current])", { hasText: QUESTION }).waitFor({ state: "attached" });
}

/** Each takes a page to a state. */
const STATES = {
  idle: () => {},
  streaming: (at) => at.write(ANSWER[0], ANSWER[1]),
  reconnecting: async (at) => {
    await at.write(ANSWER[0], ANSWER[1]);
    at.wire.cut();
    await at.page.locator(".said", { hasText: "Reconnecting" }).waitFor();
  },
  away: async (at) => {
    await at.write(ANSWER[0], ANSWER[1]);
    at.wire.cut();
    await at.page.locator(".said", { hasText: "cannot be reached" }).waitFor();
  },
  stopped: async (at) => {
    await at.write(ANSWER[0], ANSWER[1]);
    await at.page.click("#stop");
    await at.ended();
  },
  interrupted: async (at) => {
    await at.write(ANSWER[0], ANSWER[1]);
    at.call.cut();
    await at.ended();
  },
  completed: async (at) => {
    await at.write(...ANSWER);
    at.call.finish();
    await at.ended();
  },
  text: async (at) => {
    await at.page.setViewportSize({ width: 900, height: 960 });
    await at.write(...TEXT);
    at.call.finish();
    await at.ended();
    await at.page.locator(".katex").nth(2).waitFor();
    await at.page.locator(".of-keyword").first().waitFor();
    await at.page.click("summary");
    await at.page.locator(".thoughts .katex").waitFor();
    await at.page.evaluate(() => document.fonts.ready);
    await at.page.evaluate(() => (document.querySelector("#scroller").scrollTop = 0));
  },
  diagram: async (at) => {
    await at.write(DIAGRAM);
    at.call.finish();
    await at.ended();
    await at.page.click(".draw");
    await at.page.locator(".diagram:not([aria-busy]) iframe").waitFor();
  },
  languages: async (at) => {
    await at.write(...TONGUES);
    at.call.finish();
    await at.ended();
  },
  history,
  list: async (at) => {
    await history(at);
    if (await at.page.locator("#sidebar").isHidden()) await at.page.click("#sidebar-toggle");
  },
  versions: async (at) => {
    await at.write("A **transformer** is a neural network that reads a whole text at once.");
    at.call.finish();
    await at.ended();
    await at.page.locator("[data-act=again]").click();
    at.call = await upstream.next();
    at.call.write("It is a network in which each word looks at every other one, and decides how much it matters. This is called *attention*.");
    at.call.finish();
    await at.page.locator(".assistant[data-outcome]", { hasText: "attention" }).waitFor();
    await at.page.locator(".question").hover();
  },
  "too-long": async (at) => {
    await at.write(ANSWER[0], "*attention*.");
    at.call.finish();
    await at.ended();
    const message = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9105 tokens.";
    upstream.refuse(400, { error: { message, code: "context_length_exceeded" } });
    await at.page.fill("#prompt", "Summarise the whole book that I have pasted here: …");
    await at.page.keyboard.press("Enter");
    await at.page.locator(".said", { hasText: "Too long" }).waitFor();
  },
  key: (at) => at.page.locator("#key-form").waitFor(),
  figures: async (at) => {
    await at.write(ANSWER[0], ANSWER[1]);
    at.wire.cut();
    await at.page.locator(".said", { hasText: "Reconnecting" }).waitFor();
    at.wire.join();
    await at.page.locator(".said").waitFor({ state: "detached" });
    at.call.write(ANSWER[2], ANSWER[3]).usage({ prompt_tokens: 412, completion_tokens: 96, total_tokens: 508 });
    await at.ended();
    await at.page.locator(".figures li", { hasText: "$" }).waitFor();
    await at.page.click(".recovery summary");
  },
  image: async (at) => {
    await at.attach();
    await at.write("A vertical bar in a warm orange, ", "on a pale ground: the mark of this page. Its edges are straight, and nothing is written in it.");
    at.call.usage({ prompt_tokens: 1204, completion_tokens: 31, total_tokens: 1235 });
    await at.ended();
    await at.attach();
    await at.page.fill("#prompt", "And this one?");
  },
  refused: async (at) => {
    await at.attach();
    upstream.refuse(400, { error: { message: "This model does not support image input.", type: "invalid_request_error" } });
    await at.page.fill("#prompt", "What is this?");
    await at.page.press("#prompt", "Enter");
    await at.page.locator("#attachment-problem:not(:empty)").waitFor();
  },
  settings: async (at) => {
    await at.page.click("#settings");
    await at.page.fill("#setting-system", "Answer in short sentences, for somebody who is new to this.");
    await at.page.fill("#setting-temperature", "0.3");
    await at.page.fill("#setting-max_tokens", "many");
  },
  models: async (at) => {
    await at.page.click("#model-button");
    await at.page.locator("#model-list [role=option]").first().waitFor();
  },
  shortcuts: async (at) => {
    await at.page.keyboard.press("Control+/");
    await at.page.locator("#shortcuts[open]").waitFor();
  },
};

const LOOKS = {
  "": { viewport: WIDE },
  "-dark": { viewport: WIDE, colorScheme: "dark" },
  "-wide": { viewport: WIDEST },
  "-wide-dark": { viewport: WIDEST, colorScheme: "dark" },
  "-large": { viewport: { width: 1600, height: 900 } },
  "-narrow-dark": { viewport: { width: 360, height: 720 }, hasTouch: true, isMobile: true, colorScheme: "dark" },
  "-phone": { viewport: PHONE, hasTouch: true, isMobile: true, deviceScaleFactor: 1.5 },
};

const upstream = await new Upstream().start();
const temporary = mkdtempSync(join(tmpdir(), "everytoken-pictures-"));
const config = join(temporary, "keys.toml");
writeFileSync(config, 'api_keys = ["sk-0123456789abcdef"]');
const prices = join(temporary, "prices.toml");
writeFileSync(prices, '[prices.scripted]\ninput = 0.6\noutput = 1.2');
upstream.models = [
  ...["llama-3.3-70b-instruct", "qwen3-32b", "qwen3-coder-30b-a3b"].map((id) => ({ id, owned_by: "our servers" })),
  ...["mistral-large", "mistral-small", "codestral"].map((id) => ({ id, owned_by: "mistral" })),
  ...["accounts/team/models/support-2026-11", "accounts/team/models/support-2026-04"].map((id) => ({ id, owned_by: "team" })),
];
const [open, closed, browser] = await Promise.all([
  startGateway(upstream, { options: ["--config", prices] }),
  startGateway(upstream, { options: ["--config", config] }),
  launchBrowser(),
]);
mkdirSync(folder, { recursive: true });
try {
  for (const [look, options] of Object.entries(LOOKS)) {
    for (const [state, reach] of Object.entries(STATES)) {
      if (!wanted(`${state}${look}`)) continue;
      const wire = await new Wire((state === "key" ? closed : open).port).start();
      const context = await browser.newContext({ reducedMotion: "reduce", ...options });
      const page = await context.newPage();
      const at = {
        page,
        wire,
        call: null,
        async write(...texts) {
          const questions = {
            languages: "Say it in every script",
            image: "What is in this picture?",
            diagram: "Which way does a request go?",
            text: "Why is the integral of the bell curve a root of π?",
          };
          await page.fill("#prompt", questions[state] ?? QUESTION);
          await page.keyboard.press("Enter");
          at.call = await upstream.next();
          at.call.write(...texts);
          const last = texts.at(-1).match(/[\p{L}\p{M}]+/gu).at(-1);
          await page.locator(".assistant .text", { hasText: last }).waitFor();
        },
        async attach() {
          const picture = await page.evaluate(() => {
            const canvas = Object.assign(document.createElement("canvas"), { width: 480, height: 320 });
            const draw = canvas.getContext("2d");
            for (const [colour, ...place] of [["#f6efe6", 0, 0, 480, 320], ["#b8512a", 200, 60, 80, 200]]) {
              draw.fillStyle = colour;
              draw.fillRect(...place);
            }
            return canvas.toDataURL("image/png").split(",")[1];
          });
          await page.setInputFiles("#files", { name: "mark.png", mimeType: "image/png", buffer: Buffer.from(picture, "base64") });
          await page.locator(".attachments img").waitFor();
        },
        ended: () => page.locator(".assistant[data-outcome]").waitFor(),
      };
      await page.goto(wire.url);
      await reach(at);
      await page.screenshot({ path: join(folder, `page-${state}${look}.png`) });
      wire.join();
      at.call?.finish();
      await context.close();
      wire.stop();
    }
  }
} finally {
  await browser.close();
  await Promise.all([open.stop(), closed.stop()]);
  upstream.stop();
  rmSync(temporary, { recursive: true });
}
