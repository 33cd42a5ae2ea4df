// The chat page: conversation, composer, and what happens when one of them is used.

import { Answer, COMPLETED, INTERRUPTED } from "./answer.js";
import { authorized, keyForm } from "./key.js";
import { AnswerView, userMessage } from "./message.js";
import { stickToEnd } from "./scroll.js";
import { load, newName, save, setting, watch } from "./store.js";

const KEY_LIVES_MS = 86_400_000; // as long as the gateway knows an Idempotency-Key

const at = (id) => document.getElementById(id);
const prompt = at("prompt");
// Back to the prompt when the focus would be lost; not where that would open a keyboard over the text.
const refocus = () => matchMedia("(hover: none)").matches || prompt.focus();
const toEnd = stickToEnd(at("scroller"), at("latest"));

let name = ""; // of the conversation
let messages = []; // {role, content} and for answers also {stream, base, key, model, asked, outcome, message, finish}
let running = null; // {answer, view, entry} while text is coming

function show(conversation) {
  running?.answer.leave();
  running = null;
  name = conversation;
  messages = load(name);
  at("messages").replaceChildren();
  for (const message of messages) {
    if (message.role === "user") at("messages").append(userMessage(message.content));
    else if (message.outcome) showEnded(message);
    else if (message.stream) run(message, (answer) => answer.follow(message.stream));
    else if (message === messages.at(-1) && Date.now() - message.asked < KEY_LIVES_MS) ask(message); // has it begun? the key knows
    else showEnded(Object.assign(message, { outcome: INTERRUPTED, message: "The page was closed before an answer began." }));
  }
  refresh();
  toEnd();
}

function showEnded(entry) {
  const view = new AnswerView();
  at("messages").append(view.element);
  view.add(entry.content);
  view.end(entry, () => goOn(entry, view));
}

function send(text) {
  if (running || text.trim() === "") return;
  if (!location.hash.slice(1)) history.replaceState(null, "", `#${name}`);
  messages.push({ role: "user", content: text });
  at("messages").append(userMessage(text));
  prompt.value = "";
  ask(newEntry(""));
}

// `key` makes a question that is sent again the same one, as long as nobody knows whether its answer has begun.
function newEntry(base, before) {
  const model = at("model").value || "default";
  const key = before && !before.stream && before.model === model ? before.key : newName();
  const entry = { role: "assistant", content: base, base, key, model, asked: Date.now(), stream: null, outcome: null };
  messages.push(entry);
  return entry;
}

// The rest of an answer that did not come to its end: the same question, with the text so far as its last message.
function goOn(entry, view) {
  if (running || messages.at(-1) !== entry) return;
  messages.pop();
  view.element.remove();
  refocus();
  ask(newEntry(entry.content, entry));
}

function ask(entry) {
  const history = messages.filter(({ content }) => content !== "").map(({ role, content }) => ({ role, content }));
  run(entry, (answer) => answer.ask({ model: entry.model, messages: history }, entry.key));
  toEnd();
}

async function run(entry, start) {
  const view = new AnswerView();
  view.add(entry.base);
  at("messages").append(view.element);
  const answer = new Answer({
    text: (text) => view.add(text),
    reasoning: (text) => view.addReasoning(text),
    connection: (state) => mine() && view.connection(state),
    named: (id) => {
      if (entry.stream === id) return;
      entry.stream = id;
      save(name, messages);
    },
  });
  const mine = () => running?.answer === answer;
  running = { answer, view, entry };
  save(name, messages);
  refresh();

  const end = await start(answer).catch((error) => {
    console.error(error);
    return { outcome: INTERRUPTED, message: "This page has failed. Please reload it.", finish: null };
  });
  if (!mine()) return; // another conversation is shown
  running = null;
  // What an earlier visit has seen outlives an answer that the server has forgotten.
  if (view.source === entry.base) view.add(entry.content.slice(entry.base.length));
  Object.assign(entry, end, { content: view.source });
  save(name, messages);
  view.end(end, () => goOn(entry, view));
  at("announcer").textContent = [view.spoken, view.verdict].filter(Boolean).join(". ");
  refresh();
  view.element.dispatchEvent(new CustomEvent("grown", { bubbles: true }));
}

function stop() {
  if (!running) return;
  running.view.stopping();
  running.answer.stop();
}

function refresh() {
  const busy = running !== null;
  const hadFocus = document.activeElement === at("stop");
  at("send").hidden = busy;
  at("stop").hidden = !busy;
  at("send").disabled = prompt.value.trim() === "";
  at("welcome").hidden = messages.length > 0;
  at("new").hidden = messages.length === 0;
  if (hadFocus && !busy) refocus();
}

async function modelNames() {
  const response = await authorized("v1/models");
  return response.ok ? (await response.json()).data.map(({ id }) => id) : [];
}

async function listModels() {
  // Without a list there is nothing to choose from. The connection may also break within the list.
  const models = await modelNames().catch(() => []);
  at("model").replaceChildren(...models.map((id) => new Option(id, id)));
  at("model-label").hidden = models.length < 2;
  const chosen = setting("model");
  if (models.includes(chosen)) at("model").value = chosen;
}

async function copy(button) {
  const block = button.closest(".code")?.querySelector("code");
  const message = button.closest(".message");
  const entry = messages[[...at("messages").children].indexOf(message)];
  const text = block ? block.textContent.replace(/\n$/, "") : entry.content;
  await (navigator.clipboard?.writeText(text) ?? Promise.reject()).then(
    () => (button.textContent = "Copied"),
    () => (button.textContent = "Not allowed"),
  );
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send(prompt.value);
});
prompt.addEventListener("input", refresh);
prompt.addEventListener("keydown", (event) => {
  // While an input method composes a character, Enter belongs to it.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send(prompt.value);
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && !event.target.closest?.("dialog")) stop();
});
at("stop").addEventListener("click", stop);
at("messages").addEventListener("click", ({ target }) => target.matches(".copy") && copy(target));
at("welcome").addEventListener("click", ({ target }) => target.matches("button") && (refocus(), send(target.textContent)));
at("model").addEventListener("change", () => setting("model", at("model").value));
at("new").addEventListener("click", () => {
  history.pushState(null, "", location.pathname);
  show(newName());
  refocus();
});
addEventListener("hashchange", () => location.hash.slice(1) !== name && show(location.hash.slice(1) || newName()));
addEventListener("popstate", () => location.hash.slice(1) !== name && show(location.hash.slice(1) || newName()));
watch(
  () => name,
  () => {
    const theirs = load(name);
    const last = theirs.at(-1);
    const same = theirs.length === messages.length && last?.stream === messages.at(-1)?.stream;
    if (!same && last?.stream) show(name); // a question was asked in another tab: follow its answer here
  },
);
addEventListener("pagehide", () => {
  if (!running) return;
  running.entry.content = running.view.source;
  save(name, messages);
});

keyForm(listModels);
show(location.hash.slice(1) || newName());
listModels();
