// A conversation as a tree: each message has a parent, a question that was edited and an answer that was asked for again
// are siblings, and `chosen` says which of them is shown. No access to the page or the browser: plain values.

const ROOT = "root";
const TITLE = 60; // characters

/** A conversation without messages. */
export function blank(id) {
  const now = Date.now();
  return { id, title: "", titled: "question", created: now, updated: now, settings: {}, nodes: {}, chosen: {}, draft: "" };
}

/** What the list shows of a conversation; `coming`: it has answers that have not ended. */
export function headOf(record) {
  const { id, title, titled, created, updated } = record;
  return { id, title, titled, created, updated, coming: unended(record).length > 0 };
}

/** The answers that have not ended, whether they are shown or not. */
export function unended({ nodes }) {
  return Object.values(nodes).filter(({ role, outcome }) => role === "assistant" && !outcome);
}

/** The messages that are shown, in order. */
export function path(record) {
  const children = childrenOf(record);
  const shown = [];
  const seen = new Set();
  for (let parent = ROOT; ; ) {
    const all = children.get(parent) ?? [];
    const chosen = record.chosen[parent];
    if (chosen === null) return shown; // gone back behind this point
    const node = all.find(({ id }) => id === chosen) ?? all.at(-1);
    if (!node || seen.has(node.id)) return shown;
    seen.add(node.id);
    shown.push(node);
    parent = node.id;
  }
}

/** A function that tells, for a message, all versions of it, the oldest first. */
export function versions(record) {
  const children = childrenOf(record);
  return (node) => children.get(node.parent ?? ROOT) ?? [node];
}

function childrenOf(record) {
  const children = new Map();
  for (const node of Object.values(record.nodes)) {
    const parent = node.parent ?? ROOT;
    if (children.has(parent)) children.get(parent).push(node);
    else children.set(parent, [node]);
  }
  for (const all of children.values()) all.sort((a, b) => a.time - b.time);
  return children;
}

/** Add a message and show it. */
export function add(record, node) {
  const last = versions(record)(node).at(-1); // `time` is the order of versions, so it never stands still
  if (last && last !== node && node.time <= last.time) node.time = last.time + 1;
  record.nodes[node.id] = node;
  show(record, node);
  record.updated = Date.now();
  if (node.role === "user" && node.parent === null && record.titled !== "user") record.title = titleOf(node.content);
}

/** Show this version of a message, and below it what was shown there. */
export function show(record, node) {
  record.chosen[node.parent ?? ROOT] = node.id;
}

/** Show nothing from this message on: the next one is another version of it. */
export function goBack(record, node) {
  record.chosen[node.parent ?? ROOT] = null;
}

/** The message at which the reader has gone back, or null: what the next one would be another version of. */
export function takenBack(record) {
  const parent = path(record).at(-1)?.id ?? ROOT;
  return record.chosen[parent] === null ? (childrenOf(record).get(parent)?.at(-1) ?? null) : null;
}

export function question(id, parent, content) {
  return { id, parent, role: "user", content, time: Date.now() };
}

/** An answer that is to be asked for. `asked`: what the request has beside its messages, and `system`. */
export function answer(id, parent, key, asked) {
  const now = Date.now();
  return {
    id, parent, role: "assistant", content: "", time: now, key, asked, base: "", stream: null, model: asked.model,
    outcome: null, reason: "", finish: null, excess: null, reasoning: "", usage: null,
    times: { asked: now, first: null, ended: null }, resumes: 0, recovery: [],
  };
}

/** The body of the request for an answer: the messages above it and, if there is one, its beginning. */
export function request(record, node) {
  const { system, ...body } = node.asked;
  const messages = node.base ? [{ role: "assistant", content: node.base }] : [];
  const seen = new Set();
  for (let at = record.nodes[node.parent]; at && !seen.has(at.id); at = record.nodes[at.parent]) {
    seen.add(at.id);
    if (at.content !== "") messages.unshift({ role: at.role, content: at.content });
  }
  if (system) messages.unshift({ role: "system", content: system });
  return { ...body, messages };
}

/** The text of a question, which may have other parts. */
export function textOf(content) {
  if (typeof content === "string") return content;
  return content.map((part) => (part.type === "text" ? part.text : "")).filter(Boolean).join("\n");
}

/** A question with another text and the same other parts. */
export function withText(content, text) {
  if (typeof content === "string") return text;
  return [{ type: "text", text }, ...content.filter(({ type }) => type !== "text")];
}

/** A title made from a question: its first line, cut at a word. */
export function titleOf(content) {
  const line = textOf(content).split("\n").map((one) => one.replace(/^[\s#>*`~-]+/, "").replace(/\s+/g, " ").trim()).find(Boolean) ?? "";
  const characters = [...new Intl.Segmenter().segment(line.slice(0, 4 * TITLE))].map(({ segment }) => segment);
  if (characters.length <= TITLE) return line || "New chat";
  const cut = characters.slice(0, TITLE - 1).join("");
  const space = cut.lastIndexOf(" ");
  return `${(space > TITLE / 2 ? cut.slice(0, space) : cut).trimEnd()}…`;
}

/** A conversation as an earlier version has kept it: {at, messages}, or null. */
export function ofOldMessages(id, old) {
  if (!Array.isArray(old?.messages) || old.messages.length === 0) return null;
  const record = blank(id);
  let parent = null;
  let time = old.at - old.messages.length;
  for (const { role, content, ...rest } of old.messages) {
    const name = `${id}-${Object.keys(record.nodes).length}`;
    let node = question(name, parent, content);
    if (role === "assistant") {
      node = answer(name, parent, rest.key, { model: rest.model ?? "default" });
      Object.assign(node, { content, base: rest.base ?? "", stream: rest.stream, outcome: rest.outcome ?? null });
      Object.assign(node, { reason: rest.message ?? "", finish: rest.finish ?? null });
      node.times.asked = rest.asked ?? time;
    }
    add(record, Object.assign(node, { time: time++ }));
    parent = name;
  }
  return Object.assign(record, { created: record.nodes[`${id}-0`].time, updated: old.at ?? Date.now() });
}
