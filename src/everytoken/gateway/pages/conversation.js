// The conversation that is shown, and everything that can be done with it. What is done is stored first, and then shown,
// here as in every other tab.

import { INTERRUPTED } from "./answer.js";
import { notice } from "./notice.js";
import { look, runOf, start } from "./runs.js";
import { stickToEnd } from "./scroll.js";
import { slots } from "./slots.js";
import { change, newName, read, watch } from "./store.js";
import { Thread } from "./thread.js";
import * as tree from "./tree.js";

const KEY_LIVES_MS = 86_400_000; // as long as the gateway knows an Idempotency-Key
const OTHER_TAB_MS = 5000; // how long an answer that another tab asks for may be without a name
const DRAFT_MS = 700;
const PLAN = "everytoken.asking"; // in sessionStorage: a question that is being stored

const at = (id) => document.getElementById(id);
const prompt = at("prompt");
const toEnd = stickToEnd(at("scroller"), at("latest"));
const thread = new Thread(at("messages"), at("scroller"));

let record = tree.blank(newName()); // not to be changed here: only what is stored is shown
let latest = {}; // stands for the last call of show()
let opening = Promise.resolve(); // until `record` is the conversation that is to be shown
const asking = new Set(); // keys of answers that this page is about to ask for
const done = new Map(); // id -> an answer that has ended here, until that is stored
let taking = null; // while a question is being stored: settles when it is
let edition = 0; // of `record`
let first = true; // nothing has been shown yet
let timer = 0; // until the draft is stored

/** The conversation that is shown. */
export const current = () => record;

/** Back to the prompt when the focus would be lost; not where that would open a keyboard over the text. */
export const refocus = () => matchMedia("(hover: none)").matches || prompt.focus();

/** Show a conversation, or a new one. */
export function show(id) {
  const mine = (latest = {});
  storeDraft();
  if (!id) {
    opened(tree.blank(newName()));
    opening = Promise.resolve();
    return opening;
  }
  at("welcome").hidden = true;
  if (first) prompt.value = draft() ?? prompt.value; // before the conversation has been read
  opening = read(id)
    .catch((error) => console.error(error))
    .then((found) => {
      if (latest !== mine) return;
      opened(found ?? tree.blank(id));
      if (!found && !taking) notice("This chat is not in this browser.");
    });
  return opening;
}

function opened(found) {
  record = withDone(found);
  const plan = inTab(() => JSON.parse(sessionStorage.getItem(PLAN)));
  if (plan?.id === record.id) take(plan); // the page was left before it was stored
  prompt.value = draft() ?? (record.draft || (first ? prompt.value : "")); // somebody may type before this page works
  first = false;
  if (prompt.value !== record.draft) timer = setTimeout(storeDraft, DRAFT_MS);
  draw(true);
  toEnd();
}

function draw(opened = false) {
  const coming = thread.show(record);
  look((run) => run.conversation === record.id && run.view === thread.viewOf(run.node.id));
  for (const [node, view] of coming) follow(node, view, opened);
  slots.shown(record);
  refresh();
}

// Show an answer while it comes. Its name leads to it; before it has one, its key does, and asks for it only once.
function follow(node, view, opened) {
  let run = runOf(node);
  if (!run && (node.stream || asking.delete(node.key) || opened)) {
    if (!node.stream && Date.now() - node.times.asked > KEY_LIVES_MS) return giveUp(node);
    run = start(record, node, ended);
  }
  if (run && run.view !== view) run.show(view);
  if (run) return;
  const { id } = record;
  setTimeout(() => id === record.id && draw(true), OTHER_TAB_MS); // the other tab may be gone
}

function giveUp({ id }) {
  alter((stored) => Object.assign(stored.nodes[id], { outcome: INTERRUPTED, reason: "The page was closed before an answer began." }));
}

function ended(run) {
  if (run.conversation !== record.id) return;
  const { node, view } = run;
  done.set(node.id, node);
  record = { ...record, nodes: { ...record.nodes, [node.id]: node } };
  thread.ended(node);
  if (view) at("announcer").textContent = [view.spoken, view.verdict].filter(Boolean).join(". ");
  refresh();
  view?.element.dispatchEvent(new CustomEvent("grown", { bubbles: true }));
}

