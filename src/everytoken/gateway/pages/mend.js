// Markdown cut off anywhere, made presentable: what is open is closed, what cannot be read yet is left out.
// Only what is shown changes; the next call starts from the source again.

const FENCE = /^[ \t>]*(?:[-*+]|\d{1,9}[.)])?[ \t]*(`{3,}|~{3,})(.*)$/;
// Alone on the last line these may still become a list, a rule, a heading, a fence, or an underline of the line above.
const UNDECIDED = /^[ \t>]*(?:[-+*_=~`#:|\s]+|\d{1,9}[.)]?)[ \t]*$/;
// Here a new stretch of inline text begins: no emphasis reaches over it.
const NEW_STRETCH = /^(?:[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]|#{1,6}[ \t]|[ \t>]*$|[ \t]*[-=`~]+[ \t]*$)/;

/** Return `source` as it should be shown while more of it may come; without `hold`, leaving no line out. */
export function mend(source, { hold = true } = {}) {
  const lines = source.split("\n");
  let fence = null;
  for (const line of lines) {
    const match = FENCE.exec(line);
    if (!match) continue;
    const [, marks, info] = match;
    if (fence === null) fence = marks[0] === "`" && info.includes("`") ? null : marks;
    else if (marks[0] === fence[0] && marks.length >= fence.length && info.trim() === "") fence = null;
  }
  const last = lines.at(-1);
  if (fence !== null) {
    if (!hold) return source;
    if (FENCE.test(last)) return lines.slice(0, -1).join("\n"); // its language is still coming
    return /^\s*(?:`+|~+)\s*$/.test(last) && lines.length > 1 && last.trim()[0] === fence[0]
      ? lines.slice(0, -1).join("\n")
      : source;
  }
  if (hold && last !== "" && UNDECIDED.test(last)) lines.pop();

  let first = lines.length - (lines.length > 1 && lines.at(-1) === "" ? 2 : 1);
  while (first > 0 && !NEW_STRETCH.test(lines[first]) && !lines[first].startsWith("|")) first--;
  const stretch = lines.slice(first).join("\n");
  const before = lines.slice(0, first).map((line) => line + "\n").join("");
  if (!stretch.startsWith("|")) return before + mendInline(stretch);
  const isHeader = first === 0 || !lines[first - 1].startsWith("|");
  if (isHeader && hold) return before; // a table is one only with its second line
  const cell = stretch.lastIndexOf("|") + 1;
  return before + stretch.slice(0, cell) + mendInline(stretch.slice(cell));
}

/** Close the code span, link and emphasis that are still open at the end of `text`. */
export function mendInline(text) {
  const open = []; // the emphasis marks waiting for their other half
  let link = null; // [start of the link's text, its end] of a link that has not ended
  const brackets = [];
  for (let at = 0; at < text.length; ) {
    const mark = text[at];
    if (mark === "\\") {
      at += 2;
    } else if (mark === "`") {
      const run = runAt(text, at);
      const close = closingRun(text, at + run.length, run);
      if (close < 0) {
        const rest = text.slice(at + run.length);
        return rest.trim() === "" ? closed(text.slice(0, at), open) : closed(text + run, open);
      }
      at = close + run.length;
    } else if (mark === "[") {
      brackets.push(at++);
    } else if (mark === "]") {
      const start = brackets.pop();
      at++;
      if (start === undefined) continue;
      if (at === text.length) link = [start, at - 1];
      if (text[at] !== "(") continue;
      const target = /^\([^()\s]*(?:\([^()\s]*\)?[^()\s]*)*(?:\s+"[^"]*"?)?\s*/.exec(text.slice(at))?.[0] ?? "";
      const end = at + target.length;
      if (text[end] === ")") at = end + 1;
      else if (end === text.length) link = [start, at - 1];
      if (link) break;
    } else if (mark === "*" || mark === "_" || mark === "~") {
      const run = runAt(text, at);
      const previous = text[at - 1] ?? " ";
      const next = text[at + run.length];
      at += run.length;
      if (next === undefined) {
        const bare = text.slice(0, at - run.length);
        return closed(bare, open); // half a mark, or a mark without anything in it
      }
      toggle(open, mark, run.length, previous, next);
    } else {
      at++;
    }
  }
  const unclosed = brackets.at(-1);
  if (!link && unclosed !== undefined && !text.slice(unclosed).includes("\n")) link = [unclosed, text.length];
  if (!link || /[\p{L}\p{N}\])]/u.test(text[link[0] - 1] ?? "")) return closed(text, open); // `list[0]` is no link
  const from = text[link[0] - 1] === "!" ? link[0] - 1 : link[0];
  return closed(text.slice(0, from) + text.slice(link[0] + 1, link[1]), open);
}

function runAt(text, at) {
  let end = at;
  while (text[end] === text[at]) end++;
  return text.slice(at, end);
}

function closingRun(text, from, run) {
  for (let at = text.indexOf(run, from); at >= 0; at = text.indexOf(run, at)) {
    const found = runAt(text, at);
    if (found.length === run.length) return at;
    at += found.length;
  }
  return -1;
}

function toggle(open, mark, length, previous, next) {
  const inWord = /[\p{L}\p{N}]/u.test(previous) && /[\p{L}\p{N}]/u.test(next);
  if (mark === "_" && inWord) return;
  if (mark === "~" && length !== 2) return;
  if (!/\s/.test(previous)) {
    while (length > 0 && open.at(-1)?.[0] === mark && open.at(-1).length <= length) length -= open.pop().length;
  }
  if (length === 0 || /\s/.test(next)) return;
  if (length >= 2) open.push(mark.repeat(2));
  if (length % 2 === 1) open.push(mark);
}

function closed(text, open) {
  const body = text.trimEnd();
  return body + open.toReversed().join("") + text.slice(body.length);
}
