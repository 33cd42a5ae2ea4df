// The chat page: what happens when something on it is used.

import * as conversation from "./conversation.js";
import { authorized, keyForm } from "./key.js";
import { catchUp } from "./runs.js";
import { slots } from "./slots.js";
import { setting } from "./store.js";
import { sidebar } from "./sidebar.js";
import { withoutThoughts } from "./rich/thinking.js";
import { textOf } from "./tree.js";

const at = (id) => document.getElementById(id);
const prompt = at("prompt");

slots.asked = () => ({ model: at("model").value || "default" });
slots.shown = ({ id }) => sidebar.mark(id);

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

async function copy(button, text) {
  await (navigator.clipboard?.writeText(text) ?? Promise.reject()).then(
    () => (button.textContent = "Copied"),
    () => (button.textContent = "Not allowed"),
  );
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

/** What the buttons of a message do: by `data-act`, with the message's id. */
const ACTS = {
  copy: (id, button) => {
    const { role, content } = conversation.current().nodes[id];
    copy(button, role === "assistant" ? withoutThoughts(content) : textOf(content));
  },
  edit: conversation.editQuestion,
  again: conversation.regenerate,
  previous: (id) => conversation.step(id, -1),
  next: (id) => conversation.step(id, 1),
  "go-on": conversation.goOn,
  "edit-above": conversation.editAbove,
  "go-back": conversation.goBack,
  "ask-anew": conversation.askAnew,
};

at("messages").addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  const code = button?.closest(".code");
  if (code && button.matches(".copy")) copy(button, code.querySelector("code").textContent.replace(/\n$/, ""));
  else ACTS[button?.dataset.act]?.(button.closest(".message").dataset.id, button);
});
at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  conversation.send();
});
prompt.addEventListener("keydown", (event) => {
  // While an input method composes a character, Enter belongs to it.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  conversation.send();
});
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing || event.defaultPrevented) return;
  if (!event.target.closest?.("dialog, [popover], #sidebar")) conversation.stop();
});
at("stop").addEventListener("click", conversation.stop);
at("taken-back").addEventListener("click", conversation.undoGoBack);
at("welcome").addEventListener("click", ({ target }) => {
  if (!target.matches("button")) return;
  conversation.refocus();
  conversation.send(target.textContent);
});
at("model").addEventListener("change", () => setting("model", at("model").value));

function showHash() {
  const id = location.hash.slice(1);
  if (id === conversation.current().id) return;
  conversation.show(id);
  sidebar.chosen();
}

at("new").addEventListener("click", () => {
  history.pushState(null, "", location.pathname);
  showHash();
  conversation.refocus();
});
addEventListener("hashchange", showHash);
addEventListener("popstate", showHash);

keyForm(listModels);
conversation.show(location.hash.slice(1));
sidebar.start();
// One tab is enough, where a browser can say so.
const alone = navigator.locks ? (work) => navigator.locks.request("everytoken.catch-up", { ifAvailable: true }, (lock) => lock && work()) : (work) => work();
const later = () => alone(() => catchUp((id) => id === conversation.current().id)).catch((error) => console.error(error));
setTimeout(later, 1000); // first what is looked at
listModels();