// What was read before the end of an answer was stored must not show it as one that is still coming.
function withDone(found) {
  const nodes = { ...found.nodes };
  for (const [id, node] of done) {
    const stored = nodes[id];
    if (!stored || stored === node) continue;
    const same = !stored.outcome && stored.key === node.key && stored.times.asked === node.times.asked;
    if (same) nodes[id] = node;
    else done.delete(id);
  }
  return { ...found, nodes };
}

/** Change the conversation that is shown. */
export function alter(fn) {
  return change(record.id, fn, record);
}

watch(async ({ id, head, here, record: changed }) => {
  if (id !== record.id) return;
  if (!head) {
    history.replaceState(null, "", location.pathname);
    show("");
    if (!here) notice("This chat was deleted in another tab.");
    return;
  }
  let found = changed;
  for (let seen; !found; found = seen === edition ? found : null) {
    seen = edition;
    found = await read(id); // as it was before what has been stored meanwhile: then once more
    if (!found || id !== record.id) return;
  }
  edition++;
  record = withDone(found);
  draw();
});

// --- What can be done ---

/** Ask what stands in the prompt now, or `text`. What is typed afterwards stays there. */
export async function send(text) {
  const typed = text === undefined ? prompt.value : null;
  await opening;
  while (taking) await taking;
  if (isBusy() || (typed !== null && !prompt.value.startsWith(typed))) return; // it has been sent meanwhile
  const content = slots.content(typed ?? text);
  if (content === null) return;
  const rest = typed === null ? "" : prompt.value.slice(typed.length);
  const last = tree.path(record).at(-1);
  // A question that was too long is not in the way: this one stands beside it.
  const beside = last?.excess && last.content === "";
  const parent = beside ? record.nodes[last.parent].parent : (last?.id ?? null);
  prompt.value = "";
  forgetDraft();
  if (rest) setPrompt(rest);
  const stored = ask(tree.question(newName(), parent, content));
  slots.taken();
  toEnd();
  await stored;
}

/** Ask another version of a question. */
export function editQuestion(id) {
  thread.viewOf(id)?.edit((text) => {
    const { parent, content } = record.nodes[id];
    ask(tree.question(newName(), parent, tree.withText(content, text)));
  });
}

/** Ask for another answer beside this one. */
export function regenerate(id) {
  return ask(record.nodes[record.nodes[id].parent]);
}

// Ask a question, which may be a new one, for an answer that is to come. It is written down where a reload finds it, and
// asked at once; and it is stored with its conversation.
async function ask(question) {
  while (taking) await taking;
  await take({ id: record.id, settings: record.settings, question, answer: tree.answer(newName(), question.id, newName(), slots.asked(record)) });
}

async function take(plan) {
  let settle;
  taking = new Promise((resolve) => (settle = resolve));
  inTab(() => sessionStorage.setItem(PLAN, JSON.stringify(plan)));
  const before = record;
  record = { ...before, nodes: { ...before.nodes }, chosen: { ...before.chosen } };
  apply(record, plan);
  asking.add(plan.answer.key);
  if (location.hash.slice(1) !== plan.id) history.replaceState(history.state, "", `#${plan.id}`);
  draw();
  try {
    await change(plan.id, (stored) => apply(stored, plan), before);
    inTab(() => sessionStorage.removeItem(PLAN));
  } finally {
    taking = null;
    settle();
  }
}

// Once: it may have been stored just before its page was left.
function apply(stored, { settings, question, answer }) {
  if (stored.nodes[answer.id]) return;
  if (stored.nodes[question.id]) tree.show(stored, question);
  else tree.add(stored, structuredClone(question));
  tree.add(stored, structuredClone(answer));
  stored.settings = { ...settings, ...stored.settings };
  stored.draft = "";
  stored.draftImages = [];
}

/** The rest of an answer that did not come to its end: the same question, with the text so far as its last message. */
export async function goOn(id) {
  while (taking) await taking;
  const last = tree.path(record).at(-1);
  if (isBusy() || last?.id !== id) return;
  const asked = slots.asked(record);
  // A question that is sent again is the same one, as long as nobody knows whether its answer has begun.
  const key = !last.stream && JSON.stringify(last.asked) === JSON.stringify(asked) ? last.key : newName();
  asking.add(key);
  refocus();
  await alter((stored) => {
    const node = stored.nodes[id];
    Object.assign(node, { key, asked, model: asked.model, base: node.content, stream: null });
    Object.assign(node, { outcome: null, reason: "", finish: null, excess: null });
    Object.assign(node, { usage: null, cost: null, told: false, resumes: 0, recovery: [] });
    node.times = { asked: Date.now(), first: null, ended: null };
    stored.updated = Date.now();
  });
  toEnd();
}

