// A block of Markdown in parts: what has a component of its own, and what is left to `render`.

export interface Part {
  kind: "text" | "code" | "math";
  source: string;
  language: string;
  /** Its end has not come. */
  open: boolean;
}

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*$/;
const FORMULA = /^ {0,3}(\$\$|\\\[)/;

/** The parts of `source`, of the kinds in `wanted`; what is open ends with the source. */
export function partsOf(source: string, wanted: { code?: unknown; math?: unknown }): Part[] {
  const parts: Part[] = [];
  let text = "";
  const put = (part: Omit<Part, "language"> & { language?: string }) => {
    if (text.trim()) parts.push({ kind: "text", source: text, language: "", open: false });
    text = "";
    parts.push({ language: "", ...part });
  };
  const lines = source.match(/[^\n]*\n|[^\n]+$/g) ?? [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!.replace(/\n$/, "");
    const fence = FENCE.exec(line);
    const formula = FORMULA.exec(line);
    if (fence && lines[at]!.endsWith("\n")) {
      const [, mark, language] = fence;
      const end = lines.findIndex((one, index) => index > at && one.trim().startsWith(mark!) && !one.trim().replaceAll(mark![0]!, ""));
      const inner = lines.slice(at + 1, end < 0 ? undefined : end).join("");
      const known = wanted.code !== undefined;
      if (known) put({ kind: "code", source: inner.replace(/\n$/, ""), language: language!, open: end < 0 });
      else text += lines.slice(at, end < 0 ? undefined : end + 1).join("");
      at = end < 0 ? lines.length : end;
    } else if (formula && wanted.math !== undefined) {
      const closer = formula[1] === "$$" ? "$$" : "\\]";
      const rest = lines.slice(at).join("").slice(formula[0].length);
      const end = rest.indexOf(closer);
      const after = /^[ \t]*(?:\n|$)/.exec(rest.slice(end + 2));
      if (end >= 0 && !after) {
        text += lines[at];
        continue; // words follow: a formula within its line is the Markdown library's
      }
      put({ kind: "math", source: (end < 0 ? rest : rest.slice(0, end)).trim(), open: end < 0 });
      if (end < 0) break;
      at += rest.slice(0, end + 2).split("\n").length - 1;
    } else text += lines[at];
  }
  if (text.trim() || parts.length === 0) parts.push({ kind: "text", source: text, language: "", open: false });
  return parts;
}

const THOUGHT = /^\s*<(think(?:ing)?)>([^]*?)(?:<\/\1>\s*|$)/;

/** What a model thought before its answer, where it says so in the text: {thought, open, rest}. */
export function thoughtOf(text: string): { thought: string | null; open: boolean; rest: string } {
  if (/^\s*<[a-z]{0,8}$/.test(text) && "<thinking>".startsWith(text.trim())) return { thought: null, open: true, rest: "" };
  const found = THOUGHT.exec(text);
  if (!found) return { thought: null, open: false, rest: text };
  const open = !found[0].trimEnd().endsWith(`</${found[1]}>`);
  return { thought: found[2]!.trim(), open, rest: text.slice(found[0].length) };
}
