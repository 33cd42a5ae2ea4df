// A text that grows, in blocks of which only the last one changes: so the cost of a frame does not grow with the text.

import { wholeCharacters, wholeWords } from "./words.js";

const FENCE = /^ {0,3}(```+|~~~+)/;
// After a blank line these may belong to the list or quotation before it.
const GOES_ON = /^(\s|[-*+>]|\d+[.)])/;
const KNOWN = 5; // characters that tell such a beginning
const PLAIN_LENGTH = 1500; // few blocks, each of them cheap
const LONGEST = 6000; // a line is laid out again as a whole; one that is longer goes on in another block

/** Cuts a text that grows; joined, the blocks are the text. */
export class Blocks {
  /** Every block that is finished. */
  readonly finished: string[] = [];
  /** What may still change. */
  open = "";
  #seen = "";
  #scanned = 0; // of the open part: whole lines, of which is known what they are
  #fence = "";
  #markdown: boolean;

  constructor(markdown: boolean) {
    this.#markdown = markdown;
  }

  /** Whether `text` is what has been seen, and more. */
  continues(text: string): boolean {
    return text.startsWith(this.#seen);
  }

  grow(text: string): void {
    this.open += text.slice(this.#seen.length);
    this.#seen = text;
    for (;;) {
      const end = this.open.indexOf("\n", this.#scanned);
      if (!this.#markdown && (end < 0 ? this.open.length : end) > LONGEST) {
        this.#scanned = wholeCharacters(this.open.slice(0, wholeWords(this.open.slice(0, LONGEST)))).length;
        this.#cut();
        continue;
      }
      if (end < 0) return;
      const line = this.open.slice(this.#scanned, end);
      this.#scanned = end + 1;
      const next = this.open.slice(end + 1, end + 1 + KNOWN);
      // What the next line begins with must be known before a block can end.
      if (this.#markdown && next.length < KNOWN && !next.includes("\n")) {
        this.#scanned -= line.length + 1;
        return;
      }
      if (this.#markdown ? this.#ends(line) : this.#scanned >= PLAIN_LENGTH) this.#cut();
    }
  }

  #ends(line: string): boolean {
    const mark = FENCE.exec(line)?.[1] ?? "";
    if (this.#fence) {
      if (mark.startsWith(this.#fence) && !line.trim().slice(mark.length)) this.#fence = "";
      return false;
    }
    this.#fence = mark;
    const next = this.open.slice(this.#scanned, this.#scanned + KNOWN);
    return !line.trim() && this.open.slice(0, this.#scanned).trim() !== "" && !GOES_ON.test(next);
  }

  #cut() {
    this.finished.push(this.open.slice(0, this.#scanned));
    this.open = this.open.slice(this.#scanned);
    this.#scanned = 0;
  }
}
