// React's own useChat, without a browser.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { useChat } from "@ai-sdk/react";
import { Window } from "happy-dom";
import { createElement } from "react";
import { transform } from "sucrase";

const window = new Window({ url: "http://127.0.0.1/" });
for (const name of ["document", "navigator", "localStorage"]) {
  // Newer Nodes have some of them, and read-only.
  Object.defineProperty(globalThis, name, { value: window[name], configurable: true });
}
globalThis.window = window;
const { createRoot } = await import("react-dom/client");

/** A page that uses a version's hook with `options`; `chat` is what it returned last. */
export async function mount(options, useThisChat = useChat) {
  const page = {};
  function Page() {
    page.chat = useThisChat(options);
    return null;
  }
  const root = createRoot(document.createElement("div"));
  root.render(createElement(Page));
  while (!page.chat) await new Promise(setImmediate);
  page.unmount = async () => {
    root.unmount();
    await new Promise(setImmediate);
  };
  return page;
}

/** The component in docs/ai-sdk.md, as a page whose `/api` is `url`. */
export async function mountDocumented(props, url) {
  const docs = await readFile(new URL("../../docs/ai-sdk.md", import.meta.url), "utf8");
  const source = /```jsx\n(.*?)```/s.exec(docs)[1];
  const { code } = transform(source, { transforms: ["jsx"], jsxRuntime: "automatic", production: true });
  const folder = new URL("./node_modules/.documented/", import.meta.url);
  await mkdir(folder, { recursive: true });
  const file = new URL("chat.mjs", folder);
  await writeFile(file, code);
  const { Chat } = await import(file);
  const { fetch } = globalThis;
  globalThis.fetch = (path, options) => fetch(new URL(path, url), options);
  const container = document.createElement("div");
  const root = createRoot(container);
  root.render(createElement(Chat, props));
  const unmount = () => {
    root.unmount();
    globalThis.fetch = fetch;
  };
  return { container, unmount };
}
