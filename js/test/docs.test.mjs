// docs/node.md and docs/react.md: every block of code runs, or at least compiles.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startGateway, startUpstream } from "./helpers.mjs";

const blocks = (page, language) =>
  [...readFileSync(new URL(`../../docs/${page}`, import.meta.url), "utf8").matchAll(/^```(\w+)\n([^]*?)^```$/gm)].filter(([, found]) => found === language).map(([, , code]) => code);
const PROGRAMS = blocks("node.md", "js");
const GUIDE = readFileSync(new URL("../../spec/guide/node.txt", import.meta.url), "utf8");

// Inside the package, where its own name and its packages are found.
let folder, upstream, gateway;
before(async () => {
  folder = mkdtempSync(fileURLToPath(new URL(".docs-", import.meta.url)));
  upstream = await startUpstream("--delay", "0");
  gateway = await startGateway(`${upstream.url}/v1`, "memory");
});
after(async () => {
  await gateway.kill();
  await upstream.kill();
  rmSync(folder, { recursive: true });
});

let programs = 0;
async function run(code, url = gateway.url) {
  const path = join(folder, `program${programs++}.mjs`);
  writeFileSync(path, code);
  const child = spawn(process.execPath, [path], { env: { ...process.env, OPENAI_API_KEY: "k", OPENAI_BASE_URL: `${url}/v1` } });
  const said = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text) => (said[0] += text));
  child.stderr.setEncoding("utf8").on("data", (text) => (said[1] += text));
  const [code_] = await once(child, "close");
  assert.equal(code_, 0, said[1]);
  return said;
}

test("the guide's loop comes first, unchanged", () => {
  assert.ok(PROGRAMS[0].endsWith(GUIDE.trim() + "\n"));
});

describe("a program of docs/node.md runs", () => {
  for (const [number, code] of PROGRAMS.entries()) {
    test(`number ${number + 1}`, async () => {
      const [printed, told] = await run(code);
      if (code.includes("SSEDecoder")) assert.equal(printed, "Hello\n");
      else assert.match(printed, /^Streaming sends each token[^]*Done\. 👍🏽$/u);
      if (code.includes("answer.state")) assert.match(told, /^completed stop http:\S+\/v1\/stream\/\S+$/m);
      else assert.equal(told, "");
    });
  }
});

describe("the program with a catch, straight at a server that breaks", { concurrency: true }, () => {
  const TEXT = /^Streaming sends each token[^]*Done\. 👍🏽$/u;
  for (const [what, options, printed, told] of [
    ["once: a further attempt heals it", ["--fault", "clean-end", "--times", "1"], TEXT, /^$/],
    ["whenever it streams: it is asked without", ["--fault", "error-object"], TEXT, /^$/],
    ["for good: it is told", ["--fault", "clean-end"], /^Streaming sends(?![^]*Done)/, /^Stream interrupted: .+ \(recovery-exhausted\)\n$/],
  ]) {
    test(what, async () => {
      const broken = await startUpstream("--delay", "0", ...options);
      const [found] = PROGRAMS.filter((code) => code.includes("catch (error)"));
      const said = await run(found, broken.url);
      await broken.kill();
      assert.match(said[0], printed);
      assert.match(said[1], told);
    });
  }
});

test("the components of docs/react.md compile", () => {
  const found = blocks("react.md", "tsx");
  assert.equal(found.length, 4);
  assert.equal(found[0].trim(), readFileSync(new URL("../../spec/guide/react.txt", import.meta.url), "utf8").trim());
  for (const [number, code] of found.entries()) writeFileSync(join(folder, `block${number}.tsx`), code);
  // The reader's own choice of libraries, as far as the page uses them.
  writeFileSync(
    join(folder, "libraries.d.ts"),
    `declare module "marked" { export const marked: { parse(source: string, options: { async: false }): string } }
declare module "dompurify" { const DOMPurify: { sanitize(html: string): string }; export default DOMPurify }`,
  );
  // The guide leaves it open who calls handleSubmit; tests/project/test_examples.py has it called.
  const options = { noEmit: true, noUnusedLocals: false, rootDir: "/", moduleResolution: "Bundler", module: "ESNext", allowJs: false };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ extends: "../../tsconfig.json", compilerOptions: options, include: ["*"] }));
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  assert.equal(spawnSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8" }).stdout, "");
});
