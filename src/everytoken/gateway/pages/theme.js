// Light or dark: as the system has it, or as chosen. first.js sets what was chosen before the page is painted.

import { button, el } from "./elements.js";

const NAME = "everytoken.theme";
export const THEMES = { system: "System", light: "Light", dark: "Dark" };

/** What a stored word means: "light", "dark", or else "system". */
export const themeOf = (stored) => (stored === "light" || stored === "dark" ? stored : "system");

/** The next of the three. */
export function nextTheme(theme) {
  const names = Object.keys(THEMES);
  return names[(names.indexOf(theme) + 1) % names.length];
}

let current = null;
const listeners = new Set();

function kept() {
  try {
    return themeOf(localStorage.getItem(NAME));
  } catch {
    return current ?? "system";
  }
}

/** The theme in use. */
export const theme = () => (current ??= kept());

/** Use a theme from now on, here and in other tabs. */
export function setTheme(wanted) {
  try {
    if (wanted === "system") localStorage.removeItem(NAME);
    else localStorage.setItem(NAME, wanted);
  } catch {
    // Then it lasts as long as the page.
  }
  show(wanted);
}

function show(wanted) {
  current = wanted;
  if (wanted === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = wanted;
  for (const listener of listeners) listener();
}

/** Follow what is chosen in other tabs. */
export function watchTheme() {
  addEventListener("storage", ({ key }) => key === NAME && show(kept()));
}

/** A row of three to choose from. */
export function themeSwitch() {
  const buttons = Object.entries(THEMES).map(([name, words]) =>
    button({ "data-theme-choice": name, onclick: () => setTheme(name) }, words),
  );
  const mark = () => {
    for (const one of buttons) one.setAttribute("aria-pressed", String(one.dataset.themeChoice === theme()));
  };
  listeners.add(mark);
  mark();
  return el("div", { class: "segments", role: "group", "aria-label": "Theme" }, ...buttons);
}
