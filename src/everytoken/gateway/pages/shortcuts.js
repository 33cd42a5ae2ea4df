// What the keyboard does, and the sheet that says so.

import { button, dialog, el } from "./elements.js";

/**
 * name: what it does, and with which keys. "Mod" is ⌘ on a Mac, else Ctrl. Without `code` it is done elsewhere and only
 * stands in the sheet.
 */
export const SHORTCUTS = {
  send: { words: "Send the question", keys: ["Enter"] },
  line: { words: "New line", keys: ["Shift", "Enter"] },
  stop: { words: "Stop the answer", keys: ["Esc"] },
  prompt: { words: "Write a question", keys: ["/"], code: "/" },
  fresh: { words: "New chat", keys: ["Mod", "Shift", "O"], code: "KeyO", mod: true, shift: true },
  search: { words: "Search conversations", keys: ["Mod", "K"], code: "KeyK", mod: true },
  model: { words: "Choose a model", keys: ["Alt", "M"], code: "KeyM", alt: true },
  settings: { words: "Settings of this conversation", keys: ["Alt", "S"], code: "KeyS", alt: true },
  theme: { words: "System, light or dark", keys: ["Alt", "T"], code: "KeyT", alt: true },
  copy: { words: "Copy the last answer", keys: ["Alt", "C"], code: "KeyC", alt: true },
  sheet: { words: "This sheet", keys: ["?"], code: "?" },
};

/**
 * Which shortcut an event is, or null. `writing`: the focus is where text is written, `empty`: and there is none yet. A
 * single character is one only where it would not be written, and "?" also as the first one of a question.
 */
export function pressed(event, { mac = false, writing = false, empty = false } = {}) {
  if (event.isComposing || event.repeat) return null;
  const mod = mac ? event.metaKey : event.ctrlKey;
  const other = mac ? event.ctrlKey : event.metaKey;
  if (other) return null;
  if (mod && event.key === "/" && !event.altKey) return "sheet";
  for (const [name, { code, mod: wantsMod = false, shift = false, alt = false }] of Object.entries(SHORTCUTS)) {
    if (!code) continue;
    if (code.length === 1) {
      // By the character: where it is on a keyboard differs, and so do the keys beside it.
      if (event.key === code && !mod && !event.altKey && (!writing || (empty && code === "?"))) return name;
    } else if (event.code === code && mod === wantsMod && event.shiftKey === shift && event.altKey === alt) {
      return name;
    }
  }
  return null;
}

const MAC = { Mod: "⌘", Alt: "⌥", Shift: "⇧" };
const OTHERS = { Mod: "Ctrl" };

/** The keys of a shortcut as they are called here. */
export const keysOf = (name, mac) => SHORTCUTS[name].keys.map((key) => (mac ? MAC : OTHERS)[key] ?? key);

/**
 * Do what is pressed: `actions` by the names of SHORTCUTS; what has no action is not listed. Returns {open()}.
 */
export function shortcuts({ prompt, actions }) {
  const mac = /Mac|iPhone|iPad/.test(navigator.platform);
  const shown = Object.keys(SHORTCUTS).filter((name) => !SHORTCUTS[name].code || name === "sheet" || actions[name]);
  const made = dialog({ id: "shortcuts", class: "sheet", "aria-labelledby": "shortcuts-title" },
    el("h2", { id: "shortcuts-title" }, "Keyboard shortcuts"),
    el("dl", {}, ...shown.map((name) => el("div", {},
      el("dt", {}, SHORTCUTS[name].words),
      el("dd", {}, ...keysOf(name, mac).map((key) => el("kbd", {}, key))),
    ))),
    el("div", { class: "choices" }, button({ class: "main", onclick: () => made.close() }, "Close")),
  );
  let asked = false; // by "?" as the first character of a question

  const open = () => {
    asked = document.activeElement === prompt;
    made.showModal();
  };
  addEventListener("keydown", (event) => {
    const field = event.target.closest?.("input, textarea, select, [contenteditable]");
    const name = pressed(event, { mac, writing: Boolean(field), empty: field === prompt && prompt.value === "" });
    if (!name) return;
    const inside = document.querySelector("dialog[open]");
    if (inside) {
      // Again: whoever wanted to ask "?" gets it.
      if (inside !== made || name !== "sheet") return;
      event.preventDefault();
      made.close();
      if (event.key === "?" && asked) {
        prompt.focus();
        prompt.setRangeText("?", prompt.selectionStart, prompt.selectionEnd, "end");
        prompt.dispatchEvent(new Event("input", { bubbles: true }));
      }
      return;
    }
    if (name !== "sheet" && !actions[name]) return;
    event.preventDefault();
    if (name === "sheet") open();
    else actions[name]();
  });
  return { open };
}
