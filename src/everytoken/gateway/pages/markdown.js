// Markdown that grows. A block that is finished is never touched again; only the last, open one is parsed and
// patched, and of a long open block (list, table, fence, paragraph) only its end. So a frame costs the same at the
// end of a long answer as at its beginning.

import { mend } from "./mend.js";
import { fresh, mark, views } from "./nodes.js";
import { PENDING } from "./rich/math.js";
import { parse } from "./rich/parser.js";
import { freezeColumns, goOnIn } from "./rich/long.js";

const LONG_PARAGRAPH = 800;
const FORCED_CUT = 2500;
const LONGEST = 6000;
const BLOCKS = 20; // in each part
const ROWS = 40; // of a table, or items of a list, that are laid out by themselves
// Stands for the part of a long paragraph that is already final, so that its rest is not read as a new block.
const GOES_ON = "\uE000";

export class MarkdownView {
  #root;
  #tail = ""; // source of what may still change
  #open = null; // the block it belongs to: {type, element, inner, stable (its last node that is final), prefix}
  #links = Object.create(null);
  #notes = new Map(); // label of each footnote that is known -> its number

  constructor(root) {
    this.#root = root;
    root.addEventListener("click", toNote);
  }

  /** Add text and show it. `final`: nothing will follow, `cut`: and that is not where the text wanted to end. */
  write(text, { final = false, cut = false } = {}) {
    // CRLF is one line end; a CR at the very end waits in the source until its LF has come.
    this.#tail = (this.#tail + text).replace(/\r\n/g, "\n");
    const prefix = this.#open?.prefix ?? "";
    const source = prefix + this.#tail;
    let shown = final && !cut ? source : mend(source, { hold: !final });
    let tokens = parse(shown, this.#links); // a finished definition stays known
    if (isMisplaced(tokens)) {
      shown = mend(source, { hold: !final, formulas: false });
      tokens = parse(shown, this.#links);
    }
    while (tokens.at(-1)?.type === "space") tokens.pop();

    // Every block but the last is finished: what could still be drawn into it, mend() has left out.
    let at = 0;
    for (const token of final ? tokens : tokens.slice(0, -1)) {
      const rest = shown.slice(at);
      at += token.raw.length;
      if (token.type === "space") continue;
      if (token.type === "def") this.#links[token.tag] ??= { href: token.href, title: token.title };
      this.#show(token, rest);
      this.#split();
      this.#open = null;
    }
    if (final) this.#tail = "";
    if (final || tokens.length === 0) return;
    if (at > 0) this.#tail = source.slice(at);
    this.#show(tokens.at(-1), shown.slice(at));
    this.#freeze(tokens.at(-1), shown.slice(at), source.slice(at));
    this.#split();
  }

  #show(token, source) {
    const open = this.#open;
    const goesOn = open?.prefix === GOES_ON;
    const isOpenFence = token.type === "code" && fenceOf(token.raw)?.closed === false;
    if (token.type === "note") this.#know(token.label);
    const { built, made } = fresh(goesOn ? { ...token, type: "paragraph" } : token, isOpenFence ? bodyOf(source) : undefined, this.#notes);
    if (!built) {
      if (open && !open.stable) open.element.remove(); // what looked like text was a link's definition
      if (!open?.stable) this.#open = null;
      return;
    }
    if (goesOn) dropFirst(built.inner);
    if (open?.view && built.view && open.view.takes(built.view)) open.view.take(built.view);
    else if (open?.stable || (open && !open.view && !built.view && open.element.nodeName === built.element.nodeName)) {
      patch(open.inner, open.stable ? open.stable.nextSibling : open.inner.firstChild, built.inner);
    } else {
      if (open) open.element.replaceWith(built.element);
      else this.#part().append(built.element);
      this.#open = { ...built, stable: null, prefix: "" };
    }
    for (const view of made) if (this.#root.contains(view.element)) view.fill();
  }

  // A footnote has come: what refers to it leads there from now on.
  #know(label) {
    if (this.#notes.has(label)) return;
    this.#notes.set(label, /^\d{1,3}$/.test(label) ? label : `${this.#notes.size + 1}`);
    for (const unknown of this.#root.querySelectorAll("[data-unknown]")) {
      if (unknown.dataset.unknown === label) unknown.replaceWith(mark(label));
    }
  }

  // Where the next block goes. Parts let the browser leave out what cannot be seen; one block each would be too many.
  #part(another = false) {
    let part = this.#root.lastElementChild;
    if (!part || another || part.childElementCount >= BLOCKS) {
      part = document.createElement("div");
      part.className = "part";
      this.#root.append(part);
    }
    return part;
  }

  // Move what cannot change any more of an open block out of the source.
  #freeze(token, shown, source) {
    const open = this.#open;
    if (!open) return;
    const lines = shown.lastIndexOf("\n") + 1;
    if (token.type === "list") {
      const cut = token.items.slice(0, -1).reduce((length, item) => length + item.raw.length, 0);
      if (cut === 0 || /^(?: {4}| *\t)/.test(source.slice(cut))) return;
      open.stable = open.inner.lastChild.previousSibling;
      this.#tail = source.slice(cut);
    } else if (token.type === "table") {
      const header = /^.*\n.*\n/.exec(shown)?.[0];
      if (!header || lines <= header.length) return;
      const rows = shown.slice(header.length, lines);
      if (/^[ \t]*$/m.test(rows.slice(0, -1))) return; // a blank line: the table ends here
      const complete = rows.split("\n").length - 1;
      open.stable = complete === token.rows.length ? open.inner.lastChild : open.inner.lastChild.previousSibling;
      open.prefix = header;
      this.#tail = source.slice(lines);
    } else if (token.type === "code" && fenceOf(shown)?.closed === false) {
      const { header } = fenceOf(shown);
      if (lines <= header.length) return;
      open.view.commit();
      open.prefix = header;
      this.#tail = source.slice(lines);
    } else if (token.type === "paragraph" && source.length > LONG_PARAGRAPH) {
      this.#freezeInline(token, source);
    }
  }

  // A long list goes on in another one, a long table in another group of rows: only the last is laid out again.
  #split() {
    const open = this.#open;
    if (!open) return;
    const isList = /^[OU]L$/.test(open.element.nodeName);
    while ((isList || open.inner.nodeName === "TBODY") && open.inner.childElementCount > ROWS) {
      if (!isList) freezeColumns(open.inner.parentElement);
      const next = goOnIn(open.inner, ROWS);
      if (isList) {
        this.#part(true).append(next);
        open.element = next;
      }
      open.inner = next;
      if (open.stable?.parentElement !== next) open.stable = null;
    }
  }

