// Refresh the pages' foreign files: `node tools/vendor.mjs [NAME VERSION]` (default: all, in the versions in use).
// npm fetches the packages from the registry it is configured for and checks their integrity.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const FILES = {
  marked: { "marked.js": "lib/marked.esm.js" },
  uPlot: { "uPlot.js": "dist/uPlot.esm.js", "uPlot.css": "dist/uPlot.min.css" },
};
const vendor = fileURLToPath(new URL("../src/everytoken/gateway/pages/vendor/", import.meta.url));
const [only, wanted] = process.argv.slice(2);

for (const [name, files] of Object.entries(FILES)) {
  if (only && only !== name) continue;
  const version = wanted ?? readFileSync(join(vendor, `${name}.version`), "utf8").trim();
  const place = mkdtempSync(join(tmpdir(), "vendor-"));
  try {
    const run = (command, ...args) => execFileSync(command, args, { cwd: place, encoding: "utf8" });
    const [{ filename }] = JSON.parse(run("npm", "pack", "--json", `${name.toLowerCase()}@${version}`));
    run("tar", "xzf", filename);
    for (const [ours, theirs] of Object.entries(files)) {
      const text = readFileSync(join(place, "package", theirs), "utf8");
      writeFileSync(join(vendor, ours), text.replace(/^\/\/# sourceMappingURL=.*\n?/m, ""));
    }
    writeFileSync(join(vendor, `${name}.LICENSE`), readFileSync(join(place, "package/LICENSE")));
    writeFileSync(join(vendor, `${name}.version`), `${version}\n`);
  } finally {
    rmSync(place, { recursive: true });
  }
}
