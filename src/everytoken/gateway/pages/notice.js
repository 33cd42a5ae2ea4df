// A quiet line above the prompt, which goes by itself: what has happened, and how to undo it.

import { button, make } from "./branches.js";

const STAYS_MS = 8000;

const place = document.getElementById("notice");
let timer = 0;

/** Say `words`; with an `action`, a button of that name calls `run`. */
export function notice(words, action = "", run = () => {}) {
  clearTimeout(timer);
  const close = () => place.replaceChildren();
  const line = make("p", "", words);
  if (action) {
    const act = button(action, "undo");
    act.addEventListener("click", () => (close(), run()));
    line.append(act);
  }
  place.replaceChildren(line);
  timer = setTimeout(function later() {
    // Not while somebody is about to use it.
    if (line.matches(":hover, :focus-within")) timer = setTimeout(later, STAYS_MS / 4);
    else close();
  }, STAYS_MS);
}
