// Languages that are made of others: HTML with its scripts and styles, and PHP.

const LITERAL = /^<\/?(script|style)$/i;

/** HTML whose `<script>` and `<style>` are read by `javascript` and `css`. */
export function htmlWith({ html, javascript, css }) {
  const modes = { script: javascript, style: css };
  return {
    name: "html",
    startState: (unit) => ({ html: html.startState(unit), inner: null, tag: "", opening: "" }),
    copyState: (state) => ({
      ...state,
      html: copied(html, state.html),
      inner: state.inner && { ...state.inner, state: copied(modes[state.inner.tag], state.inner.state) },
    }),
    token(stream, state) {
      const { inner } = state;
      if (inner && !stream.match(new RegExp(`^</${inner.tag}`, "i"), false)) {
        const style = modes[inner.tag].token(stream, inner.state);
        const ends = stream.current().search(new RegExp(`</${inner.tag}`, "i"));
        if (ends >= 0) stream.backUp(stream.current().length - ends);
        return style;
      }
      state.inner = null;
      const style = html.token(stream, state.html);
      const read = stream.current();
      if (read === "<" || read === "</") state.opening = read;
      else if (LITERAL.test(state.opening + read)) state.tag = state.opening === "<" ? read.toLowerCase() : "";
      else if (/>$/.test(read) && state.tag) {
        if (read === ">") state.inner = { tag: state.tag, state: modes[state.tag].startState(2) };
        state.tag = "";
      }
      return style;
    },
  };
}

const words = (list) => Object.fromEntries(list.split(" ").map((word) => [word, true]));

/** PHP, also within HTML; `clike` is the factory of the C-like modes. */
export function phpWith({ clike, html }) {
  const php = clike({
    name: "php",
    keywords: words(
      "abstract and array as break case catch class clone const continue declare default do else elseif enddeclare endfor endforeach " +
        "endif endswitch endwhile enum extends final finally fn for foreach function global goto if implements include include_once " +
        "instanceof insteadof interface match namespace new or private protected public readonly require require_once return static " +
        "switch throw trait try use var while xor yield echo print die exit isset unset empty list",
    ),
    types: words("int float string bool array object mixed void never iterable callable self parent"),
    blockKeywords: words("catch do else elseif for foreach if switch try while finally"),
    defKeywords: words("class enum function interface namespace trait"),
    atoms: words("true false null TRUE FALSE NULL __CLASS__ __DIR__ __FILE__ __LINE__ __METHOD__ __FUNCTION__ __NAMESPACE__"),
    multiLineStrings: true,
    hooks: {
      $: (stream) => (stream.eatWhile(/[\w$]/), "variableName.special"),
      "#": (stream) => (stream.eat("[") ? "meta" : (skipTo(stream, "?>"), "comment")),
      "/": (stream) => (stream.eat("/") ? (skipTo(stream, "?>"), "comment") : false),
    },
  });
  return {
    name: "php",
    startState: (unit) => ({ html: html.startState(unit), php: null, begun: false, unit }),
    copyState: (state) => ({ ...state, html: html.copyState(state.html), php: state.php && copied(php, state.php) }),
    token(stream, state) {
      // A snippet is PHP from its first character, a file begins with a tag.
      if (!state.begun && !stream.match(/^\s*</, false)) state.php = php.startState(state.unit);
      state.begun = true;
      if (state.php && stream.match("?>")) {
        state.php = null;
        return "meta";
      }
      if (state.php) return php.token(stream, state.php);
      if (stream.match(/^<\?(?:php|=)?/)) {
        state.php = php.startState(state.unit);
        return "meta";
      }
      const style = html.token(stream, state.html);
      const begins = stream.current().indexOf("<?");
      if (begins > 0) stream.backUp(stream.current().length - begins);
      return style;
    },
  };
}

function skipTo(stream, end) {
  while (!stream.eol() && !stream.match(end, false)) stream.next();
}

/** A copy of what a mode remembers between two lines. */
export function copied(mode, state) {
  if (mode.copyState) return mode.copyState(state);
  if (typeof state !== "object" || state === null) return state;
  return Object.fromEntries(Object.entries(state).map(([key, value]) => [key, Array.isArray(value) ? value.slice() : value]));
}
