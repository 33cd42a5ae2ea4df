// The list of conversations: found, opened, renamed, deleted and taken out of here.

import { button, make } from "./branches.js";
import { asJSON, asMarkdown, download, fileName, fromJSON } from "./export.js";
import { notice } from "./notice.js";
import { has, plain, searchText } from "./search.js";
import { change, heads, keeping, put, read, remove, setting, watch } from "./store.js";

const FIRST = 60; // rows at once; the others when there is time
const MORE = 200;
const TYPING_MS = 120;
const TROUBLES = {
  session: "This browser keeps no chats: they last as long as this tab.",
  full: "This browser cannot store everything: new text lasts as long as this tab.",
};

const at = (id) => document.getElementById(id);
const list = at("chats");
const query = at("search");
const menu = at("chat-menu");
const narrow = matchMedia("(max-width: 60rem)");
const whenIdle = globalThis.requestIdleCallback ?? ((run) => setTimeout(run, 50));

const known = new Map(); // id -> head
const rows = new Map(); // id -> its row
const groups = ["Today", "Yesterday", "Earlier"].map((name) => {
  const element = make("section");
  const rows = make("ul");
  element.append(make("h2", "", name), rows);
  element.setAttribute("aria-label", name);
  element.hidden = true;
  return { element, rows };
});
let marked = ""; // id of the conversation that is shown
let limit = FIRST;
let search = null; // {words, found: id -> excerpt, abort}

export const sidebar = {
  async start() {
    list.append(...groups.map(({ element }) => element));
    keeping.changed = sayTrouble;
    toggle(!narrow.matches && setting("sidebar") !== "closed", false);
    for (const head of await heads()) known.has(head.id) || known.set(head.id, head);
    sayTrouble();
    draw();
  },

  /** Which conversation is shown. */
  mark(id) {
    if (marked === id) return;
    for (const name of [marked, id]) if (rows.has(name)) setCurrent(rows.get(name), name === id);
    marked = id;
  },

  /** A conversation has been chosen: make room for it. */
  chosen: () => narrow.matches && toggle(false, false),

  toggle: () => toggle(document.body.classList.contains("no-sidebar")),

  /** Go to the search, wherever the reader is. */
  search() {
    toggle(true, false);
    query.focus();
    query.select();
  },
};

watch(({ id, head }) => {
  if (head) known.set(id, head);
  else known.delete(id);
  draw();
});

// --- The rows ---

function draw() {
  const wanted = [...known.values()].filter(isFound).sort((a, b) => b.updated - a.updated);
  const places = groups.map(({ rows }) => rows.firstChild);
  const midnight = new Date().setHours(0, 0, 0, 0);
  const yesterday = new Date(midnight).setDate(new Date(midnight).getDate() - 1);
  for (const head of wanted.slice(0, limit)) {
    const group = head.updated >= midnight ? 0 : head.updated >= yesterday ? 1 : 2;
    const row = rowOf(head);
    if (row === places[group]) places[group] = row.nextSibling;
    else groups[group].rows.insertBefore(row, places[group]);
  }
  groups.forEach(({ element, rows }, index) => {
    for (let rest = places[index]; rest; ) {
      const next = rest.nextSibling;
      rest.remove();
      rest = next;
    }
    element.hidden = rows.childElementCount === 0;
  });
  for (const [id] of rows) if (!known.has(id)) rows.delete(id);
  at("no-chats").textContent = wanted.length ? "" : search ? "Nothing found." : "Your chats will be here.";
  const links = list.querySelectorAll("a");
  if (![...links].some((link) => link.tabIndex === 0)) (list.querySelector("[aria-current]") ?? links[0])?.setAttribute("tabindex", "0");
  if (wanted.length > limit) {
    whenIdle(() => {
      if (limit >= known.size) return;
      limit += MORE;
      draw();
    });
  }
}

function isFound(head) {
  return !search || has(plain(head.title), search.words) || search.found.has(head.id);
}

