// Markdown cut off anywhere, made presentable: what is open is closed, what cannot be read yet is left out.
// Only what is shown changes; the next call starts from the source again.

import { flanks } from "./rich/emphasis.js";
import { mathAt, mayHoldBlank, PENDING, PENDING_END } from "./rich/math.js";

const FENCE = /^[ \t>]*(?:[-*+]|\d{1,9}[.)])?[ \t]*(`{3,}|~{3,})(.*)$/;
// Alone on the last line these may still become a list, a rule, a heading, a fence, or an underline of the line above.
const UNDECIDED = /^[ \t>]*(?:[-+*_=~`#:|\s]+|\d{1,9}[.)]?)[ \t]*$/;
// The opener of a formula that is a block of its own.
const FORMULA = /^([ \t>]*(?:[-*+]|\d{1,9}[.)])?[ \t]*)(\$\$|\\\[)(.*)$/;
// A note's definition until its colon has come; nothing else begins so.
const NOTE = /^ {0,3}\[\^[^\]\s]*\]?:?$/;
// Such a line is a stretch of its own.
const HEADING = /^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*#{1,6}[ \t]/;
// Here a new stretch of inline text begins: no emphasis reaches over it.
const NEW_STRETCH = /^(?: {0,3}\[\^[^\]\s]+\]:|[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]|#{1,6}[ \t]|[ \t>]*$|[ \t]*[-=`~]+[ \t]*$)/;

const LONGEST_FORMULA = 4000;

function isClosed(line, closer) {
  return line.replace(/\\[^\]]/g, "  ").includes(closer);
}

/**
 * Return `source` as it should be shown while more of it may come; without `hold`, leaving no line out; without `formulas`,
 * taking none for open.
 */
export function mend(source, { hold = true, formulas = true } = {}) {
  const lines = source.split("\n");
  let fence = null;
  let settled = 0; // lines up to the end of the last fence or formula that is closed
  let formula = null; // {line, closer, blank (whether it may have blank lines)} of one that is open
  for (const [index, line] of lines.entries()) {
    if (formula) {
      if (isClosed(line, formula.closer)) settled = index + 1;
      if (settled > index || (!formula.blank && line.trim() === "")) formula = null;
      continue;
    }
    const opener = fence === null && FORMULA.exec(line);
    if (opener) {
      const closer = opener[2] === "$$" ? "$$" : "\\]";
      if (!isClosed(opener[3], closer)) formula = { line: index, closer, blank: opener[3].trim() === "" };
      continue;
    }
    const match = FENCE.exec(line);
    if (!match) continue;
    const [, marks, info] = match;
    if (fence === null) fence = marks[0] === "`" && info.includes("`") ? null : marks;
    else if (marks[0] === fence[0] && marks.length >= fence.length && info.trim() === "") [fence, settled] = [null, index + 1];
  }
  const last = lines.at(-1);
  if (fence !== null) {
    if (!hold) return source;
    if (FENCE.test(last)) return lines.slice(0, -1).join("\n"); // its language is still coming
    return /^\s*(?:`+|~+)\s*$/.test(last) && lines.length > 1 && last.trim()[0] === fence[0]
      ? lines.slice(0, -1).join("\n")
      : source;
  }
  if (formula && formulas) {
    const [, indent] = FORMULA.exec(lines[formula.line]);
    const before = lines.slice(0, formula.line).map((line) => line + "\n").join("");
    const open = lines.slice(formula.line).join("\n").slice(indent.length);
    if (open.length < LONGEST_FORMULA) return before + indent + (open.length > 2 || !hold ? PENDING + open + PENDING_END : "");
  }
  if (settled === lines.length) return hold && FENCE.test(last) ? source.slice(0, -last.length) : source; // it may yet go on
  if (hold && last !== "" && (UNDECIDED.test(last) || NOTE.test(last))) lines.pop();

  let first = lines.length - (lines.length > 1 && lines.at(-1) === "" ? 2 : 1);
  if (first < settled) return lines.join("\n");
  while (first > settled && !NEW_STRETCH.test(lines[first]) && !lines[first].startsWith("|") && !lines[first - 1].startsWith("|") && !HEADING.test(lines[first - 1])) first--;
  const stretch = lines.slice(first).join("\n");
  const before = lines.slice(0, first).map((line) => line + "\n").join("");
  if (!stretch.startsWith("|")) return before + mendInline(stretch, formulas);
  const isHeader = first === 0 || !lines[first - 1].startsWith("|");
  if (isHeader && hold) return before; // a table is one only with its second line
  const cell = stretch.lastIndexOf("|") + 1;
  return before + stretch.slice(0, cell) + mendInline(stretch.slice(cell), formulas);
}

/** Close the code span, link and emphasis that are still open at the end of `text`. */
export function mendInline(text, formulas = true) {
  const open = []; // the emphasis marks waiting for their other half
  let link = null; // [start of the link's text, its end] of a link that has not ended
  const brackets = [];
  for (let at = 0; at < text.length; ) {
    const mark = text[at];
    const math = (mark === "\\" || mark === "$") && mathAt(text, at);
    if (math?.open && formulas && !/^\$\d/.test(text.slice(at))) return pending(text.slice(0, at), text.slice(at), open);
    if (math?.end) {
      at = math.end;
    } else if (mark === "$" && /^\$+$/.test(text.slice(at))) {
      return closed(text.slice(0, at), open); // what it is will be known with the next character
    } else if (mark === "\\") {
      if (at === text.length - 1) return closed(text.slice(0, at), open);
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
      if (/^\[\^[^\]\s[]*$/.test(text.slice(at))) return closed(text.slice(0, at), open); // a footnote's mark
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
      const next = text[at + run.length];
      at += run.length;
      if (next === undefined) {
        const bare = text.slice(0, at - run.length);
        return closed(bare, open); // half a mark, or a mark without anything in it
      }
      toggle(open, mark, run.length, flanks(text, at - run.length, at));
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

function toggle(open, mark, length, { opens, closes }) {
  if (mark === "~" && length !== 2) return;
  if (closes) {
    while (length > 0 && open.at(-1)?.[0] === mark && open.at(-1).length <= length) length -= open.pop().length;
  }
  if (length === 0 || !opens) return;
  if (length >= 2) open.push(mark.repeat(2));
  if (length % 2 === 1) open.push(mark);
}

// A formula whose end has not come: its source is shown quietly, and nothing in it is read as Markdown. (`$5` is most likely
// money, and shown as it is.)
function pending(before, source, open) {
  if (/^(?:\$\$?|\\[([])\s*$/.test(source)) return closed(before, open);
  return before + PENDING + source + PENDING_END + open.toReversed().join("");
}

function closed(text, open) {
  const body = text.trimEnd();
  return body + open.toReversed().join("") + text.slice(body.length);
}
