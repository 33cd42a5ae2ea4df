// Source to tokens: marked's lexer, and what it lacks: formulas, footnotes, emphasis in Chinese, Japanese and Korean text.

import { Lexer, Tokenizer, getDefaults } from "../vendor/marked.js";
import { emphasisOf } from "./emphasis.js";
import { BAR, mathAt, mathBlock, mathsIn, PENDING, PENDING_END } from "./math.js";

const REMEMBERED = 16;
const FORMULA = /\$|\\[([]|\uE002|\[\^/;
const NOTE = /^ {0,3}\[\^([^\]\s]{1,60})\]:[ \t]*/;
const TABLE = /^[^\n]*\|[^\n]*\n[ \t]*[|:-][-:| \t]*(?:\n|$)/;

class Emphasis extends Tokenizer {
  #known = new Map();

  emStrong(source, masked) {
    return this.#at(source, masked);
  }

  del(source, masked) {
    return source[0] === "~" ? this.#at(source, masked) : undefined;
  }

  // A `|` in a formula does not end a cell.
  table(source) {
    if (!TABLE.test(source) || !/\$|\\\(/.test(source)) return super.table(source);
    const end = /\n[ \t]*(?:\n|$)/.exec(source)?.index ?? source.length;
    const rows = source.slice(0, end).replace(/^.*\|.*$/gm, (row) => {
      let [kept, at] = ["", 0];
      for (const [from, to] of mathsIn(row)) {
        kept += row.slice(at, from) + row.slice(from, to).replace(/\\?\|/g, (bar) => (bar === "|" ? BAR : bar));
        at = to;
      }
      return kept + row.slice(at);
    });
    const token = super.table(rows + source.slice(end));
    if (token) token.raw = source.slice(0, token.raw.length);
    return token;
  }

  #at(source, masked) {
    let emphasis = this.#known.get(masked);
    if (!emphasis) {
      if (this.#known.size >= REMEMBERED) this.#known.clear();
      this.#known.set(masked, (emphasis = emphasisOf(masked)));
    }
    const start = masked.length - source.length;
    const found = emphasis.get(start);
    if (!found) return undefined;
    const raw = source.slice(0, found.end - start);
    const text = raw.slice(found.marks, -found.marks);
    return { type: found.kind, raw, text, tokens: this.lexer.inlineTokens(text) };
  }
}

class Parser extends Lexer {
  #masking = "";

  constructor() {
    const options = {
      ...getDefaults(),
      tokenizer: new Emphasis(),
      hooks: { emStrongMask: (masked) => this.#mask(masked) },
      extensions: {
        block: [pendingBlock, formulaBlock, note],
        inline: [pending, formula, reference],
        startBlock: [startsBlock],
        startInline: [(source) => source.search(FORMULA)],
        childTokens: {},
        renderers: {},
      },
    };
    super(options);
  }

  inlineTokens(source, tokens) {
    this.#masking = source;
    return super.inlineTokens(source, tokens);
  }

  // A star within a formula is no emphasis.
  #mask(masked) {
    const source = this.#masking;
    if (!FORMULA.test(source)) return masked;
    let [kept, at] = ["", 0];
    for (const [from, to] of [...mathsIn(source), ...pendingIn(source)]) {
      if (from < at) continue;
      kept += masked.slice(at, from) + "$" + "a".repeat(to - from - 2) + "$";
      at = to;
    }
    return kept + masked.slice(at);
  }
}

/** The tokens of `source`; `links` are definitions known from before. */
export function parse(source, links) {
  const parser = new Parser();
  Object.assign(parser.tokens.links, links);
  return parser.lex(source);
}

function formula(source, tokens) {
  const mark = source[0];
  if (mark !== "$" && mark !== "\\") return undefined;
  const before = tokens.at(-1)?.raw.at(-1) ?? "";
  const math = mathAt(before + source, before.length);
  if (math && !math.open) {
    return { type: "math", raw: source.slice(0, math.end - before.length), tex: math.tex, display: math.display };
  }
  // Nothing vanishes: what looks like an opener and is none stays as it was written.
  if (math?.open && mark === "\\") return { type: "text", raw: source.slice(0, 2), text: source.slice(0, 2), verbatim: true };
  return undefined;
}

function formulaBlock(source) {
  const math = mathBlock(source);
  return math ? { type: "math", raw: math.raw, tex: math.tex, display: true, block: true } : undefined;
}

function pending(source) {
  if (source[0] !== PENDING) return undefined;
  const end = source.indexOf(PENDING_END);
  const raw = end < 0 ? source : source.slice(0, end + 1);
  return { type: "pending", raw, text: raw.replaceAll(/[\uE002\uE003]/g, "").replaceAll(BAR, "|") };
}

function pendingBlock(source) {
  const token = /^ {0,3}\uE002(?:\$\$|\\\[)/.test(source) && source.includes(PENDING_END) && pending(source.trimStart());
  return token ? { ...token, raw: source.slice(0, source.indexOf(PENDING_END) + 1), block: true } : undefined;
}

function pendingIn(source) {
  const from = source.indexOf(PENDING);
  if (from < 0) return [];
  const end = source.indexOf(PENDING_END, from);
  return [[from, end < 0 ? source.length : end + 1]];
}

function reference(source) {
  const match = /^\[\^([^\]\s[]{1,60})\](?!\()/.exec(source);
  return match ? { type: "reference", raw: match[0], label: match[1] } : undefined;
}

function note(source) {
  const match = NOTE.exec(source);
  if (!match) return undefined;
  const [first, ...lines] = source.slice(match[0].length).split("\n");
  const kept = [first];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at];
    if (NOTE.test(line)) break;
    if (line.trim() === "") {
      // What is indented goes on behind a blank line.
      const next = lines.slice(at).find((later) => later.trim() !== "");
      if (!next || !/^(?: {4}|\t)/.test(next)) break;
    } else if (!/^(?: {2,}|\t)/.test(line) && (lines[at - 1]?.trim() === "" || /^(?:#{1,6} |[-*+] |\d+[.)] |```|~~~|> |\|)/.test(line))) break;
    kept.push(line);
  }
  const text = kept.map((line, index) => (index ? line.replace(/^(?: {1,4}|\t)/, "") : line)).join("\n");
  let raw = match[0] + kept.join("\n");
  if (source[raw.length] === "\n") raw += "\n";
  const token = { type: "note", raw, label: match[1], tokens: [] };
  this.lexer.blockTokens(text, token.tokens);
  return token;
}

// Where in a paragraph another block begins.
function startsBlock(source) {
  const match = /\n {0,3}(?:\uE002?(?:\$\$|\\\[)|\[\^[^\]\s]{1,60}\]:)/.exec(source);
  return match ? match.index + 1 : -1;
}
