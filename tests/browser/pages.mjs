// The pages' files from the source tree, without a gateway, under the policy that the gateway serves them with.

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { once } from "node:events";

export const PAGES = new URL("../../src/everytoken/gateway/pages/", import.meta.url);
const POLICY = [...readFileSync(new URL("__init__.py", PAGES), "utf8").matchAll(/^ {4}"([a-z-]+-(?:src|uri|action|ancestors)[^"]*|require-[^"]*|trusted-[^"]*)",$/gm)]
  .map(([, directive]) => directive)
  .join("; ");
const TYPES = { js: "text/javascript", css: "text/css", woff2: "font/woff2", html: "text/html" };

/** {url, asked (paths of every request), stop()}; `body` is what the page at `/` has. */
export async function servePages(body = "<main></main>") {
  const asked = [];
  const server = createServer(async (request, response) => {
    asked.push(request.url);
    const type = TYPES[request.url.split(".").at(-1)] ?? "text/html";
    response.setHeader("Content-Type", type);
    if (type === "text/html") response.setHeader("Content-Security-Policy", POLICY);
    try {
      response.end(type === "text/html" ? `<!doctype html><meta charset=utf-8>${body}` : await readFile(new URL(`.${request.url}`, PAGES)));
    } catch {
      response.writeHead(404).end();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${server.address().port}/`, asked, stop: () => server.close() };
}