/** Show the version of a message that is `step` away from this one. */
export async function step(id, by) {
  const versions = tree.versions(record)(record.nodes[id]);
  const to = versions[versions.findIndex((node) => node.id === id) + by];
  if (!to) return;
  const before = bar(id)?.getBoundingClientRect().top;
  await alter((stored) => tree.show(stored, stored.nodes[to.id]));
  const after = bar(to.id);
  if (!after) return;
  at("scroller").scrollTop += after.getBoundingClientRect().top - before; // it stays under the pointer
  after.querySelector(by < 0 ? ".previous" : ".next").focus({ preventScroll: true });
}

const bar = (id) => thread.viewOf(id)?.element.querySelector(".versions");

/** Go back behind the question of an answer, and have it in the prompt again. */
export async function goBack(id) {
  const question = record.nodes[record.nodes[id].parent];
  await alter((stored) => tree.goBack(stored, stored.nodes[question.id]));
  if (prompt.value.trim() === "") setPrompt(tree.textOf(question.content));
  refocus();
}

/** And be there again. */
export function undoGoBack() {
  const question = tree.takenBack(record);
  if (question) alter((stored) => tree.show(stored, stored.nodes[question.id]));
}

/** Edit the question of an answer. */
export const editAbove = (id) => editQuestion(record.nodes[id].parent);

/** Ask the question of an answer in a conversation of its own. */
export async function askAnew(id) {
  const { content } = record.nodes[record.nodes[id].parent];
  const { settings } = record;
  history.pushState(null, "", location.pathname);
  show("");
  record = { ...record, settings };
  refocus();
  await ask(tree.question(newName(), null, content));
}

export function stop() {
  const last = tree.path(record).at(-1);
  if (last?.role !== "assistant" || last.outcome) return;
  if (!runOf(last)) start(record, last, ended).show(thread.viewOf(last.id));
  runOf(last).stop();
}

/** Whether the last answer that is shown is still coming. */
export function isBusy() {
  const last = tree.path(record).at(-1);
  return last?.role === "assistant" && !last.outcome;
}

/** Bring the buttons and the title in line with the conversation. */
export function refresh() {
  const shown = tree.path(record);
  const last = shown.at(-1);
  const busy = last?.role === "assistant" && !last.outcome;
  const hadFocus = document.activeElement === at("stop");
  const back = tree.takenBack(record);
  document.title = record.title || "everytoken";
  at("send").hidden = busy;
  at("stop").hidden = !busy;
  at("send").disabled = slots.content(prompt.value) === null;
  at("taken-back").hidden = !back;
  at("welcome").hidden = shown.length > 0 || Boolean(back);
  at("new").hidden = shown.length === 0 && !back;
  if (hadFocus && !busy) refocus();
}

// --- What stands in the prompt and has not been asked ---

const draftName = () => `everytoken.draft:${location.hash.slice(1)}`;

export function setPrompt(text) {
  prompt.value = text;
  prompt.dispatchEvent(new Event("input", { bubbles: true }));
}

prompt.addEventListener("input", () => {
  refresh();
  inTab(() => sessionStorage.setItem(draftName(), prompt.value)); // at once: the page may be reloaded
  clearTimeout(timer);
  timer = setTimeout(storeDraft, DRAFT_MS);
});

const draft = () => inTab(() => sessionStorage.getItem(draftName()));

function forgetDraft() {
  clearTimeout(timer);
  timer = 0;
  inTab(() => sessionStorage.removeItem(draftName()));
}

// What the browser forbids is as if it were not there.
function inTab(storage) {
  try {
    return storage();
  } catch {
    return null;
  }
}

// With the conversation, if there is one, so that it is there when the browser is opened again.
function storeDraft() {
  if (!timer) return;
  clearTimeout(timer);
  timer = 0;
  const text = prompt.value;
  change(record.id, (stored) => (stored.draft = text)).catch((error) => console.error(error));
}
