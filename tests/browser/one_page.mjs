// The chat page as a person has it: the question is typed where the focus is.

import { beforeEach } from "node:test";
import { chat, open, outcome, shows, withChat } from "./chat_page.mjs";

export { open, outcome, shows };

/** Those of the test that runs. */
export let upstream, gateway, wire, browser, context, page;

withChat();
beforeEach(() => {
  ({ upstream, gateway, wire, browser, context, page } = chat);
});

/** Type a question and press Enter, and take the request that reaches the model. */
export async function ask(question, on = page) {
  await on.keyboard.type(question);
  await on.keyboard.press("Enter");
  return upstream.next();
}

/** The last answer as it stands on the screen, without its cursor. */
export function shown(on = page) {
  return on.evaluate(() => {
    const text = [...document.querySelectorAll(".assistant .text")].at(-1);
    const copy = text.cloneNode(true);
    copy.querySelectorAll(".cursor").forEach((cursor) => cursor.remove());
    return copy.textContent.trimEnd();
  });
}
