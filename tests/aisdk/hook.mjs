// React's own useChat, without a browser.

import { useChat } from "@ai-sdk/react";
import { Window } from "happy-dom";
import { createElement } from "react";

const window = new Window({ url: "http://127.0.0.1/" });
for (const [name, value] of Object.entries({ window, document: window.document, navigator: window.navigator })) {
  Object.defineProperty(globalThis, name, { value, configurable: true }); // newer Nodes have a navigator that is read-only
}
const { createRoot } = await import("react-dom/client");

/** A page that uses the hook with `options`; `chat` is what it returned last. */
export async function mount(options) {
  const page = {};
  function Page() {
    page.chat = useChat(options);
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
