// Nodes, made of text alone: what callers and upstreams have chosen is never read as markup.

/** An element with properties (`class`, `aria-…`, `on…`, others as attributes) and children; null and false are left out. */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value == null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** A table: `columns` are {name, cell(row), number}; `label` is for those who hear it. */
export function table(label, columns, rows, properties = {}) {
  const head = columns.map(({ name, number }) => h("th", { scope: "col", class: number && "number" }, name));
  const body = rows.map((row) =>
    h("tr", {}, columns.map(({ cell, number, name }) => h("td", { class: number && "number", "data-name": name }, cell(row)))),
  );
  return h("div", { class: "table", tabindex: "0", role: "region", "aria-label": label, ...properties },
    h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

export function section(title, ...children) {
  const id = `section-${title.toLowerCase().replace(/\W+/g, "-")}`;
  return h("section", { "aria-labelledby": id }, h("h2", { id }, title), children);
}

/** What is said where there is nothing to show, and what to do about it. */
export const empty = (...text) => h("p", { class: "empty" }, text);

/** How something went: a sign besides the colour, and the word. */
export function state(word) {
  const sign = { completed: "✓", ready: "✓", running: "▸", cancelled: "■", interrupted: "✕", failed: "✕", "set aside": "✕", refused: "⊘" }[word];
  return h("span", { class: `state ${word.replace(" ", "-")}` }, h("span", { "aria-hidden": "true" }, sign ?? "•"), ` ${word}`);
}
