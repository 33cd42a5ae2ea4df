// What is published: its files and its size.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
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
    ["the core", 'export { stream } from "everytoken"', 4],
    ["the core and fetch with its recovery", 'export * from "everytoken"', 6],
    ["react with the core", 'export * from "everytoken/react"', 8],
  ]) {
    test(`${what} is at most ${limit} kB`, async (context) => {
      const bytes = await size(code);
      context.diagnostic(`${what}: ${bytes} bytes`);
      assert.ok(bytes <= limit * KB, `${bytes} bytes`);
    });
  }
});

describe("the packed tarball", () => {
  let folder, files;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "everytoken-"));
    const told = execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    const packed = Object.values(JSON.parse(told))[0];
    files = packed.files.map(({ path }) => path);
    const at = join(folder, "node_modules", "everytoken");
    mkdirSync(at, { recursive: true });
    execFileSync("tar", ["xzf", join(folder, packed.filename), "--strip-components", "1", "-C", at]);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  test("has the modules, their types and the licence, and nothing else", () => {
    const others = files.filter((path) => !/^dist\/[\w/-]+\.(js|d\.ts)$/.test(path));
    assert.deepEqual(others.sort(), ["LICENSE", "README.md", "package.json"]);
    for (const path of files.filter((path) => path.endsWith(".js"))) assert.ok(files.includes(path.replace(/js$/, "d.ts")), path);
  });

  test("needs nothing else", () => {
    const { dependencies } = JSON.parse(readFileSync(join(folder, "node_modules/everytoken/package.json"), "utf8"));
    assert.equal(dependencies, undefined);
    const code = 'import * as everytoken from "everytoken"; console.log(Object.keys(everytoken).sort().join())';
    const run = spawnSync(process.execPath, ["--input-type=module", "-e", code], { cwd: folder, encoding: "utf8" });
    assert.equal(run.stdout.trim(), "EverytokenError,SSEDecoder,Stream,createFetch,fetch,stream", run.stderr);
  });
});