  // Cut a long paragraph at a space before which nothing is open that later text could close.
  #freezeInline(token, source) {
    const open = this.#open;
    const goesOn = open.prefix === GOES_ON;
    let at = 0;
    let node = open.stable ? open.stable.nextSibling : open.inner.firstChild;
    let best = null;
    for (const inline of token.tokens) {
      if (inline.type === "text") {
        if (/[*_~`[\]<\\&$]/.test(inline.raw) && source.length < FORCED_CUT) break;
        const space = inline.raw.lastIndexOf(" ");
        if (space > 0 && source.startsWith(inline.raw.slice(0, space), at)) {
          best = { node, keep: space + 1 - (goesOn && at === 0 ? 1 : 0), at: at + space + 1 };
        }
      }
      at += inline.raw.length;
      node = node?.nextSibling;
    }
    if (!best || best.at < LONG_PARAGRAPH / 2 || best.node?.nodeType !== Node.TEXT_NODE) return;
    if (best.keep <= 0 || best.keep > best.node.length) return;
    best.node.splitText(best.keep);
    open.stable = best.node;
    open.prefix = GOES_ON;
    open.length = (open.length ?? 0) + best.at;
    this.#tail = source.slice(best.at);
    if (open.length > LONGEST) this.#goOnBelow();
  }

  // However little of a paragraph changes, all of its lines are laid out again: a very long one goes on in another.
  #goOnBelow() {
    const { element: above, stable } = this.#open;
    const below = document.createElement("p");
    below.dir = getComputedStyle(above).direction;
    while (stable.nextSibling) below.append(stable.nextSibling);
    above.className = "goes-on";
    above.after(below);
    this.#open = { element: below, inner: below, stable: null, prefix: GOES_ON };
  }
}

// Whether a formula is taken for open although its block has ended: then it is none.
function isMisplaced(tokens) {
  const isOpen = ({ raw }) => raw.includes(PENDING);
  const last = tokens.findLast(({ type }) => type !== "space");
  if (!last) return false;
  const finished = tokens.slice(0, tokens.lastIndexOf(last));
  if (last.type === "list") finished.push(...last.items.slice(0, -1));
  if (last.type === "table") finished.push({ raw: last.raw.trimEnd().replace(/.*$/, "") });
  return finished.some(isOpen);
}

// From a footnote's mark to the footnote, and back.
function toNote({ target, currentTarget: root }) {
  const { of, back } = target.dataset;
  if (of === undefined && back === undefined) return;
  const places = [...root.querySelectorAll(of === undefined ? ".note-mark" : ".footnote")];
  const place = places.find(({ dataset }) => (of === undefined ? dataset.of === back : dataset.note === of));
  place?.focus({ preventScroll: true });
  place?.scrollIntoView({ block: "center" });
}

// {header: the opening line, closed} of a fenced block, or null for an indented one.
function fenceOf(raw) {
  const match = /^( {0,3})(`{3,}|~{3,})[^\n]*\n?/.exec(raw);
  if (!match) return null;
  const [header, , marks] = match;
  const last = raw.slice(header.length).trimEnd().split("\n").at(-1).trim();
  const closed = last.length >= marks.length && last === marks[0].repeat(last.length);
  return { header, closed };
}

function bodyOf(source) {
  const indent = /^ */.exec(source)[0].length;
  const body = source.slice(fenceOf(source).header.length);
  return indent ? body.replace(new RegExp(`^ {1,${indent}}`, "gm"), "") : body;
}

function dropFirst(inner) {
  const first = inner.firstChild;
  if (first?.data?.[0] !== GOES_ON) return;
  first.data = first.data.slice(1);
  if (first.data === "") first.remove();
}

// Make the children of `parent` from `old` on like those of `fresh`, keeping every node that can be kept, so that
// a selection, a scrolled code block and the eye stay where they are.
function patch(parent, old, fresh) {
  for (const next of [...fresh.childNodes]) {
    const following = old?.nextSibling ?? null;
    const [mine, theirs] = [views.get(old), views.get(next)];
    if (!old) parent.append(next);
    else if (mine || theirs) {
      if (mine && theirs && mine.takes(theirs)) mine.take(theirs);
      else old.replaceWith(next);
    } else if (old.nodeType === Node.TEXT_NODE && next.nodeType === Node.TEXT_NODE) {
      if (next.data.startsWith(old.data)) old.appendData(next.data.slice(old.data.length));
      else old.data = next.data;
    } else if (old.cloneNode(false).isEqualNode(next.cloneNode(false))) patch(old, old.firstChild, next);
    else old.replaceWith(next);
    old = following;
  }
  while (old) {
    const following = old.nextSibling;
    old.remove();
    old = following;
  }
}
