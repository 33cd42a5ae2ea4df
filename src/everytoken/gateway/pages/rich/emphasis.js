// Which stars, underscores and tildes mean emphasis: CommonMark 0.31 (6.2) and GFM's strikethrough, with the CJK-friendly
// amendments (github.com/tats-u/markdown-cjk-friendly, specification.md). By CommonMark alone the stars of `**注意：**这是`
// stay, because a closing run behind punctuation must be followed by a space, and such text has none.

// East Asian Wide, Fullwidth or Halfwidth, and no emoji by default; or Hangul.
const CJK =
  /[\u1100-\u11FF\u20A9\u2329\u232A\u2630-\u2637\u268A-\u268F\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97F\uAC00-\uD7FF\uF900-\uFAFF\uFE10-\uFE1F\uFE30-\uFE6F\uFF01-\uFFEE\u{16FE0}-\u{18DFF}\u{1AFF0}-\u{1B2FF}\u{1D300}-\u{1D376}\u{1F200}\u{1F202}-\u{1F219}\u{1F21B}-\u{1F22E}\u{1F230}-\u{1F231}\u{1F237}\u{1F23B}-\u{1F248}\u{20000}-\u{3FFFD}]/u;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const SPACE = /\s/;
const VARIANT = /[\uFE00-\uFE0E]/; // follows a character and belongs to it
const IDEOGRAPHIC_VARIANT = /[\u{E0100}-\u{E01EF}]/u;
const QUOTES = /[‘’“”]/; // with U+FE01 these are the fullwidth ones

/** What the run of marks at `from`..`to` of `text` may do: {opens, closes}. */
export function flanks(text, from, to) {
  const before = kindBefore(text, from);
  const next = to < text.length ? String.fromCodePoint(text.codePointAt(to)) : "";
  const after = kindOf(next);
  // Here "punctuation" is that of other scripts only.
  const left = !after.space && (!after.punctuation || before.space || before.punctuation || before.cjk);
  const right = !before.space && (!before.punctuation || after.space || after.punctuation || after.cjk);
  if (text[from] !== "_") return { opens: left, closes: right };
  return { opens: left && (!right || before.any), closes: right && (!left || after.any) };
}

function kindOf(character) {
  const space = character === "" || SPACE.test(character);
  const cjk = !space && CJK.test(character);
  const any = !space && PUNCTUATION.test(character); // punctuation of whatever script
  return { space, cjk, any, punctuation: any && !cjk };
}

function kindBefore(text, end) {
  const character = before(text, end);
  if (IDEOGRAPHIC_VARIANT.test(character)) return { ...kindOf("a"), cjk: true };
  if (!VARIANT.test(character)) return kindOf(character);
  const base = before(text, end - 1);
  return QUOTES.test(base) && character === "\uFE01" ? kindOf("「") : kindOf(base || "a");
}

function before(text, end) {
  if (end <= 0) return "";
  const unit = text.charCodeAt(end - 1);
  const isLow = unit >= 0xdc00 && unit <= 0xdfff && end > 1;
  return String.fromCodePoint(text.codePointAt(isLow ? end - 2 : end - 1));
}

/** The emphasis of an inline text in which code, links and escapes are masked: Map(start -> {end, marks, kind}). */
export function emphasisOf(masked) {
  const runs = [];
  for (const { 0: marks, index } of masked.matchAll(/\*+|_+|~+/g)) {
    const may = flanks(masked, index, index + marks.length);
    if (marks[0] === "~" && marks.length > 2) continue;
    // `left`, `right`: what is not used yet of its marks; an opening run is used from its right end, a closing one from its left.
    runs.push({ mark: marks[0], ...may, length: marks.length, left: index, right: index + marks.length });
  }
  const found = new Map();
  const bottoms = new Map(); // for each kind of closing run: below this nothing opens it
  for (let at = 0; at < runs.length; ) {
    const closing = runs[at];
    if (!closing.closes || closing.left === closing.right) {
      at++;
      continue;
    }
    const kind = `${closing.mark}${closing.opens}${closing.length % 3}${closing.mark === "~" ? closing.length : ""}`;
    const bottom = bottoms.get(kind) ?? -1;
    let opener = at - 1;
    while (opener > bottom && !pairs(runs[opener], closing)) opener--;
    if (opener <= bottom) {
      bottoms.set(kind, at - 1);
      at++;
      continue;
    }
    const opening = runs[opener];
    const both = opening.right - opening.left >= 2 && closing.right - closing.left >= 2;
    const marks = closing.mark === "~" ? closing.length : both ? 2 : 1;
    found.set(opening.right - marks, {
      end: closing.left + marks,
      marks,
      kind: closing.mark === "~" ? "del" : both ? "strong" : "em",
    });
    opening.right -= marks;
    closing.left += marks;
    for (let within = opener + 1; within < at; within++) runs[within].right = runs[within].left; // they are text
  }
  return found;
}

function pairs(opening, closing) {
  if (opening.mark !== closing.mark || !opening.opens || opening.left === opening.right) return false;
  if (opening.mark === "~") return opening.length === closing.length;
  const either = opening.closes || closing.opens;
  return !(either && (opening.length + closing.length) % 3 === 0 && (opening.length % 3 !== 0 || closing.length % 3 !== 0));
}
