// What a model thinks before it answers: in fields of its own, or as `<think>…</think>` in the text. It is folded, with the time it took.

import { MarkdownView } from "../markdown.js";

const OPENER = /^<(think(?:ing)?)>/i;
const CLOSER = /<\/think(?:ing)?>/i;
const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const LONGEST_FENCE = 200; // of a longer line the rest tells nothing
const BURST_MS = 1500; // what ends so soon after a page has begun to read had ended before
const LONGEST_TAG = 11; // of </thinking>

/** Tells thoughts from text, in a text that comes in pieces. */
export class Thoughts {
  #held = ""; // may be the beginning of a tag
  #thinking = false;
  #line = ""; // of the text, the one that is being written
  #fence = "";
  #begun = false; // there is text that is not blank
  /** Whether there were thoughts. */
  been = false;

  /** Whether a thought is open. */
  get open() {
    return this.#thinking;
  }

  /** [kind, text] of each stretch: "text", "thought", or "meant" (all text so far was a thought whose opening tag nobody wrote). */
  feed(text, final = false) {
    let rest = this.#held + text;
    this.#held = "";
    const found = [];
    while (rest !== "") {
      const [kind, length, skip] = this.#thinking ? this.#thought(rest, final) : this.#text(rest, final);
      if (length > 0 || kind === "meant") found.push([kind, rest.slice(0, length)]);
      rest = rest.slice(length + skip);
      if (length + skip === 0) {
        this.#held = rest;
        break;
      }
    }
    return found;
  }

