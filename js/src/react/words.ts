// Display by word: text is shown up to the end of its last whole word, so that no word is seen growing.

const LONGEST = 64; // UTF-16 units; what is longer is not a word, and is not held

let segmenter: Intl.Segmenter | null | undefined;

/** How much of a `text` that may go on to show: all but its last word, or its last character where that is none. */
export function wholeWords(text: string): number {
  segmenter ??= typeof Intl.Segmenter === "function" ? new Intl.Segmenter(undefined, { granularity: "word" }) : null;
  const from = Math.max(0, text.length - LONGEST);
  const tail = text.slice(from);
  if (!segmenter) return from + (/\S*$/.exec(tail)?.index ?? 0) || text.length;
  let last = { index: 0, segment: "" };
  for (const segment of segmenter.segment(tail)) last = segment;
  // What white space ends is whole. A segment that begins with the tail may have begun before it.
  return /^\s*$/.test(last.segment) || (from > 0 && last.index === 0) ? text.length : from + last.index;
}

/** The same text without half a character at its end. */
export const wholeCharacters = (text: string) => (/[\uD800-\uDBFF]$/.test(text) ? text.slice(0, -1) : text);
