// What is published: its size, its names and its types. tests/project/test_js.py looks at its files, and runs these tests on them.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const KB = 1000;

async function size(code) {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: ROOT },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    write: false,
    external: ["react", "react/jsx-runtime"],
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

describe("minified and compressed", () => {
  for (const [what, code, limit] of [
    ["the core", 'export { stream } from "everytoken"', 5],
    ["the core and fetch with its recovery", 'export * from "everytoken"', 7.5],
    ["all of it", 'export * from "everytoken/full"', 10],
    ["react with the core", 'export * from "everytoken/react"', 9],
    ["what makes Markdown plain", 'export * from "everytoken/markdown"', 2],
  ]) {
    test(`${what} is at most ${limit} kB`, async (context) => {
      const bytes = await size(code);
      context.diagnostic(`${what}: ${bytes} bytes`);
      assert.ok(bytes <= limit * KB, `${bytes} bytes`);
    });
  }
});

describe("the package", () => {
  test("needs nothing else", () => {
    assert.equal(createRequire(import.meta.url)("everytoken/package.json").dependencies, undefined);
    for (const [name, exported] of [
      ["everytoken", "EverytokenError,SSEDecoder,Stream,createFetch,fetch,stream"],
      ["everytoken/full", "EverytokenError,SSEDecoder,Stream,createFetch,fetch,stream"],
      ["everytoken/react", "StreamingText,useStream"],
      ["everytoken/markdown", "prepare"],
    ]) {
      const code = `import * as all from "${name}"; console.log(Object.keys(all).sort().join())`;
      const run = spawnSync(process.execPath, ["--input-type=module", "-e", code], { cwd: ROOT, encoding: "utf8" });
      assert.equal(run.stdout.trim(), exported, run.stderr);
    }
  });
});

describe("the types are found and are what test/types says with", () => {
  let folder;
  before(() => (folder = mkdtempSync(fileURLToPath(new URL(".docs-", import.meta.url)))));
  after(() => rmSync(folder, { recursive: true }));

  for (const [module, moduleResolution] of [
    ["ESNext", "Bundler"],
    ["Node16", "Node16"],
    ["NodeNext", "NodeNext"],
  ]) {
    test(`moduleResolution ${moduleResolution}`, () => {
      const config = join(folder, `${moduleResolution}.json`);
      const compilerOptions = { noEmit: true, rootDir: "/", module, moduleResolution };
      writeFileSync(config, JSON.stringify({ extends: "../../tsconfig.json", compilerOptions, include: ["../types/*"] }));
      const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
      assert.equal(spawnSync(process.execPath, [tsc, "-p", config], { encoding: "utf8" }).stdout, "");
    });
  }
});
