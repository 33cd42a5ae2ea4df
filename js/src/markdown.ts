// What models write and CommonMark reads differently, made plain for any Markdown library: emphasis in Chinese, Japanese and
// Korean text, LaTeX, money. Strings in, strings out.

// East Asian Wide, Fullwidth or Halfwidth, and no emoji by default; or Hangul.
const CJK =
  /[\u1100-\u11FF\u20A9\u2329\u232A\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97F\uAC00-\uD7FF\uF900-\uFAFF\uFE10-\uFE1F\uFE30-\uFE6F\uFF01-\uFFEE\u{16FE0}-\u{18DFF}\u{1AFF0}-\u{1B2FF}\u{20000}-\u{3FFFD}\u{E0100}-\u{E01EF}]/u;
const PUNCTUATION = /[\p{P}\p{S}]/u;
// A space without width: its first character is punctuation, which is what CommonMark asks for beside a mark.
const BREAK = "&#8203;";
// Code, escapes, addresses, marks of emphasis, openers of LaTeX. What is none of these is left as it is.
const TOKEN = /(^ {0,3}(`{3,}|~{3,})[^\n]*\n[^]*?(?:^ {0,3}\2[`~]*[ \t]*$|(?![^])))|(`+)(?!`)[^]*?[^`]\3(?!`)|<[a-z][^<>\n]*>|\]\([^()\s]*\)|\\\(|\\\[|\\[^]|\$+|\*+|~~/gm;
const CLOSERS: Record<string, string> = { $: "$", $$: "$$", "\\(": "\\)", "\\[": "\\]" };
const LONGEST = 4000; // of a formula
const MONEY = /^\d[\d.,]*\s?(?:[kmb]|bn|tn)?[.,;:!?)]*\s+(?!mod\b)[a-z(]{2,}/i;
const VARIABLE = /^[A-Z_]{2,}[A-Z0-9_]*[.,;:!?)]*\s+[a-z]{2,}/;
const PROSE = /(?:^|[\s,;])[A-Za-z’']{2,}[,;:.]?\s+[a-z’']{2,}(?:[\s,;:.!?)]|$)/;

/**
 * `source` for a library that knows CommonMark, with `$…$` and `$$…$$` (as remark-math reads them): emphasis that CommonMark
 * would miss in text without spaces is made to count, `\(…\)` and `\[…\]` become dollars, and dollars that are money are escaped.
 */
export function prepare(source: string): string {
  let made = "";
  let at = 0;
  for (const { 0: token, index } of source.matchAll(TOKEN)) {
    if (index < at) continue;
    made += source.slice(at, index);
    at = index + token.length;
    const formula = /^(?:\$\$?|\\[([])$/.test(token) && formulaAt(source, index, token);
    if (formula) {
      made += formula.display ? `\n$$\n${formula.tex.trim()}\n$$\n` : `$${formula.tex.trim()}$`;
      at = formula.end;
    } else if (token[0] === "$") made += token.replaceAll("$", "\\$");
    else if (/^[*~]/.test(token) && !/^~{3}/.test(token)) made += besides(source, index, token);
    else made += token;
  }
  return made + source.slice(at);
}

// A run of marks, with what makes it count where only the CJK-friendly rule would take it for emphasis.
function besides(source: string, at: number, marks: string): string {
  const [before, after] = [last(source.slice(Math.max(0, at - 3), at)), [...source.slice(at + marks.length, at + marks.length + 2)][0] ?? ""];
  if (!before.trim() || !after.trim()) return marks; // beside a space both rules say the same
  const [left, right] = [PUNCTUATION.test(before), PUNCTUATION.test(after)];
  if (left === right) return marks;
  if (left && (CJK.test(before) || CJK.test(after))) return marks + BREAK;
  return right && (CJK.test(before) || CJK.test(after)) ? BREAK + marks : marks;
}

/** The last character, without what says only how it looks. */
const last = (text: string) => [...text.replace(/[\uFE00-\uFE0E]$/, "")].at(-1) ?? "";

interface Formula {
  tex: string;
  display: boolean;
  /** Where it ends in the source. */
  end: number;
}

/** The formula that `opener` begins at `at`, or null: an amount of money, a variable of the shell, something unfinished. */
function formulaAt(source: string, at: number, opener: string): Formula | null {
  const closer = CLOSERS[opener]!;
  const rest = source.slice(at + opener.length, at + opener.length + LONGEST);
  const end = endOf(rest, closer);
  const tex = rest.slice(0, end);
  if (end < 0 || !tex.trim() || (/\n[ \t]*\n/.test(tex) && !/^[ \t]*\n/.test(rest))) return null;
  const after = rest.slice(end + closer.length);
  if (opener === "$") {
    if (/[A-Za-z0-9\\]$/.test(source.slice(0, at)) || /^\s|\s$|`/.test(tex)) return null;
    if (/^(?!(?:th|st|nd|rd|s|d)\b)[\p{Script=Latin}0-9_]/u.test(after)) return null;
    const bare = tex.replace(/\\(?:text\w*|math\w+|operatorname|mbox)\*?\s*\{[^{}]*\}?/g, " ");
    if (/^\d/.test(bare) ? MONEY.test(bare) : VARIABLE.test(bare) || PROSE.test(bare)) return null;
  }
  if (opener === "\\[" && (after.startsWith("(") || /^[ xX]$/.test(tex))) return null;
  return { tex, display: opener === "$$" || opener === "\\[", end: at + opener.length + end + closer.length };
}

function endOf(text: string, closer: string): number {
  for (let at = 0; at < text.length; at++) {
    if (text.startsWith(closer, at)) return at;
    if (text[at] === "\\") at++;
  }
  return -1;
}
