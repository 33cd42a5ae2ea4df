// A formula. KaTeX comes with the first one; until then, and where it does not understand one, the source is shown.
// KaTeX's own tree becomes nodes by createElement and CSSOM: no markup is parsed, no style attribute written.

import { coming, later } from "./queue.js";

const OPTIONS = { throwOnError: true, strict: "ignore", trust: false, maxSize: 40, maxExpand: 500, output: "htmlAndMathml" };
const REMEMBERED = 200;

let katex = null; // when it is there
let loading = null;
const rendered = new Map(); // what is drawn again while its paragraph grows

export class FormulaView {
  element = document.createElement("span");

  #tex;
  #display;
  #filled = false;

  constructor(tex, display) {
    this.#tex = tex.trim();
    this.#display = display;
    this.element.className = display ? "math display" : "math";
    this.element.dir = "ltr";
    if (display) this.element.tabIndex = 0; // it scrolls sideways
  }

  takes(other) {
    return other instanceof FormulaView && other.#tex === this.#tex && other.#display === this.#display;
  }

  take() {}

  fill() {
    if (this.#filled) return;
    this.#filled = true;
    if (katex) return this.#draw();
    this.#drawSource();
    load().then(
      () => later(() => (this.#draw(), true)),
      () => {}, // the source stays
    );
  }

  #draw() {
    const key = `${this.#display}${this.#tex}`;
    let drawn = rendered.get(key);
    if (!drawn) {
      try {
        drawn = nodesOf(this.#tex, this.#display);
      } catch (error) {
        this.#drawSource();
        this.element.classList.add("wrong");
        this.element.title = error.message.replace(/^KaTeX parse error: /, "");
        return;
      }
      if (rendered.size >= REMEMBERED) rendered.clear();
      rendered.set(key, drawn);
    }
    const source = document.createElement("span");
    source.className = "tex";
    source.textContent = this.#tex;
    this.element.replaceChildren(source, drawn.cloneNode(true));
    this.element.dispatchEvent(new CustomEvent("grown", { bubbles: true }));
  }

  #drawSource() {
    const source = document.createElement("code");
    source.textContent = this.#tex;
    this.element.replaceChildren(source);
  }
}

// What is copied has the source of a formula, not its boxes.
function copyAsSource(event) {
  const selection = getSelection();
  if (selection.isCollapsed || !event.target.closest?.(".message")) return;
  const part = selection.getRangeAt(0).cloneContents();
  const formulas = part.querySelectorAll(".math:has(> .tex)");
  if (formulas.length === 0) return;
  for (const formula of formulas) {
    const marks = formula.matches(".display") ? "$$" : "$";
    formula.replaceWith(`${marks}${formula.firstChild.textContent}${marks}`);
  }
  const place = document.createElement("div"); // only what is laid out has its line ends
  place.className = "for-ears";
  place.append(part);
  document.body.append(place);
  event.clipboardData.setData("text/plain", place.innerText);
  place.remove();
  event.preventDefault();
}

function load() {
  if (!loading) document.addEventListener("copy", copyAsSource);
  loading ??= coming(Promise.all([import("../vendor/katex/katex.js"), sheet()]).then(() => (katex = globalThis.katex)));
  loading.catch(() => (loading = null)); // the next formula tries again
  return loading;
}

function sheet() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("../vendor/katex/katex.css", import.meta.url).href;
  return new Promise((resolve, reject) => {
    link.addEventListener("load", resolve);
    link.addEventListener("error", reject);
    document.head.append(link);
  });
}

function nodesOf(tex, displayMode) {
  const tree = katex.__renderToDomTree(tex, { ...OPTIONS, displayMode, macros: {} });
  withoutStyleAttributes(tree);
  return tree.toNode();
}

// In a few MathML nodes KaTeX writes a style attribute, which the Content Security Policy refuses; MathML is for ears here.
function withoutStyleAttributes(node) {
  if (node.attributes?.style) delete node.attributes.style;
  node.children?.forEach(withoutStyleAttributes);
}
