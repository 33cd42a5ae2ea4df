// The programs of docs/node.md that need the packages of this folder: each runs as it stands, with the keys and the address
// that the SDKs read from the environment.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { setUp, TEXT, world } from "./harness.mjs";

setUp();

const page = readFileSync(new URL("../../docs/node.md", import.meta.url), "utf8");
const PROGRAMS = [...page.matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, code]) => code);
const PACKAGE = new URL("../../js/dist/index.js", import.meta.url);

let folder;
before(() => (folder = mkdtempSync(fileURLToPath(new URL(".docs-", import.meta.url))))); // where the packages are found
after(() => rmSync(folder, { recursive: true }));

test("there is one for each API", () => assert.equal(PROGRAMS.length, 2));

for (const [number, code] of PROGRAMS.entries()) {
  for (const where of ["gateway", "provider"]) {
    test(`number ${number + 1} runs at the ${where}`, async () => {
      const path = join(folder, `${where}${number}.mjs`);
      writeFileSync(path, code.replace("'everytoken'", `'${PACKAGE}'`));
      const { url } = world[where];
      const env = { ...process.env, OPENAI_API_KEY: "k", OPENAI_BASE_URL: `${url}/v1`, ANTHROPIC_API_KEY: "k", ANTHROPIC_BASE_URL: url };
      const child = spawn(process.execPath, [path], { env, stdio: ["ignore", "pipe", "pipe"] });
      const said = ["", ""];
      child.stdout.setEncoding("utf8").on("data", (text) => (said[0] += text));
      child.stderr.setEncoding("utf8").on("data", (text) => (said[1] += text));
      const [status] = await once(child, "close");
      assert.deepEqual([status, ...said], [0, TEXT, ""]);
    });
  }
}
