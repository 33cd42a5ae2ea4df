// Display by word: text is shown up to the last word's end, so that no word is seen growing letter by letter.

const LONGEST = 32; // what is longer is not a word
// A run of letters at the very end may still grow. Scripts without spaces, digits and punctuation never wait.
const GROWING = /[\p{Script=Latin}\p{Script=Cyrillic}\p{Script=Greek}\p{M}'’-]+$/u;

/** How many UTF-16 units at the end of `text` to hold back until more has come. */
export function held(text) {
  const match = GROWING.exec(text.slice(-LONGEST - 1));
  return match && match.index > 0 ? match[0].length : 0;
}
