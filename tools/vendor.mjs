// Refresh the pages' foreign files: `node tools/vendor.mjs [NAME VERSION]` (default: all, in the versions in use).
// npm fetches the packages from the registry it is configured for and checks their integrity.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

// The languages whose code has colours; languages.js says what they are called.
const MODES = (
  "clike clojure cmake commonlisp crystal css d diff dockerfile elm erlang fortran go groovy haskell http javascript julia lua mllike nginx " +
  "octave pascal perl powershell properties protobuf python r ruby rust sass scheme shell simple-mode sql stex swift tcl toml vb " +
  "verilog vhdl wast xml yaml"
).split(" ");

/** Of each package the files that are wanted: {ours: theirs}. A name that ends with "/" stands for a folder's woff2 files;
 *  one that ends with ".gz" is stored compressed. */
const FILES = {
  marked: { "marked.js": "lib/marked.esm.js" },
  uPlot: { "uPlot.js": "dist/uPlot.esm.js", "uPlot.css": "dist/uPlot.min.css" },
  katex: { "katex/katex.js": "dist/katex.min.js", "katex/katex.css": "dist/katex.min.css", "katex/fonts/": "dist/fonts/" },
  "codemirror-legacy-modes": Object.fromEntries(MODES.map((mode) => [`modes/${mode}.js`, `mode/${mode}.js`])),
  "codemirror-streamparser": { "modes/stream.js": "dist/index.js" },
  "mermaid-tiny": { "mermaid/mermaid.js.gz": "dist/mermaid.tiny.js" },
};
const PACKAGES = {
  "codemirror-legacy-modes": "@codemirror/legacy-modes",
  "codemirror-streamparser": "@codemirror/streamparser",
  "mermaid-tiny": "@mermaid-js/tiny",
};
// Every browser that runs the page reads woff2.
const OTHER_FONTS = /,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\("[^"]*"\)/g;

const vendor = fileURLToPath(new URL("../src/everytoken/gateway/pages/vendor/", import.meta.url));
const [only, wanted] = process.argv.slice(2);

for (const [name, files] of Object.entries(FILES)) {
  if (only && only !== name) continue;
  const version = wanted ?? readFileSync(join(vendor, `${name}.version`), "utf8").trim();
  const place = mkdtempSync(join(tmpdir(), "vendor-"));
  try {
    const run = (command, ...args) => execFileSync(command, args, { cwd: place, encoding: "utf8" });
    const [{ filename }] = JSON.parse(run("npm", "pack", "--json", `${PACKAGES[name] ?? name.toLowerCase()}@${version}`));
    run("tar", "xzf", filename);
    for (const [ours, theirs] of Object.entries(files)) take(join(vendor, ours), join(place, "package", theirs));
    writeFileSync(join(vendor, `${name}.LICENSE`), readFileSync(join(place, "package/LICENSE")));
    writeFileSync(join(vendor, `${name}.version`), `${version}\n`);
  } finally {
    rmSync(place, { recursive: true });
  }
}

function take(ours, theirs) {
  if (theirs.endsWith("/")) {
    for (const font of readdirSync(theirs)) if (font.endsWith(".woff2")) take(join(ours, font), join(theirs, font));
    return;
  }
  mkdirSync(dirname(ours), { recursive: true });
  if (ours.endsWith(".woff2")) return writeFileSync(ours, readFileSync(theirs));
  if (ours.endsWith(".gz")) return writeFileSync(ours, gzipSync(readFileSync(theirs), { level: 9 }));
  const text = readFileSync(theirs, "utf8");
  writeFileSync(ours, text.replace(/^\/\/# sourceMappingURL=.*\n?/m, "").replace(OTHER_FONTS, ""));
}
