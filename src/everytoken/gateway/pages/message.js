// How one message looks: the text so far, the cursor, and under it what the reader has to know or may do.

import { COMPLETED, INTERRUPTED, STOPPED } from "./answer.js";
import { button, copyButton, editForm, make, setSwitcher, toolbar } from "./branches.js";
import { sayExcess } from "./excess.js";
import { MarkdownView } from "./markdown.js";
import { Thoughts, ThoughtsView } from "./rich/thinking.js";
import { slots } from "./slots.js";
import { textOf } from "./tree.js";
import { held } from "./words.js";

const HOLD_MS = 120; // the longest a word waits for its end
// Where the cursor may stand: in the last of these, which is where the next text will appear.
const PLACES = "p, h2, h3, h4, h5, h6, li, td, pre > code, .stack, blockquote";
// What may be done where a conversation is too long for the model.
const WAYS_BACK = [["Edit the question", "go-on", "", "edit-above"], ["Go back", "go-on", "", "go-back"], ["Ask in a new chat", "go-on", "", "ask-anew"]];

/** A question, and what may be done with it. */
export class QuestionView {
  element = make("div", "message question");

  #node;
  #text = make("div", "user");
  #acts = null;
  #form = null;
  #versions = [0, 1];

  constructor(node, { far = false } = {}) {
    this.element.dataset.id = node.id;
    this.#node = node;
    this.#text.dir = "auto";
    this.#text.append(textOf(node.content));
    slots.question(this.#text, node.content);
    this.element.append(this.#text);
    if (!far) this.near();
  }

  /** It comes into sight: now it has its buttons. */
  near() {
    if (this.#acts) return;
    this.#acts = toolbar("Question", [button("Edit", "edit", "Edit this question"), copyButton("Copy this question")]);
    this.element.append(this.#acts);
    setSwitcher(this.#acts, ...this.#versions);
  }

  /** It is version `index` of `count`. */
  versions(index, count) {
    if (String(this.#versions) === String([index, count])) return;
    this.#versions = [index, count];
    if (this.#acts) setSwitcher(this.#acts, index, count);
  }

  /** Let it be edited; `save(text)` when it is to be asked. */
  edit(save) {
    if (this.#form) return this.#form.querySelector("textarea").focus();
    const close = (text) => {
      this.#form.remove();
      this.#form = null;
      this.#text.hidden = this.#acts.hidden = false;
      this.#acts.querySelector("button").focus();
      if (text !== undefined) save(text);
    };
    this.#form = editForm(textOf(this.#node.content), close);
    this.#text.hidden = this.#acts.hidden = true;
    this.element.append(this.#form);
    this.#form.querySelector("textarea").focus();
  }
}

export class AnswerView {
  element = make("article", "message assistant");

  #text = make("div", "text");
  #note = make("div", "note");
  #acts = toolbar("Answer", []);
  #figures = make("div", "figures");
  #cursor = make("span", "cursor", "▊");
  #thinking = null; // the fold
  #tagged = new Thoughts(); // those in the text
  #node;
  #markdown = new MarkdownView(this.#text);
  #received = "";
  #answer = ""; // of it what is no thought
  #shown = 0;
  #frame = 0;
  #timer = 0;
  #ended = null; // the message, when it has ended
  #waits = false; // its text is not Markdown yet: it is out of sight
  #versions = [0, 1];

  constructor(node) {
    this.#node = node;
    this.element.dataset.id = node.id;
    this.element.setAttribute("aria-label", "Answer");
    this.element.setAttribute("aria-busy", "true");
    this.#cursor.setAttribute("aria-hidden", "true");
    this.element.append(this.#text, this.#note, this.#acts, this.#figures);
    this.#placeCursor();
  }

  /** The text as it reads. */
  get spoken() {
    this.#text.classList.add("spoken"); // formulas by their source, code without its buttons
    const words = this.#text.innerText;
    this.#text.classList.remove("spoken");
    return words;
  }

  add(text, node = this.#node) {
    this.#node = node;
    this.#received += text;
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** `node`: the answer that comes, which changes with it. */
  addReasoning(text, node = this.#node) {
    this.#node = node;
    if (!this.#thinking) {
      this.#thinking = new ThoughtsView(node);
      this.#text.before(this.#thinking.element);
    }
    this.#thinking.add(text);
  }

  /** Show another text than so far. */
  restart(text) {
    this.#clear();
    if (this.#tagged.been) this.#thinking?.restart();
    this.#tagged = new Thoughts();
    this.#received = "";
    this.#shown = 0;
    this.#placeCursor();
    this.add(text);
  }

  /** A small sign about the connection: "open", "lost" or "away". */
  connection(state) {
    const signs = { lost: "Reconnecting…", away: "The server cannot be reached. Trying again…" };
    this.#setNote(signs[state] ? ["busy", signs[state]] : null);
  }

  stopping() {
    this.#setNote(["busy", "Stopping…"]);
  }

  /** Show how it ended. `far`: it is out of sight, and its text need not look well yet. */
  end(node, { far = false } = {}) {
    this.#ended = node;
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#cursor.remove();
    this.element.removeAttribute("aria-busy");
    this.element.dataset.outcome = node.outcome;
    if (node.outcome === COMPLETED) this.element.classList.add("done");
    this.#waits = far;
    if (far) {
      this.#received = node.content;
      this.#text.classList.add("raw");
      this.#text.textContent = node.content;
    } else {
      this.#finish();
    }
  }

  /** It comes into sight: now it looks as it should. */
  near() {
    if (!this.#waits) return;
    this.#waits = false;
    this.#text.classList.remove("raw");
    this.#text.replaceChildren();
    if (this.#ended.reasoning) this.addReasoning(this.#ended.reasoning);
    this.#finish();
  }

  /** It is version `index` of `count`. */
  versions(index, count) {
    if (String(this.#versions) === String([index, count])) return;
    this.#versions = [index, count];
    if (!this.#waits) setSwitcher(this.#acts, index, count);
  }

  #finish() {
    const { outcome, reason, finish, excess } = this.#ended;
    this.#write(this.#received.slice(this.#shown), { final: true, cut: outcome !== COMPLETED });
    this.#shown = this.#received.length;
    this.#thinking?.end(this.#ended);
    const again = button(this.#received === "" ? "Try again" : "Continue", "go-on");
    if (excess) this.#setNote(["warn", sayExcess(excess) ?? `Interrupted. ${sentence(reason)}`], ...WAYS_BACK.map((way) => button(...way)));
    else if (outcome === STOPPED) this.#setNote(["", "Stopped"], again);
    else if (outcome === INTERRUPTED) this.#setNote(["warn", `Interrupted. ${sentence(reason)}`], again);
    else if (finish === "length") this.#setNote(["", "Ended at the length limit"], again);
    else if (finish === "content_filter") this.#setNote(["warn", "Ended by the provider’s content filter"]);
    else this.#setNote(null);
    if (this.#received !== "") this.#acts.append(copyButton("Copy this answer"), button("Regenerate", "again", "Ask for another answer"));
    setSwitcher(this.#acts, ...this.#versions);
    slots.answer(this.#figures, this.#ended);
  }

  /** Say it: how it ended, in words for a screen reader. */
  get verdict() {
    return this.#note.querySelector(".said")?.textContent ?? "";
  }

  #draw() {
    this.#frame = 0;
    clearTimeout(this.#timer);
    const waiting = held(this.#received);
    this.#show(this.#received.length - waiting);
    if (waiting) this.#timer = setTimeout(() => this.#show(this.#received.length), HOLD_MS);
  }

  #show(end) {
    if (this.#ended || end <= this.#shown) return;
    const text = this.#received.slice(this.#shown, end);
    this.#shown = end;
    this.#cursor.remove();
    this.#write(text);
    this.#placeCursor();
    this.element.dispatchEvent(new CustomEvent("grown", { bubbles: true }));
  }

  // What is thought goes into the fold, the rest is the answer.
  #write(text, { final = false, cut = false } = {}) {
    for (const [kind, part] of this.#tagged.feed(text, final)) {
      if (kind === "thought") this.addReasoning(part);
      else if (kind === "meant") this.#wasThought();
      else {
        if (part.trim() !== "") this.#thinking?.end();
        this.#answer += part;
        this.#markdown.write(part);
      }
    }
    if (final) this.#markdown.write("", { final, cut });
  }

  // All text so far was a thought.
  #wasThought() {
    const thought = this.#answer;
    this.#clear();
    this.addReasoning(thought);
    this.#thinking.end();
  }

  #clear() {
    this.#text.replaceChildren();
    this.#markdown = new MarkdownView(this.#text);
    this.#answer = "";
  }

  #placeCursor() {
    let place = this.#text;
    for (let last = place; (last = last.lastElementChild); ) if (last.matches(PLACES)) place = last;
    place.append(this.#cursor);
  }

  #setNote(sign, ...buttons) {
    this.#note.replaceChildren();
    if (!sign) return;
    const [kind, words] = sign;
    this.#note.append(make("span", `dot ${kind}`), make("span", "said", words), ...buttons);
  }
}

// Errors are written to stand behind a colon; here one stands by itself.
function sentence(message) {
  const begun = message.charAt(0).toUpperCase() + message.slice(1);
  return /[\p{L}\p{N})]$/u.test(begun) ? `${begun}.` : begun;
}
