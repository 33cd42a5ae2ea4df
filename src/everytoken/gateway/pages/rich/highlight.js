// Lines of code to pieces with a colour each, by CodeMirror's stream parsers. They read a line at a time and remember a small
// state between two lines. So a line that is finished is read once, whatever comes after it, and what begins in one line and ends
// in another (a string, a comment) has its colour from its first character on.

import { StringStream } from "../vendor/modes/stream.js";
import { modeOf } from "./languages.js";
import { copied, htmlWith, phpWith } from "./modes.js";

const LONGEST = 2000; // characters of a line that get colours
const STUCK = 10; // a mode that reads nothing so often is not going to
const INDENT = 2;

const COLOURS = {
  keyword: "keyword", controlKeyword: "keyword", modifier: "keyword", definitionKeyword: "keyword", operatorKeyword: "keyword",
  self: "keyword", string: "string", character: "string", attributeValue: "string", regexp: "string", url: "string",
  number: "number", integer: "number", float: "number", atom: "number", bool: "number", null: "number", unit: "number", color: "number",
  comment: "comment", lineComment: "comment", blockComment: "comment", docComment: "comment", quote: "comment",
  type: "type", typeName: "type", className: "type", tagName: "type", namespace: "type", heading: "type",
  meta: "meta", annotation: "meta", processingInstruction: "meta", documentMeta: "meta", attributeName: "name", labelName: "meta",
  inserted: "inserted", deleted: "deleted", def: "name", tag: "type", attribute: "name", builtin: "name", qualifier: "type",
};

// Where a mode's word means another thing.
const OWN = { yaml: { atom: "name", meta: "" } };

const known = new Map(); // language -> a promise of its reader

/** A promise of the reader of a language: {start(), copy(state), line(text, state)}; null where there is none. */
export function readerOf(language) {
  const mode = modeOf(language);
  if (!mode) return Promise.resolve(null);
  const key = mode.join("/");
  if (!known.has(key)) known.set(key, load(mode).then(reader));
  return known.get(key);
}

async function load([file, name]) {
  if (file) return (await import(`../vendor/modes/${file}.js`))[name];
  const [xml, script, styles, clike] = await Promise.all(
    ["xml", "javascript", "css", "clike"].map((part) => import(`../vendor/modes/${part}.js`)),
  );
  const html = htmlWith({ html: xml.html, javascript: script.javascript, css: styles.css });
  return name === "php" ? phpWith({ clike: clike.clike, html }) : html;
}

/** A mode as what code.js uses. */
export function reader(mode) {
  return {
    start: () => mode.startState?.(INDENT) ?? true,
    copy: (state) => copied(mode, state),
    /** [colour or "", text] of each piece of a line; `state` becomes that behind it. */
    line(text, state) {
      const pieces = [];
      const put = (colour, part) => {
        if (pieces.at(-1)?.[0] === colour) pieces.at(-1)[1] += part;
        else pieces.push([colour, part]);
      };
      try {
        read(mode, text.slice(0, LONGEST), state, put);
        if (text.length > LONGEST) put("", text.slice(LONGEST));
        return pieces;
      } catch {
        return [["", text]]; // a mode that fails costs the colours, not the text
      }
    },
  };
}

function read(mode, text, state, put) {
  if (text === "") {
    mode.blankLine?.(state, INDENT);
    return;
  }
  const stream = new StringStream(text, 4, INDENT);
  for (let stuck = 0; !stream.eol(); ) {
    stream.start = stream.pos;
    const tag = mode.token(stream, state);
    if (stream.pos <= stream.start) {
      if (++stuck < STUCK) continue;
      stream.next();
    }
    stuck = 0;
    put(colourOf(tag, OWN[mode.name]), stream.current());
  }
}

function colourOf(tags, own) {
  if (!tags) return "";
  for (const tag of tags.split(" ")) {
    const [base, ...more] = tag.split(".");
    if (own && base in own) return own[base];
    if (base in COLOURS) return COLOURS[base];
    if (/^(?:variableName|propertyName|variable|property)$/.test(base) && more.some((kind) => /^(?:definition|function|standard)$/.test(kind))) return "name";
  }
  return "";
}
