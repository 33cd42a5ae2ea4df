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
  ...["reconnecting", "stopped", "interrupted", "languages", "text", "text-dark", "key", "completed-dark", "streaming-phone"],
  ...["history-wide", "versions", "too-long", "list-phone"],
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

const CHATS = ["Plan a weekend in Lisbon", "Why is the sky blue?", "A regular expression for dates", "Explain the borrow checker", "متى تأسست بغداد؟", "Rewrite this letter", "Fibonacci in Rust"];

async function history(at) {
  await store(CHATS.map((title, index) => conversation(`c${index}`, [[title, "…"]], { updated: Date.now() - (index + 1) ** 2 * 7_200_000 })), at.page);
  await at.page.reload();
  await at.write(...ANSWER);
  at.call.finish();
  await at.ended();
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
};

const LOOKS = {
  "": { viewport: WIDE },
  "-dark": { viewport: WIDE, colorScheme: "dark" },
  "-wide": { viewport: WIDEST },
  "-wide-dark": { viewport: WIDEST, colorScheme: "dark" },
  "-phone": { viewport: PHONE, hasTouch: true, isMobile: true, deviceScaleFactor: 1.5 },
};

const upstream = await new Upstream().start();
const temporary = mkdtempSync(join(tmpdir(), "everytoken-pictures-"));
const config = join(temporary, "keys.toml");
writeFileSync(config, 'api_keys = ["sk-0123456789abcdef"]');
const [open, closed, browser] = await Promise.all([
  startGateway(upstream),
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
          await page.fill("#prompt", { languages: "Say it in every script", text: "Why is the integral of the bell curve a root of π?" }[state] ?? QUESTION);
          await page.keyboard.press("Enter");
          at.call = await upstream.next();
          at.call.write(...texts);
          const last = texts.at(-1).match(/[\p{L}\p{M}]+/gu).at(-1);
          await page.locator(".assistant .text", { hasText: last }).waitFor();
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
