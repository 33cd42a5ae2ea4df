// An example that is built, served as its users would serve it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const COMMANDS = {
  "react-vite": ["node_modules/vite/bin/vite.js", "preview", "--host", "127.0.0.1", "--port", "0"],
  nextjs: ["node_modules/next/dist/bin/next", "start", "--hostname", "127.0.0.1", "--port", "0"],
};

/** Serve `examples/<example>` in front of a gateway: {url, port, stop()}. */
export async function serveExample(example, gateway) {
  const folder = new URL(`../../examples/${example}/`, import.meta.url);
  if (example === "nextjs") await pointRewrites(folder, gateway.url);
  const child = spawn(process.execPath, COMMANDS[example], {
    cwd: fileURLToPath(folder),
    env: { ...process.env, EVERYTOKEN_URL: gateway.url, NEXT_TELEMETRY_DISABLED: "1", NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const said = [];
  for await (const line of createInterface({ input: child.stdout })) {
    said.push(line);
    const match = /http:\/\/127\.0\.0\.1:(\d+)/.exec(line);
    if (!match) continue;
    child.stdout.resume();
    return {
      url: match[0],
      port: Number(match[1]),
      async stop() {
        child.kill("SIGKILL");
        await exited;
      },
    };
  }
  throw new Error(`${example} did not start:\n${said.join("\n")}`);
}

// Next.js fixes its rewrites when it builds; the gateway of a test has another port each time.
async function pointRewrites(folder, url) {
  const manifest = new URL(".next/routes-manifest.json", folder);
  const text = await readFile(manifest, "utf8");
  await writeFile(manifest, text.replaceAll(/http:\/\/127\.0\.0\.1:\d+\/(api|v1)\b/g, `${url}/$1`));
}

/** A page from a server can be typed into before React has taken it over. */
export const hydrated = (page) =>
  page.waitForFunction(() => Object.keys(document.querySelector("form") ?? {}).some((key) => key.startsWith("__reactProps")));