  #thought(rest, final) {
    const end = CLOSER.exec(rest);
    if (end) {
      this.#thinking = false;
      this.#line = "";
      return ["thought", end.index, end[0].length];
    }
    return ["thought", final ? rest.length : rest.length - half(rest), 0];
  }

  // Line by line: a tag is one at the beginning of a line, and not within a fence.
  #text(rest, final) {
    if (this.#line.trim() === "" && !this.#fence) {
      const indent = /^\s*/.exec(rest)[0];
      const tag = rest.slice(indent.length);
      const opens = OPENER.exec(tag);
      if (opens) {
        this.#thinking = this.been = true;
        return ["text", this.#begun ? indent.length : 0, opens[0].length + (this.#begun ? 0 : indent.length)];
      }
      const closes = CLOSER.exec(tag);
      if (closes?.index === 0 && !this.been) {
        this.been = true;
        return ["meant", 0, indent.length + closes[0].length];
      }
      if (!final && tag === "" ? !this.#begun : !final && maybe(tag)) return ["text", this.#begun ? indent.length : 0, 0];
    }
    const end = rest.indexOf("\n") + 1 || rest.length;
    if (this.#line.length < LONGEST_FENCE) this.#line += rest.slice(0, end);
    this.#begun ||= this.#line.trim() !== "";
    if (rest[end - 1] === "\n") {
      const marks = FENCE.exec(this.#line)?.[1];
      if (marks && !this.#fence) this.#fence = marks;
      else if (marks?.startsWith(this.#fence) && this.#line.trim() === marks) this.#fence = "";
      this.#line = "";
    }
    return ["text", end, 0];
  }
}

// Whether `tag` is the beginning of one that it is not yet all of.
function maybe(tag) {
  const text = tag.toLowerCase();
  return ["<think>", "<thinking>", "</think>", "</thinking>"].some((whole) => whole.startsWith(text) && whole !== text);
}

// How much of its end may become a closing tag.
function half(text) {
  for (let length = Math.min(LONGEST_TAG, text.length); length > 0; length--) {
    if (maybe(text.slice(-length))) return length;
  }
  return 0;
}

/** A text without the thoughts in it. */
export function withoutThoughts(text) {
  let kept = "";
  for (const [kind, part] of new Thoughts().feed(text, true)) {
    if (kind === "meant") kept = "";
    else if (kind === "text") kept += part;
  }
  return kept === text ? text : kept.trimStart();
}

/** How long a model thinks: kept in its answer as `thought` (ms), once that is known, and `thinking` (since when), while it does. */
export class ThoughtClock {
  #node;
  #begun = Date.now();
  #live; // the answer is asked for here, so nothing of it was written before
  #seen = 0;
  #split = new Thoughts();

  constructor(node, live) {
    this.#node = node;
    this.#live = live;
  }

  /** A thought has come, in a field of its own. */
  thought() {
    const node = this.#node;
    if (node.thinking || (node.thought && !this.#live)) return;
    node.thinking = this.#live ? Date.now() : node.times.asked;
  }

  /** This is the text so far. */
  text(text) {
    if (text.length < this.#seen) [this.#seen, this.#split] = [0, new Thoughts()];
    const pieces = this.#split.feed(text.slice(this.#seen));
    this.#seen = text.length;
    if (pieces.some(([kind]) => kind === "meant")) this.#node.thinking ??= this.#node.times.asked;
    if (pieces.some(([kind]) => kind !== "text") || this.#split.open) this.thought();
    if (!this.#split.open && pieces.some(([kind, part]) => kind === "meant" || (kind === "text" && part.trim() !== "") || kind === "thought")) this.end();
  }

  /** It has stopped thinking. */
  end() {
    const node = this.#node;
    if (!node.thinking) return;
    const now = Date.now();
    if (this.#live || now - this.#begun > BURST_MS) node.thought = (node.thought ?? 0) + now - node.thinking;
    node.thinking = null;
  }
}

/** The fold with what is thought. */
export class ThoughtsView {
  element = document.createElement("details");

  #node;
  #summary = document.createElement("summary");
  #place = document.createElement("section");
  #view = null; // as soon as somebody wants to read it
  #source = "";
  #written = 0;
  #frame = 0;
  #ticks = 0;
  #ended = false;

  /** `node` is the answer; see ThoughtClock. */
  constructor(node) {
    this.#node = node;
    this.element.className = "thinking";
    this.#place.className = "text thoughts";
    this.element.append(this.#summary, this.#place);
    this.element.addEventListener("toggle", () => this.#soon());
    this.#say();
  }

  add(text) {
    if (this.#ended) this.#begin();
    this.#source += text;
    this.element.classList.add("busy");
    this.#ticks ||= setInterval(() => this.#tick(), 1000);
    this.#soon();
    this.#say();
  }

  /** Nothing will follow, as far as one knows. */
  end(node = this.#node) {
    this.#node = node;
    if (this.#ended) return this.#say();
    this.#ended = true;
    clearInterval(this.#ticks);
    this.#ticks = 0;
    this.element.classList.remove("busy");
    this.#say();
    this.#soon();
  }

  /** Forget what was thought. */
  restart() {
    this.#source = "";
    this.#begin();
  }

  #begin() {
    this.#ended = false;
    this.#written = 0;
    this.#view = null;
    this.#place.replaceChildren();
  }

  #tick() {
    if (!this.element.isConnected) {
      clearInterval(this.#ticks); // nobody looks
      this.#ticks = 0;
    } else this.#say();
  }

  #say() {
    const { thought, thinking } = this.#node;
    const ms = (thought ?? 0) + (thinking ? Date.now() - thinking : 0);
    const words = this.#ended
      ? (thought ?? thinking ?? null) !== null ? `Thought for ${duration(ms)}` : "Thoughts"
      : ms >= 1000 ? `Thinking… ${duration(ms)}` : "Thinking…";
    if (this.#summary.textContent !== words) this.#summary.textContent = words;
  }

  // What is folded costs nothing.
  #soon() {
    if (this.element.open) this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    if (!this.#view) {
      this.#view = new MarkdownView(this.#place);
      this.#written = 0;
    } else if (this.#written === -1) return;
    this.#view.write(this.#source.slice(this.#written), { final: this.#ended });
    this.#written = this.#ended ? -1 : this.#source.length;
    this.element.dispatchEvent(new CustomEvent("grown", { bubbles: true }));
  }
}

function duration(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 1) return "a moment";
  if (seconds < 60) return `${seconds} s`;
  return seconds % 60 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s` : `${seconds / 60} min`;
}
