// Markdown tokens to DOM nodes. Nothing a model writes is interpreted as HTML, and nothing it names is loaded: an
// image would tell a stranger's server who reads this, so it is shown as a link.

import { CodeView } from "./rich/code.js";
import { FormulaView } from "./rich/formula.js";

const SAFE_LINK = /^(?:https?:|mailto:|tel:)/i;
// Each of these has the direction of its own text: an Arabic paragraph may follow an English one.
const DIRECTED = new Set(["p", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "blockquote", "table"]);
const ENTITY = /&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|([A-Za-z]+));/g;
const NAMED = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00A0", copy: "©", hellip: "…", ndash: "–", mdash: "—",
  larr: "←", rarr: "→", times: "×", deg: "°", middot: "·", bull: "•", le: "≤", ge: "≥", ne: "≠",
};

/** The view of an element that keeps its own content: code, a formula. */
export const views = new WeakMap();
let made = []; // views, since fresh() was called
let notes = null; // label -> number, of the text that is being shown

/** Return {built, made}: what `block` returns, and the views in it, each to be filled once it has its place. */
export function fresh(token, body, known) {
  [made, notes] = [[], known];
  const built = block(token, body);
  return { built, made };
}

// Return {element, inner (where its children go)} for a block token, or null for one that shows nothing.
function block(token, body) {
  switch (token.type) {
    case "heading":
      return same(make(`h${Math.min(token.depth + 1, 6)}`, inlines(token.tokens)));
    case "paragraph":
      return same(make("p", inlines(token.tokens)));
    case "text":
      return same(make("p", inlines(token.tokens ?? [token])));
    case "blockquote":
      return same(make("blockquote", blocks(token.tokens)));
    case "hr":
      return same(make("hr"));
    case "list":
      return list(token);
    case "table":
      return table(token);
    case "code":
      return code(token, body);
    case "math":
    case "pending":
      return same(make("p", [math(token)]));
    case "note":
      return footnote(token);
    case "html":
      return token.text.trim() === "" ? null : same(make("p", [text(token.text.trimEnd())]));
    default:
      return null; // space, link definitions
  }
}

function blocks(tokens) {
  return tokens.map((token) => block(token)?.element).filter(Boolean);
}

function list(token) {
  const element = make(token.ordered ? "ol" : "ul", token.items.map(item));
  if (token.ordered && token.start !== 1) element.start = token.start;
  return same(element);
}

// An item's own line is never wrapped in a paragraph: whether a list is loose is known only at its end.
function item(token) {
  const children = token.tokens.flatMap((child) => {
    if (child.type === "text" || (child.type === "paragraph" && child === firstText(token))) {
      return inlines(child.tokens ?? [child]);
    }
    if (child.type === "checkbox") return [inline(child)];
    return blocks([child]);
  });
  return make("li", children);
}

function firstText(token) {
  return token.tokens.find((child) => child.type !== "checkbox" && child.type !== "space");
}

function box(checked) {
  const input = make("input");
  input.type = "checkbox";
  input.disabled = true;
  if (checked) input.setAttribute("checked", "");
  return input;
}

function table(token) {
  const cells = (name, row) =>
    row.map((cell, index) => {
      const element = make(name, inlines(cell.tokens));
      if (token.align[index]) element.classList.add(token.align[index]);
      return element;
    });
  const inner = make("tbody", token.rows.map((row) => make("tr", cells("td", row))));
  const head = make("thead", [make("tr", cells("th", token.header))]);
  const element = make("div", [make("table", [head, inner])]);
  element.className = "table";
  element.tabIndex = 0; // it scrolls sideways, also by keyboard
  return { element, inner };
}

function code(token, body = token.text) {
  const view = placed(new CodeView((token.lang ?? "").match(/^\S*/)[0], body));
  return { element: view.element, inner: view.inner, view };
}

// A formula, or the source of one that has not ended.
function math(token) {
  if (token.type === "math") return placed(new FormulaView(token.tex, token.display)).element;
  const element = make("code", [text(token.text)]);
  element.className = "pending";
  element.dir = "ltr";
  return element;
}

function footnote(token) {
  const number = make("button", [text(numberOf(token.label))]);
  number.type = "button";
  number.className = "number";
  number.dataset.back = token.label;
  number.setAttribute("aria-label", `Footnote ${numberOf(token.label)}, back to the text`);
  const inner = make("div", blocks(token.tokens));
  inner.dir = "auto";
  const element = make("div", [number, inner]);
  element.className = "footnote";
  element.dataset.note = token.label;
  element.setAttribute("role", "note");
  element.tabIndex = -1;
  return { element, inner };
}

// What a note is referred to with: a number from the first, a word once its note is there.
function reference(token) {
  const isKnown = /^\d{1,3}$/.test(token.label) || notes?.has(token.label);
  if (!isKnown) {
    const element = make("span", [text(token.raw)]);
    element.dataset.unknown = token.label;
    return element;
  }
  return mark(token.label);
}

/** The mark of a note, which leads to it. */
export function mark(label) {
  const button = make("button", [text(numberOf(label))]);
  button.type = "button";
  button.className = "note-mark";
  button.dataset.of = label;
  button.setAttribute("aria-label", `Footnote ${numberOf(label)}`);
  return make("sup", [button]);
}

function numberOf(label) {
  return notes?.get(label) ?? label;
}

function placed(view) {
  views.set(view.element, view);
  made.push(view);
  return view;
}

function inlines(tokens) {
  return tokens.map(inline);
}

function inline(token) {
  switch (token.type) {
    case "strong":
      return make("strong", inlines(token.tokens));
    case "em":
      return make("em", inlines(token.tokens));
    case "del":
      return make("del", inlines(token.tokens));
    case "codespan":
      return make("code", [text(token.text)]);
    case "br":
      return make("br");
    case "link":
      return link(token.href, inlines(token.tokens));
    case "math":
    case "pending":
      return math(token);
    case "reference":
      return reference(token);
    case "image":
      return link(token.href, [text(token.text || token.href)]);
    case "checkbox":
      return box(token.checked);
    case "escape":
      return text(token.text);
    case "html":
      return /^<br\s*\/?>$/i.test(token.text) ? make("br") : text(token.text);
    default:
      return token.tokens ? make("span", inlines(token.tokens)) : text(decoded(token.text ?? token.raw));
  }
}

function link(href, children) {
  if (!SAFE_LINK.test(href)) return make("span", children);
  const element = make("a", children);
  element.href = href;
  element.target = "_blank";
  element.rel = "noopener noreferrer nofollow";
  return element;
}

function decoded(source) {
  return source.replace(ENTITY, (all, decimal, hex, name) => {
    if (name) return NAMED[name] ?? all;
    const point = Number.parseInt(decimal ?? hex, decimal ? 10 : 16);
    return point > 0 && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff) ? String.fromCodePoint(point) : all;
  });
}

function make(name, children = []) {
  const element = document.createElement(name);
  if (DIRECTED.has(name)) element.dir = "auto";
  element.append(...children);
  return element;
}

function same(element) {
  return { element, inner: element };
}

function text(data) {
  return document.createTextNode(data);
}