function rowOf(head) {
  let row = rows.get(head.id);
  if (!row) {
    row = make("li");
    row.dataset.id = head.id;
    const link = make("a");
    link.href = `#${head.id}`;
    link.tabIndex = -1;
    link.dir = "auto";
    const more = button("⋯", "more", "", "more");
    more.tabIndex = -1;
    more.setAttribute("aria-haspopup", "menu");
    row.append(link, more);
    Object.assign(row, { link, more });
    rows.set(head.id, row);
    setCurrent(row, head.id === marked);
  }
  const [link, more] = [row.link, row.more];
  const excerpt = search?.found.get(head.id) ?? "";
  const looks = JSON.stringify([head.title, excerpt, head.coming]);
  if (row.looks !== looks) {
    row.looks = looks;
    row.title = head.title; // it may be cut
    link.replaceChildren(make("span", "title", head.title));
    if (head.coming) link.append(make("span", "for-ears", "An answer is coming"));
    if (excerpt) link.append(make("span", "excerpt", excerpt));
    link.classList.toggle("coming", Boolean(head.coming));
    more.setAttribute("aria-label", `More for “${head.title}”`);
  }
  return row;
}

function setCurrent(row, is) {
  const link = row.querySelector("a");
  if (!link) return;
  if (is) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
}

// --- By keyboard: the list is one stop of the Tab key, and its rows are gone through with the arrows ---

list.addEventListener("focusin", ({ target }) => {
  const row = target.closest("li");
  if (!row || !target.matches("a, .more")) return;
  for (const other of list.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
  for (const one of row.children) one.tabIndex = 0;
});

list.addEventListener("keydown", (event) => {
  const row = event.target.closest("li");
  if (!row || event.target.matches("input") || event.isComposing) return;
  const all = [...list.querySelectorAll("li")];
  const here = all.indexOf(row);
  const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
  const { id } = row.dataset;
  if (to !== undefined) (to < 0 ? query : all[Math.min(to, all.length - 1)].querySelector("a")).focus();
  else if (event.key === "F2") rename(id);
  else if (event.key === "Delete") discard(id);
  else return;
  event.preventDefault();
});

query.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "Enter") list.querySelector("a")?.focus();
  else if (event.key === "Escape" && query.value) setQuery("");
  else return;
  event.preventDefault();
});

// --- Search ---

let typing = 0;

function setQuery(text) {
  query.value = text;
  look();
}

function look() {
  search?.abort.abort();
  const words = plain(query.value).split(/\s+/).filter(Boolean);
  search = words.length ? { words, found: new Map(), abort: new AbortController() } : null;
  limit = FIRST;
  draw();
  if (!search) return;
  const { found, abort } = search;
  let drawing = 0;
  const drawSoon = () => (drawing ||= requestAnimationFrame(() => ((drawing = 0), abort.signal.aborted || draw())));
  searchText(words, (id, excerpt) => (found.set(id, excerpt), drawSoon()), abort.signal).catch((error) => console.error(error));
}

query.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(look, TYPING_MS);
});

// --- What can be done with one ---

const ACTS = {
  rename,
  link: async (id) => {
    const url = new URL(`#${id}`, location.href).href;
    await (navigator.clipboard?.writeText(url) ?? Promise.reject()).then(
      () => notice("The link is copied. It opens this chat in this browser."),
      () => notice(url),
    );
  },
  markdown: (id) => save(id, "md", "text/markdown", asMarkdown),
  json: (id) => save(id, "json", "application/json", asJSON),
  delete: discard,
};

async function save(id, ending, type, made) {
  const record = await read(id);
  if (record) download(fileName(record.title, ending), type, made(record));
}

function rename(id) {
  const row = rows.get(id);
  const link = row.querySelector("a");
  const input = make("input");
  input.value = known.get(id).title;
  input.setAttribute("aria-label", "Title");
  let open = true;
  const close = (keep, focus = true) => {
    if (!open) return;
    open = false;
    const title = input.value.trim();
    input.replaceWith(link);
    if (focus) link.focus();
    if (!keep || !title || title === known.get(id)?.title) return;
    change(id, (record) => Object.assign(record, { title, titled: "user" })).catch((error) => console.error(error));
  };
  input.addEventListener("keydown", (event) => {
    event.stopPropagation(); // Escape is not for the answer that is coming
    if (event.isComposing) return;
    if (event.key === "Enter") close(true);
    else if (event.key === "Escape") close(false);
  });
  input.addEventListener("blur", () => close(true, false));
  link.replaceWith(input);
  input.focus();
  input.select();
}

