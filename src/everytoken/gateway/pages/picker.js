// Which model is asked: a button with its name, and a list that can be searched and read on a phone. The last list is
// kept, so that there is something to choose from while the gateway cannot be reached.

import { button, dialog, el } from "./elements.js";

const KEPT = "everytoken.models";
const MANY = 8; // from here on they are grouped by who owns them

/** The models in what `GET /v1/models` has answered: [{id, owner}], without repetitions; none if that is no list. */
export function modelsIn(listed) {
  const models = new Map();
  for (const one of Array.isArray(listed?.data) ? listed.data : []) {
    if (typeof one?.id !== "string" || one.id === "") continue;
    if (!models.has(one.id)) models.set(one.id, { id: one.id, owner: typeof one.owned_by === "string" ? one.owned_by : "" });
  }
  return [...models.values()];
}

/** The models that have every word of `query` in their name or owner, in groups: [{owner, models}]. */
export function groupsOf(models, query = "") {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = models.filter(({ id, owner }) => words.every((word) => `${id} ${owner}`.toLowerCase().includes(word)));
  if (models.length < MANY || new Set(models.map(({ owner }) => owner)).size < 2) return found.length ? [{ owner: "", models: found }] : [];
  const owners = new Map();
  for (const model of found) owners.set(model.owner, [...(owners.get(model.owner) ?? []), model]);
  return [...owners].map(([owner, of]) => ({ owner: owner || "Other", models: of }));
}

/** The model to ask: the conversation's own, else the last chosen if it is there, else the first. */
export function chosenOf(models, own, last) {
  return own || (models.some(({ id }) => id === last) ? last : models[0]?.id) || null;
}

/** The names to show below one another: a long path by its end, which is what tells models apart. */
export function shortName(id) {
  return id.length > 28 && id.includes("/") ? id.slice(id.lastIndexOf("/") + 1) : id;
}

function storage(use) {
  try {
    return use(localStorage);
  } catch {
    return null;
  }
}

/** The list that was kept last. */
export function keptModels() {
  try {
    return modelsIn({ data: JSON.parse(storage((kept) => kept.getItem(KEPT)) ?? "[]").map(({ id, owner }) => ({ id, owned_by: owner })) });
  } catch {
    return [];
  }
}

/** Keep a list. */
export const keepModels = (models) => storage((kept) => kept.setItem(KEPT, JSON.stringify(models)));

/**
 * Make `place` hold the button and `select` the choice; `chosen(id)` is called when another one is. Returns {list(models),
 * use(own, last), value, open()}.
 */
export function modelPicker({ place, select, chosen }) {
  let models = [];
  let own = null;
  let last = null;
  let active = -1; // of the options that are shown

  const name = el("span", { class: "name" });
  const opener = button({ id: "model-button", "aria-haspopup": "dialog", onclick: () => open() }, el("span", { class: "for-ears" }, "Model: "), name);
  place.append(opener);

  const search = el("input", {
    id: "model-search", type: "text", role: "combobox", autocomplete: "off", spellcheck: false, placeholder: "Search models",
    "aria-label": "Search models", "aria-controls": "model-list", "aria-expanded": "true", "aria-autocomplete": "list",
    autocapitalize: "off", enterKeyHint: "done", oninput: () => draw(),
  });
  const list = el("div", { id: "model-list", role: "listbox", "aria-label": "Models", tabIndex: 0 });
  const made = dialog({ id: "model-form", class: "sheet list", "aria-label": "Choose a model", onkeydown: onKey },
    el("div", { class: "search" }, search, button({ class: "close", "aria-label": "Close", onclick: () => made.close() }, "✕")),
    list,
  );
  list.addEventListener("click", ({ target }) => {
    const option = target.closest("[role=option]");
    if (option) choose(option.dataset.id);
  });

  const options = () => [...list.querySelectorAll("[role=option]")];
  const value = () => chosenOf(models, own, last);

  function optionOf(id, words, number) {
    const current = id === value();
    return el("div", { role: "option", id: `model-option-${number}`, "data-id": id, "aria-selected": String(current), class: current ? "chosen" : null }, words);
  }

  function draw() {
    const groups = groupsOf(models, search.value);
    const typed = search.value.trim();
    let number = 0;
    const rows = groups.map(({ owner, models: of }, group) => {
      const rows = of.map(({ id }) => optionOf(id, id, number++));
      if (!owner) return el("div", { role: "presentation" }, ...rows);
      return el("div", { role: "group", "aria-labelledby": `model-owner-${group}` }, el("div", { class: "owner", role: "presentation", id: `model-owner-${group}` }, owner), ...rows);
    });
    // Some servers list none of their models, or not all.
    if (typed && !models.some(({ id }) => id === typed)) rows.push(el("div", { role: "presentation" }, optionOf(typed, `Use “${typed}”`, number++)));
    list.replaceChildren(...rows);
    const shown = options();
    move(Math.max(0, typed ? 0 : shown.findIndex((option) => option.dataset.id === value())));
  }

  function move(to) {
    const shown = options();
    active = Math.min(Math.max(to, 0), shown.length - 1);
    shown.forEach((option, at) => option.classList.toggle("active", at === active));
    for (const focused of [search, list]) {
      if (shown[active]) focused.setAttribute("aria-activedescendant", shown[active].id);
      else focused.removeAttribute("aria-activedescendant");
    }
    shown[active]?.scrollIntoView({ block: "nearest" });
  }

  function onKey(event) {
    if (event.isComposing || event.target.closest(".close")) return;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
    if (event.key in steps) move(active + steps[event.key]);
    else if (event.key === "Home" && event.target === list) move(0);
    else if (event.key === "End" && event.target === list) move(Infinity);
    else if (event.key === "Enter") options()[active] && choose(options()[active].dataset.id);
    else return;
    event.preventDefault();
  }

  function choose(id) {
    own = last = id;
    made.close();
    refresh();
    chosen(id);
  }

  function refresh() {
    const id = value();
    place.hidden = models.length === 0;
    name.textContent = id ? shortName(id) : "";
    opener.title = id ?? "";
    const known = [...models.map(({ id: one }) => one), ...(id && !models.some(({ id: one }) => one === id) ? [id] : [])];
    select.replaceChildren(...known.map((one) => new Option(one, one, one === id, one === id)));
  }

  function open() {
    search.value = "";
    if (!made.open) made.showModal();
    draw();
    // Where a keyboard would cover the list, it opens when it is wanted.
    (matchMedia("(hover: none)").matches ? list : search).focus();
  }

  return {
    /** These are the models there are. */
    list(found) {
      models = found;
      refresh();
      if (made.open) draw();
    },
    /** Another conversation is shown: `own` is its model, `lately` the one that was chosen last anywhere. */
    use(theirs, lately) {
      own = theirs;
      last = lately;
      refresh();
    },
    get value() {
      return value();
    },
    open,
  };
}
