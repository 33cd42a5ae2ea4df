// Refresh the chat page's one foreign file: `node tools/vendor.mjs [VERSION]` (default: the version in use).
// npm fetches the package from the registry it is configured for and checks its integrity.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const vendor = fileURLToPath(new URL("../src/everytoken/gateway/pages/vendor/", import.meta.url));
const version = process.argv[2] ?? readFileSync(join(vendor, "marked.version"), "utf8").trim();

const place = mkdtempSync(join(tmpdir(), "vendor-"));
try {
  const run = (command, ...args) => execFileSync(command, args, { cwd: place, encoding: "utf8" });
  const [{ filename }] = JSON.parse(run("npm", "pack", "--json", `marked@${version}`));
  run("tar", "xzf", filename);
  const module = readFileSync(join(place, "package/lib/marked.esm.js"), "utf8");
  writeFileSync(join(vendor, "marked.js"), module.replace(/^\/\/# sourceMappingURL=.*\n?/m, ""));
  writeFileSync(join(vendor, "marked.LICENSE"), readFileSync(join(place, "package/LICENSE")));
  writeFileSync(join(vendor, "marked.version"), `${version}\n`);
} finally {
  rmSync(place, { recursive: true });
}
