// A conversation as a file: as Markdown, what is shown of it; as JSON, all of it, which can be read in again.

import { answer, blank, path, textOf } from "./tree.js";

const FORMAT = "everytoken conversation";

/** The messages that are shown, as Markdown. */
export function asMarkdown(record) {
  const parts = [`# ${record.title}`];
  for (const node of path(record)) {
    const answered = node.role === "assistant";
    parts.push(`## ${answered ? `Answer${node.model && node.model !== "default" ? ` (${node.model})` : ""}` : "Question"}`);
    if (node.reasoning) parts.push(`<details>\n<summary>Thinking</summary>\n\n${node.reasoning.trim()}\n\n</details>`);
    const images = Array.isArray(node.content) ? node.content.filter(({ type }) => type === "image_url") : [];
    for (const { image_url: image } of images) parts.push(`![](${image.url})`);
    if (textOf(node.content).trim()) parts.push(textOf(node.content).trim());
    if (answered && node.outcome !== "completed") parts.push(`*(${node.outcome ?? "not complete"})*`);
  }
  return `${parts.join("\n\n")}\n`;
}

/** All of a conversation, as JSON. */
export function asJSON(record) {
  return `${JSON.stringify({ format: FORMAT, version: 1, conversation: record }, null, 2)}\n`;
}

/** The conversation in what `asJSON` has made, or null. */
export function fromJSON(text) {
  const { format, conversation } = JSON.parse(text) ?? {};
  const { id, title, nodes, chosen } = conversation ?? {};
  if (format !== FORMAT || !isName(id) || typeof title !== "string" || !isObject(nodes) || !isObject(chosen)) return null;
  if (!Object.entries(nodes).every(([name, node]) => isMessage(name, node))) return null;
  const base = blank(id);
  const record = { ...base, ...conversation, ...proper(base, conversation) };
  record.nodes = Object.fromEntries(Object.values(nodes).map((node) => [node.id, whole(node)]));
  return record;
}

function isMessage(name, node) {
  const { id, role, content } = node ?? {};
  const text = typeof content === "string" || (role === "user" && Array.isArray(content) && content.every(isObject));
  return id === name && isName(id) && text && (role === "user" || (role === "assistant" && isName(node.key)));
}

// A file may have been edited by hand: a field of the wrong type is treated as missing.
function whole(node) {
  const parent = isName(node.parent) ? node.parent : null;
  if (node.role === "user") return { ...node, parent, time: Number.isFinite(node.time) ? node.time : 0 };
  const base = answer(node.id, parent, node.key, { model: isName(node.model) ? node.model : "default" });
  const texts = ["stream", "outcome", "finish"].map((name) => [name, isName(node[name]) ? node[name] : null]);
  return { ...base, ...node, ...proper(base, node), ...Object.fromEntries(texts), parent, usage: isObject(node.usage) ? node.usage : null };
}

// The fields of `base` whose type differs in `value`, with the values of `base`.
function proper(base, value) {
  const kind = (one) => (Array.isArray(one) ? "array" : typeof one);
  const wrong = Object.keys(base).filter((name) => base[name] !== null && (value[name] === null || kind(value[name]) !== kind(base[name])));
  return Object.fromEntries(wrong.map((name) => [name, base[name]]));
}

const isName = (value) => typeof value === "string" && value !== "";
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Give the reader a file. */
export function download(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A file's name made from a title. */
export function fileName(title, ending) {
  const name = title.normalize("NFC").replace(/[^\p{L}\p{M}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60);
  return `${name || "chat"}.${ending}`;
}
