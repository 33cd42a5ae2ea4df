// Where LaTeX stands in a text: `$…$`, `$$…$$`, `\(…\)`, `\[…\]`. Money is not LaTeX, and neither are shell variables.

const LONGEST = 4000; // what is longer has lost its end
/** Around a formula whose end has not come yet; mend() puts them there, and no text has them. */
export const PENDING = "\uE002";
export const PENDING_END = "\uE003";
/** Stands for a `|` within a formula of a table's row. */
export const BAR = "\uE004";

const DISPLAY = /^(?:\$\$|\\\[)$/;
const CLOSERS = { $: "$", "$$": "$$", "\\(": "\\)", "\\[": "\\]" };
// After a closing `$`: a number would make it money (`$5-$10`), a letter a variable (`$HOME:$PATH`), but for `$n$th`.
const GOES_ON = /^(?!(?:th|st|nd|rd|s|d)\b)[\p{Script=Latin}0-9_]/u;
const GROUPS = /\\(?:text|mathrm|operatorname|mathbf|mathit|textbf|textit|textrm|mbox)\*?\s*\{[^{}]*\}?/g;
const PROSE = /(?:^|[\s,;])[A-Za-z’']{2,}[,;:.]?\s+[a-z’']{2,}(?:[\s,;:.!?)]|$)/;
const MONEY = /^\d[\d.,]*\s?(?:[kKmMbB]|bn|tn)?[.,;:!?)]*\s+(?!mod\b)[A-Za-z(]{2,}/;
const VARIABLE = /^[A-Z_]{2,}[A-Z0-9_]*[.,;:!?)]*\s+[a-z]{2,}/;

/**
 * The formula that begins at `at` in an inline text: {end, tex, display}, null for none, or {open: true} where its end may
 * still come.
 */
export function mathAt(text, at) {
  const opener = openerAt(text, at);
  if (!opener) return null;
  const from = at + opener.length;
  const rest = text.slice(from, from + LONGEST);
  const limit = /\n[ \t]*\n/.exec(rest)?.index ?? rest.length; // a formula ends with its paragraph
  const end = closerIn(rest, CLOSERS[opener]);
  if (end < 0 || end > limit) {
    const ended = limit < rest.length || rest.length === LONGEST;
    return ended || (opener === "$" && !mayBe(rest)) ? null : { open: true, tex: rest, opener };
  }
  const tex = rest.slice(0, end);
  if (tex.trim() === "") return null;
  const after = rest.slice(end + opener.length);
  if (opener === "$" && (/\s$/.test(tex) || GOES_ON.test(after) || !mayBe(tex))) return null;
  // `\[text\](url)` and `\[x\]` are how Markdown's own marks are escaped.
  if (opener === "\\[" && (after.startsWith("(") || /^[ xX]$/.test(tex))) return null;
  return { end: from + end + opener.length, tex: tex.replaceAll(BAR, "|"), display: DISPLAY.test(opener) };
}

/** The formulas of an inline text: [start, end] of each. */
export function mathsIn(text) {
  const found = [];
  const marks = /\\[^]|`+|\$+/g;
  for (let match; (match = marks.exec(text)); ) {
    const [mark] = match;
    if (mark[0] === "`") {
      const close = closingTicks(text, match.index + mark.length, mark);
      if (close >= 0) marks.lastIndex = close;
      continue;
    }
    const math = mathAt(text, match.index);
    if (!math || math.open) continue;
    found.push([match.index, math.end]);
    marks.lastIndex = math.end;
  }
  return found;
}

/** A formula that is a block of its own at the start of `source`: {raw, tex}, or null. */
export function mathBlock(source) {
  const match = /^ {0,3}(\$\$|\\\[)/.exec(source);
  if (!match) return null;
  const opener = match[1];
  const rest = source.slice(match[0].length, match[0].length + LONGEST);
  const end = closerIn(rest, CLOSERS[opener]);
  if (end < 0) return null;
  const tex = rest.slice(0, end);
  const line = /^[ \t]*(?:\n|$)/.exec(rest.slice(end + opener.length));
  if (!line || tex.trim() === "" || !mayHoldBlank(rest) && /\n[ \t]*\n/.test(tex)) return null;
  if (opener === "\\[" && /^[ xX]$/.test(tex)) return null;
  return { raw: match[0] + tex + opener.replace("[", "]") + line[0], tex };
}

/** Only where its opener has a line to itself may a formula have blank lines. */
export const mayHoldBlank = (rest) => /^[ \t]*(?:\n|$)/.test(rest);

function openerAt(text, at) {
  const [mark, next] = [text[at], text[at + 1]];
  if (mark === "\\") return next === "(" || next === "[" ? mark + next : null;
  if (mark !== "$" || /[A-Za-z0-9$\\]/.test(text[at - 1] ?? "")) return null;
  if (next === "$") return text[at + 2] === "$" ? null : "$$";
  return next === undefined || !/\s/.test(next) ? "$" : null;
}

// Where the closer stands that is not escaped.
function closerIn(text, closer) {
  for (let at = 0; at < text.length; at++) {
    if (text.startsWith(closer, at)) return at;
    if (text[at] === "\\") at++;
  }
  return -1;
}

// Whether what stands after a `$` can be a formula at all; the same for one that is open as for a whole one.
function mayBe(tex) {
  if (tex.includes("`")) return false;
  const bare = tex.replace(GROUPS, " ");
  if (/^\d/.test(bare)) return !MONEY.test(bare);
  return !VARIABLE.test(bare) && !PROSE.test(bare);
}

function closingTicks(text, from, run) {
  const ticks = /`+/g;
  ticks.lastIndex = from;
  for (let match; (match = ticks.exec(text)); ) if (match[0].length === run.length) return ticks.lastIndex;
  return -1;
}
