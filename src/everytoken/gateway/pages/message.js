// How one message looks: the text so far, the cursor, and under it what the reader has to know or may do.

import { COMPLETED, INTERRUPTED, STOPPED } from "./answer.js";
import { MarkdownView } from "./markdown.js";
import { held } from "./words.js";

const HOLD_MS = 120; // the longest a word waits for its end
// Where the cursor may stand: in the last of these, which is where the next text will appear.
const PLACES = "p, h2, h3, h4, h5, h6, li, td, pre > code, blockquote";

export function userMessage(text) {
  const element = make("div", "message user", text);
  element.dir = "auto";
  return element;
}

export class AnswerView {
  element = make("article", "message assistant");

  #text = make("div", "text");
  #note = make("div", "note");
  #cursor = make("span", "cursor", "▊");
  #thinking = null;
  #markdown = new MarkdownView(this.#text);
  #received = "";
  #shown = 0;
  #frame = 0;
  #timer = 0;
  #ended = false;

  constructor() {
    this.element.setAttribute("aria-label", "Answer");
    this.element.setAttribute("aria-busy", "true");
    this.#cursor.setAttribute("aria-hidden", "true");
    this.element.append(this.#text, this.#note);
    this.#placeCursor();
  }

  /** The text as Markdown source, all that has been received. */
  get source() {
    return this.#received;
  }

  /** The text as it reads. */
  get spoken() {
    return this.#text.innerText;
  }

  add(text) {
    this.#received += text;
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  addReasoning(text) {
    if (!this.#thinking) {
      const details = make("details", "thinking");
      this.#thinking = make("div");
      this.#thinking.dir = "auto";
      details.append(make("summary", "", "Thinking"), this.#thinking);
      this.#text.before(details);
    }
    this.#thinking.append(text);
  }

  /** A small sign about the connection: "open", "lost" or "away". */
  connection(state) {
    const signs = { lost: "Reconnecting…", away: "The server cannot be reached. Trying again…" };
    this.#setNote(signs[state] ? ["busy", signs[state]] : null);
  }

  stopping() {
    this.#setNote(["busy", "Stopping…"]);
  }

  /** Show how it ended. `goOn` is called when the reader wants the rest. */
  end({ outcome, message, finish }, goOn) {
    this.#ended = true;
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#cursor.remove();
    this.#markdown.write(this.#received.slice(this.#shown), { final: true, cut: outcome !== COMPLETED });
    this.#shown = this.#received.length;
    this.element.removeAttribute("aria-busy");
    this.element.dataset.outcome = outcome;

    const again = this.#received === "" ? "Try again" : "Continue";
    if (outcome === STOPPED) this.#setNote(["", "Stopped"], again, goOn);
    else if (outcome === INTERRUPTED) this.#setNote(["warn", `Interrupted. ${sentence(message)}`], again, goOn);
    else if (finish === "length") this.#setNote(["", "Ended at the length limit"], "Continue", goOn);
    else if (finish === "content_filter") this.#setNote(["warn", "Ended by the provider’s content filter"]);
    else this.#setNote(null);
    if (outcome === COMPLETED) this.element.classList.add("done");
    if (this.#received !== "") this.#note.append(copyButton("Copy this answer"));
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
    this.#markdown.write(text);
    this.#placeCursor();
    this.element.dispatchEvent(new CustomEvent("grown", { bubbles: true }));
  }

  #placeCursor() {
    let place = this.#text;
    for (let last = place; (last = last.lastElementChild); ) if (last.matches(PLACES)) place = last;
    place.append(this.#cursor);
  }

  #setNote(sign, action, run) {
    this.#note.replaceChildren();
    if (!sign) return;
    const [kind, words] = sign;
    this.#note.append(make("span", `dot ${kind}`), make("span", "said", words));
    if (!action) return;
    const button = make("button", "go-on", action);
    button.type = "button";
    button.addEventListener("click", run);
    this.#note.append(button);
  }
}

// Errors are written to stand behind a colon; here one stands by itself.
function sentence(message) {
  const begun = message.charAt(0).toUpperCase() + message.slice(1);
  return /[\p{L}\p{N})]$/u.test(begun) ? `${begun}.` : begun;
}

function copyButton(label) {
  const button = make("button", "copy", "Copy");
  button.type = "button";
  button.setAttribute("aria-label", label);
  return button;
}

function make(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(text);
  return element;
}
