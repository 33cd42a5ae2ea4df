// A block of code: its language, Copy, Wrap, and lines that get their colours as they come. A line that is finished is never
// touched again; only the one that is being written is read anew.

import { coming, later } from "./queue.js";

const STACK = 40; // lines that are laid out by themselves

let highlighter = null; // a promise of highlight.js, once a block has asked for it
const readers = new Map(); // language -> its reader, or null; only those that are there

export class CodeView {
  element = document.createElement("div");
  inner = document.createElement("code");

  #language;
  #body;
  #shown = ""; // what set() has been given, from where commit() left it
  #source = ""; // all of the code
  #stack = null; // the element that takes the next line
  #lines = 0; // in it
  #nodes = []; // of the line that is being written
  #line = "";
  #ended = false; // the line has its end, which is drawn before the next one
  #reader = null;
  #state = null; // at the beginning of the line that is being written
  #begun = false;
  #diagram = null;
  #draws = null; // its button

  constructor(language, body) {
    this.#language = language;
    this.#body = body;
    const label = document.createElement("span");
    label.className = "language";
    label.textContent = language;
    const kind = language ? `${language} code` : "code";
    const wrap = button("wrap", "Wrap", `Wrap the lines of this ${kind}`);
    wrap.setAttribute("aria-pressed", "false");
    wrap.addEventListener("click", () => {
      const wraps = this.element.classList.toggle("wraps");
      wrap.setAttribute("aria-pressed", `${wraps}`);
    });
    const copy = button("copy", "Copy", `Copy this ${kind}`);
    copy.addEventListener("click", (event) => {
      event.stopPropagation();
      this.#copy(copy);
    });
    const head = document.createElement("div");
    head.className = "code-head";
    head.append(label, wrap, copy);
    if (language === "mermaid") wrap.before(this.#drawing());
    const pre = document.createElement("pre");
    pre.tabIndex = 0;
    pre.dir = "ltr"; // code is, whatever its comments are
    pre.append(this.inner);
    this.element.className = "code";
    this.element.append(head, pre);
  }

  /** Whether it can go on as `other`, which has been made from the same source later. */
  takes(other) {
    return other instanceof CodeView && other.#language === this.#language;
  }

  take(other) {
    this.set(other.#body);
  }

  /** Show what it was made with: called when it has its place. */
  fill() {
    if (!this.#begun) this.set(this.#body);
  }

  /** Show `body`, which begins where commit() has left it. */
  set(body) {
    this.#begin();
    if (body === this.#shown || `${body}\n` === this.#shown) return;
    if (!body.startsWith(this.#shown)) this.#clear();
    this.#write(body.slice(this.#shown.length));
    this.#shown = body;
  }

  /** What is shown up to its last line's end will not be given to set() again. */
  commit() {
    this.#shown = this.#shown.slice(this.#shown.lastIndexOf("\n") + 1);
  }

  #begin() {
    if (this.#begun) return;
    this.#begun = true;
    const language = this.#language;
    if (!language) return;
    if (readers.has(language)) return this.#read(readers.get(language));
    highlighter ??= import("./highlight.js");
    coming(highlighter.then(({ readerOf }) => readerOf(language))).then(
      (reader) => {
        readers.set(language, reader);
        if (reader) this.#colour(reader);
      },
      () => (highlighter = null), // without colours, then; the next block tries again
    );
  }

  #read(reader) {
    this.#reader = reader;
    this.#state = reader?.start() ?? null;
  }

  // Give colours to what stands there without; a stack at a time.
  #colour(reader) {
    const state = reader.start();
    let stack = this.inner.firstElementChild;
    later(() => {
      const cursor = stack?.querySelector(".cursor");
      cursor?.remove();
      const lines = stack?.textContent.split("\n") ?? [];
      const isLast = stack === this.#stack || !stack;
      // A finished stack ends with its last line's end; of the last one the line that is being written is drawn as usual.
      const open = isLast ? (this.#ended ? [] : lines.splice(-1)) : lines.splice(-1).slice(1);
      const pieces = lines.map((line) => reader.line(line, state));
      if (isLast && this.#ended && !stack) reader.line("", state);
      stack?.replaceChildren(...between(pieces, !isLast || open.length > 0).map(piece));
      if (isLast) {
        [this.#reader, this.#state, this.#nodes] = [reader, state, []];
        if (open.length && this.#line !== "") this.#draw();
      }
      if (cursor) stack.append(cursor);
      stack = stack?.nextElementSibling;
      return isLast;
    });
  }

  #clear() {
    this.#source = this.#source.slice(0, this.#source.length - this.#shown.length);
    const kept = this.#source;
    this.inner.replaceChildren();
    [this.#stack, this.#lines, this.#nodes, this.#line, this.#ended, this.#shown] = [null, 0, [], "", false, ""];
    if (this.#reader) this.#read(this.#reader);
    this.#source = "";
    if (kept) this.#write(kept);
  }

  #write(text) {
    this.#source += text;
    if (this.#diagram) this.#undraw();
    const lines = text.split("\n");
    lines.forEach((line, index) => {
      if (index > 0) this.#endLine();
      if (line === "") return;
      if (this.#ended) this.#newLine();
      this.#line += line;
      // One that is finished is drawn once, by endLine().
      if (index === lines.length - 1) this.#draw();
    });
  }

  #endLine() {
    if (this.#ended) this.#newLine();
    if (this.#line !== "") this.#draw();
    if (this.#reader) this.#reader.line(this.#line, this.#state);
    this.#ended = true;
  }

  #newLine() {
    this.#place().append("\n");
    this.#lines++;
    [this.#ended, this.#line, this.#nodes] = [false, "", []];
    if (this.#lines === STACK) [this.#stack, this.#lines] = [null, 0];
  }

  #place() {
    if (!this.#stack) {
      this.#stack = document.createElement("span");
      this.#stack.className = "stack";
      this.inner.append(this.#stack);
    }
    return this.#stack;
  }

  // The line that is being written: what is there already stays.
  #draw() {
    const place = this.#place();
    const pieces = this.#reader ? this.#reader.line(this.#line, this.#reader.copy(this.#state)) : [["", this.#line]];
    pieces.forEach(([colour, text], index) => {
      const old = this.#nodes[index];
      if (old && colourOf(old) === colour) {
        const characters = colour ? old.firstChild : old;
        if (characters.data === text) return;
        if (text.startsWith(characters.data)) characters.appendData(text.slice(characters.data.length));
        else characters.data = text;
        return;
      }
      const fresh = piece([colour, text]);
      if (old) old.replaceWith(fresh);
      else place.append(fresh);
      this.#nodes[index] = fresh;
    });
    for (const old of this.#nodes.splice(pieces.length)) old.remove();
  }

  // The button that shows the picture in place of the source, and the source again.
  #drawing() {
    this.#draws = button("draw", "Draw", "Draw this diagram");
    this.#draws.setAttribute("aria-pressed", "false");
    this.#draws.addEventListener("click", () => (this.element.classList.contains("drawn") ? this.#undraw() : this.#drawIt()));
    return this.#draws;
  }

  async #drawIt() {
    this.#undraw();
    this.#draws.setAttribute("aria-pressed", "true");
    this.element.classList.add("drawn");
    try {
      const { DiagramView } = await import("./diagram.js");
      if (this.#diagram || !this.element.classList.contains("drawn")) return;
      this.#diagram = new DiagramView(this.#source, () => this.#showSource());
      this.element.append(this.#diagram.element);
    } catch {
      this.#showSource();
      say(this.#draws, "Not loaded", "Draw");
    }
  }

  #undraw() {
    this.#diagram?.remove();
    this.#diagram = null;
    this.#showSource();
  }

  #showSource() {
    this.#draws.setAttribute("aria-pressed", "false");
    this.element.classList.remove("drawn");
  }

  async #copy(button) {
    const said = await (navigator.clipboard?.writeText(this.#source.replace(/\n$/, "")) ?? Promise.reject()).then(
      () => "Copied",
      () => "Not allowed",
    );
    say(button, said, "Copy");
  }
}

// The pieces of lines with the ends of lines between them, and behind the last one if it has one.
function between(lines, ends) {
  return lines.flatMap((pieces, index) => (index < lines.length - 1 || ends ? [...pieces, ["", "\n"]] : pieces));
}

function piece([colour, text]) {
  if (!colour) return document.createTextNode(text);
  const element = document.createElement("span");
  element.className = `of-${colour}`;
  element.textContent = text;
  return element;
}

function colourOf(node) {
  return node.nodeType === Node.TEXT_NODE ? "" : node.className.slice(3);
}

// On a button, for a moment; then its own word again.
function say(button, words, own) {
  button.textContent = words;
  setTimeout(() => (button.textContent = own), 1500);
}

function button(name, text, label) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = name;
  element.textContent = text;
  element.setAttribute("aria-label", label);
  return element;
}
