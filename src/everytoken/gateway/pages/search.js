// Search in the conversations of this browser: in the titles at once, and then in the text, a few conversations at a time.

import { batches } from "./store.js";
import { textOf } from "./tree.js";

const AROUND = 16; // characters before what was found
const LENGTH = 120;

/** As it is compared: without case, accents and wide forms. */
export const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

/** Whether `text` has all of the words, which are plain. */
export const has = (text, words) => words.every((word) => text.includes(word));

/** Call `found(id, excerpt)` for each conversation with all of the words in one message, until the signal aborts. */
export async function searchText(words, found, signal) {
  for await (const records of batches()) {
    if (signal.aborted) return;
    for (const { id, nodes } of records) {
      for (const { content } of Object.values(nodes)) {
        const text = textOf(content);
        if (!has(plain(text), words)) continue;
        found(id, excerpt(text, words));
        break;
      }
    }
    await new Promise((resolve) => setTimeout(resolve)); // what is typed goes first
    if (signal.aborted) return;
  }
}

function excerpt(text, words) {
  const line = text.replace(/\s+/g, " ").trim();
  const at = Math.max(0, line.toLowerCase().indexOf(words[0]));
  const from = at <= AROUND ? 0 : line.lastIndexOf(" ", at - AROUND / 2) + 1 || at - AROUND;
  const end = from + LENGTH;
  return `${from > 0 ? "…" : ""}${line.slice(from, end)}${end < line.length ? "…" : ""}`;
}