async function discard(id) {
  const row = rows.get(id);
  const wasShown = id === marked;
  const next = row?.nextElementSibling ?? row?.previousElementSibling;
  const record = await remove(id);
  if (!record) return;
  (next?.querySelector("a") ?? query).focus();
  notice(`“${record.title}” is deleted.`, "Undo", async () => {
    await put(record);
    if (wasShown) location.hash = id;
    rows.get(id)?.querySelector("a").focus();
  });
}

// --- The menu of a row ---

let menuFor = null;

function openMenu(more) {
  menuFor = more.closest("li").dataset.id;
  menu.showPopover();
  const place = more.getBoundingClientRect();
  const { width, height } = menu.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(place.right - width, innerWidth - width - 8))}px`;
  menu.style.top = `${place.bottom + height + 8 > innerHeight ? place.top - height - 4 : place.bottom + 4}px`;
  more.setAttribute("aria-expanded", "true");
  menu.querySelector("button").focus();
}

list.addEventListener("click", (event) => {
  const more = event.target.closest(".more");
  if (more) openMenu(more);
});
list.addEventListener("contextmenu", (event) => {
  const more = event.target.closest("li")?.querySelector(".more");
  if (!more || event.shiftKey) return;
  event.preventDefault();
  openMenu(more);
});
menu.addEventListener("toggle", ({ newState }) => {
  if (newState === "closed") list.querySelector(".more[aria-expanded]")?.removeAttribute("aria-expanded");
});
menu.addEventListener("click", ({ target }) => {
  const act = target.closest("button")?.dataset.act;
  if (!act) return;
  const id = menuFor;
  menu.hidePopover();
  rows.get(id)?.querySelector(".more").focus();
  ACTS[act](id);
});
menu.addEventListener("keydown", (event) => {
  const all = [...menu.querySelectorAll("button")];
  const here = all.indexOf(document.activeElement);
  const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: -1 }[event.key];
  if (to === undefined && event.key !== "Tab") return;
  event.preventDefault();
  if (event.key === "Tab") menu.hidePopover();
  else all.at(to % all.length).focus();
});

// --- A file of another browser ---

at("import").addEventListener("click", () => at("import-file").click());
at("import-file").addEventListener("change", async ({ target }) => {
  const files = [...target.files];
  target.value = "";
  let last = null;
  for (const file of files) {
    const record = await file.text().then(fromJSON).catch(() => null);
    if (!record) notice(`“${file.name}” is no chat that was exported as JSON.`);
    else if (await read(record.id)) notice(`“${record.title}” is here already.`);
    else last = await put(record);
  }
  if (last) location.hash = last.id;
});

// --- The sidebar itself: beside the conversation, or over it where there is little room ---

function toggle(open, focus = true) {
  document.body.classList.toggle("no-sidebar", !open);
  at("sidebar-toggle").setAttribute("aria-expanded", open);
  const over = open && narrow.matches;
  for (const element of [document.querySelector("main"), document.querySelector("footer")]) element.inert = over;
  at("shade").hidden = !over;
  if (!narrow.matches) setting("sidebar", open ? "open" : "closed");
  if (focus && open) (list.querySelector("[aria-current]") ?? query).focus();
  if (focus && !open) at("sidebar-toggle").focus();
}

function sayTrouble() {
  at("keeping").textContent = TROUBLES[keeping.trouble] ?? "";
}

at("sidebar-toggle").addEventListener("click", sidebar.toggle);
at("shade").addEventListener("click", () => toggle(false));
at("sidebar").addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.defaultPrevented && narrow.matches) toggle(false);
});
narrow.addEventListener("change", () => toggle(!narrow.matches && setting("sidebar") !== "closed", false));
document.addEventListener("visibilitychange", () => document.hidden || draw()); // it may be another day
