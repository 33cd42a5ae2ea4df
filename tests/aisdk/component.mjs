// The component in docs/ai-sdk.md: ask it, or only look at it, as standard input says, and print what it shows.

import { mountDocumented } from "./hook.mjs";

let told = "";
for await (const piece of process.stdin) told += piece;
const page = await mountDocumented({ id: "chat-1" }, process.env.GATEWAY);
const find = (what) => page.container.querySelector(what);
const until = async (what) => {
  while (!what()) await new Promise(setImmediate);
};

await until(() => find("input"));
if (told === "ask") {
  const input = find("input");
  Object.getOwnPropertyDescriptor(window.HTMLInputElement.prototype, "value").set.call(input, "Hello");
  input.dispatchEvent(new window.Event("input", { bubbles: true }));
  find("form").dispatchEvent(new window.Event("submit", { bubbles: true, cancelable: true }));
}
let shown = "";
await until(() => {
  const text = find(".assistant")?.textContent ?? "";
  if (text !== shown) show(text.slice(shown.length));
  shown = text;
  return find("[role=alert]") || (shown && !find("button")); // Stop
});
if (find("[role=alert]")) {
  console.error(find("[role=alert]").textContent);
  show("[error]");
}
process.exit();
