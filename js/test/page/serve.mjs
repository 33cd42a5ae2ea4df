// The page, and everything else from the gateway: one host, as a page has it behind a proxy.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, request as ask } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** Serve it on a free port; `gateway()` is the URL of the gateway, looked up for each request. */
export async function serve(gateway) {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("page.jsx", import.meta.url))],
    bundle: true,
    minify: true,
    format: "esm",
    jsx: "automatic",
    write: false,
    define: { "process.env.NODE_ENV": '"production"' },
  });
  const files = {
    "/": ["text/html", readFileSync(new URL("index.html", import.meta.url))],
    "/page.js": ["text/javascript", outputFiles[0].contents],
  };
  const server = createServer((asked, answer) => {
    const file = files[asked.url.split("?")[0]];
    if (file) return answer.writeHead(200, { "Content-Type": file[0] }).end(file[1]);
    if (asked.url === "/favicon.ico") return answer.writeHead(204).end();
    const { method, headers } = asked;
    const onward = ask(gateway() + asked.url, { method, headers }, (given) => {
      answer.writeHead(given.statusCode, given.headers);
      answer.flushHeaders();
      given.pipe(answer);
      given.on("close", () => given.complete || answer.destroy());
    });
    onward.on("error", () => answer.destroy());
    answer.on("close", () => onward.destroy());
    asked.pipe(onward);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}
