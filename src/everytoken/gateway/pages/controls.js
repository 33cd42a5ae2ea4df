// What stands around a conversation: the model, its settings, images, figures, the theme and the keyboard. Each is a module
// of its own; here they meet the conversation.

import { INTERRUPTED } from "./answer.js";
import { attachments, contentOf, imageRow, imagesOf, refusesImages } from "./attachments.js";
import { current, goBack, goOn, refocus, refresh } from "./conversation.js";
import { button, el, icon } from "./elements.js";
import { figuresLine, recoveryOf, resultOf, settled, Timing } from "./figures.js";
import { authorized } from "./key.js";
import { keepModels, keptModels, modelPicker, modelsIn } from "./picker.js";
import { countSet, FIELDS, parameters, refusedField, settingsDialog, wantsOtherLimit } from "./settings.js";
import { shortcuts } from "./shortcuts.js";
import { slots } from "./slots.js";
import { change, setting } from "./store.js";
import { nextTheme, setTheme, theme, THEMES, themeSwitch, watchTheme } from "./theme.js";
import { path } from "./tree.js";

const TOLD_MS = 86_400_000; // so long the gateway may be asked for the result of an answer
const AGAIN_MS = 5000;
const NEW = "everytoken.new"; // what is set for a conversation that has not begun: of this tab

const at = (id) => document.getElementById(id);
const prompt = at("prompt");
const announce = (words) => (at("announcer").textContent = words);

// --- What is kept with the conversation, and before it has begun for this tab ---

function session(name, value) {
  try {
    if (value === undefined) return JSON.parse(sessionStorage.getItem(name));
    if (value === null) sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Full, or forbidden: then it is not there after a reload.
  }
  return null;
}

const begun = (record) => Object.keys(record.nodes).length > 0;

/** Change what the conversation keeps; `changes` are fields of it. */
async function keep(changes) {
  const record = current();
  if (!begun(record)) {
    Object.assign(record, changes); // stored with the first question
    session(NEW, { ...session(NEW), ...changes });
  } else {
    Object.assign(record, changes); // at once, for what is asked before it is stored
    await change(record.id, (stored) => Object.assign(stored, changes)).catch((error) => console.error(error));
  }
  update(record);
}

// --- The model ---

const select = at("model") ?? el("select", { id: "model", hidden: true, tabIndex: -1, "aria-label": "Model" });
const label = at("model-label") ?? el("span", { id: "model-label" });
const gear = button({ id: "settings", "aria-haspopup": "dialog", "aria-label": "Settings", title: "Settings", onclick: () => settings.open() },
  icon("M2 4.5h7M12.5 4.5H14M2 11.5h1.5M7 11.5h7M12.5 4.5a1.75 1.75 0 1 1-3.5 0a1.75 1.75 0 0 1 3.5 0ZM7 11.5a1.75 1.75 0 1 1-3.5 0a1.75 1.75 0 0 1 3.5 0Z"));
label.replaceChildren(select);
at("header-slot").append(label, gear);

const picker = modelPicker({
  place: label,
  select,
  chosen(id) {
    setting("model", id);
    keep({ settings: { ...current().settings, model: id } });
    refocus();
  },
});

/** Ask which models there are; what was kept is there meanwhile, and when there is no answer. */
export async function listModels() {
  const response = await authorized("v1/models").catch(() => null);
  // The connection may also break within the list.
  const found = response?.ok ? modelsIn(await response.json().catch(() => null)) : [];
  if (found.length) {
    keepModels(found);
    picker.list(found);
  }
}

// The model of a conversation is the one that was chosen in it, or that has answered last.
function ownModel(record) {
  if (record.settings?.model) return record.settings.model;
  const asked = path(record).findLast(({ role }) => role === "assistant")?.model;
  return asked && asked !== "default" ? asked : null;
}

// --- Settings ---

const sheet = button({ class: "quiet", onclick: () => (at("settings-form").close(), keys.open()) }, "Keyboard shortcuts");
const settings = settingsDialog({
  get: () => current().settings,
  change: (changed) => keep({ settings: changed }),
  more: [el("h3", {}, "This page"), el("div", { class: "row" }, el("span", { "aria-hidden": "true" }, "Theme"), themeSwitch(), sheet)],
});

// --- Images ---

const thumbnails = el("ul", { class: "attachments", "aria-label": "Images of the question" });
const problem = el("p", { id: "attachment-problem", role: "alert" });
const clip = button({ id: "attach", "aria-label": "Add images", title: "Add images" },
  icon("M13.5 7.2 8.1 12.6a3.2 3.2 0 0 1-4.6-4.6l5.6-5.6a2.1 2.1 0 0 1 3 3L6.600 10.9a1 1 0 0 1-1.500-1.400L10 4.700"));
at("above-prompt").append(problem, thumbnails);
at("prompt-slot").append(clip);

const images = attachments({
  prompt,
  place: thumbnails,
  opener: clip,
  say: (words) => (problem.textContent = words),
  changed() {
    problem.textContent = "";
    keepImages();
    refresh();
  },
});

const imagesName = () => `${NEW}.images:${location.hash.slice(1)}`;

let imagesAt = ""; // where the images in the prompt are kept for this tab

function keepImages() {
  imagesAt = imagesName();
  session(imagesAt, images.images.length ? images.images : null);
  const { id } = current();
  const draft = images.images;
  change(id, (stored) => (stored.draftImages = draft)).catch((error) => console.error(error));
}

// --- What is asked, and what is shown ---

let shownId = null;
const timings = new Map(); // id of an answer -> Timing
const places = new Map(); // id of an answer -> where its figures are
const asking = new Set(); // ids of answers of which the gateway is being asked

function timing(node) {
  if (!timings.has(node.id)) timings.set(node.id, new Timing(node.times));
  return timings.get(node.id);
}

function update(record) {
  const count = countSet(record.settings);
  gear.classList.toggle("set", count > 0);
  gear.setAttribute("aria-label", count ? `Settings, ${count} set` : "Settings");
  picker.use(ownModel(record), setting("model"));
}

function drawFigures(node) {
  const place = places.get(node.id);
  if (!place) return;
  const rows = figuresLine(node);
  const field = node.outcome === INTERRUPTED && node.content === (node.base ?? "") ? refusedField({ message: node.reason, param: node.param }, node.asked) : null;
  if (field) {
    rows.unshift(button({ class: "change", onclick: () => settings.open(field) }, `Change ${FIELDS[field].words.toLowerCase()}`));
  }
  place.replaceChildren(...rows);
}

// What the gateway knows of an answer, which no stream tells: of one that was stopped, too, and what it has cost.
async function askGateway(node) {
  if (node.told || !node.stream || asking.has(node.id) || Date.now() - (node.times?.asked ?? 0) > TOLD_MS) return;
  asking.add(node.id);
  const { id } = current();
  let told;
  try {
    told = await resultOf(node.stream);
  } catch {
    setTimeout(() => places.get(node.id)?.isConnected && askGateway(node), AGAIN_MS); // it is away; the answer is here
    return;
  } finally {
    asking.delete(node.id);
  }
  if (!told?.outcome) return; // it is asked for again when the answer is shown again
  const found = {
    told: true,
    usage: told.usage ?? node.usage,
    cost: told.cost,
    times: settled(node.times, told),
    recovery: recoveryOf(timing(node), told),
  };
  found.resumes = found.recovery.filter(({ kind }) => kind === "connection").length;
  Object.assign(node, found);
  timings.delete(node.id);
  drawFigures(node);
  places.get(node.id)?.dispatchEvent(new CustomEvent("grown", { bubbles: true }));
  await change(id, (stored) => stored.nodes[node.id]?.key === node.key && Object.assign(stored.nodes[node.id], found)).catch((error) => console.error(error));
}

// Models that call the limit of tokens by its newer name.
const otherLimit = () => new Set((setting("newer-limit") ?? "").split("\n").filter(Boolean));

function asked({ settings }) {
  const model = picker.value ?? "default";
  const { max_tokens, ...rest } = parameters(settings);
  const limit = max_tokens && { [otherLimit().has(model) ? "max_completion_tokens" : "max_tokens"]: max_tokens };
  return { model, system: settings?.system?.trim() ? settings.system : "", ...rest, ...limit };
}

Object.assign(slots, {
  asked,
  content: (text) => (text.trim() === "" && !images.images.length ? null : contentOf(text, images.images)),
  taken() {
    images.set([]);
    problem.textContent = "";
    session(NEW, null);
    if (imagesAt) session(imagesAt, null);
  },
  question(element, content) {
    const row = imageRow(content);
    if (row) element.prepend(row);
  },
  answer(place, node) {
    places.set(node.id, place);
    drawFigures(node);
    askGateway(node);
  },
  chunk: (node) => timing(node).text(),
  connection: (node, state) => timing(node).connection(state),
  ended: refused,
  shown(record) {
    if (record.id !== shownId) {
      shownId = record.id;
      settings.forget();
      const kept = begun(record) ? null : session(NEW);
      if (kept) Object.assign(record, kept);
      imagesAt = imagesName();
      images.set(session(imagesAt) ?? record.draftImages ?? []);
      problem.textContent = "";
      if (images.images.length) refresh();
    }
    update(record);
  },
});

// What the model has refused is said where it can be changed.
async function refused(conversation, node, error) {
  if (conversation !== current().id || node.outcome !== INTERRUPTED || node.content !== (node.base ?? "")) return;
  const { model, max_tokens } = node.asked ?? {};
  if (max_tokens && error && wantsOtherLimit(error) && !otherLimit().has(model)) {
    setting("newer-limit", [...otherLimit(), model].join("\n"));
    return goOn(node.id);
  }
  const field = refusedField(error, node.asked);
  if (field) settings.refuse(field, error.message);
  const question = current().nodes[node.parent];
  if (!error || !imagesOf(question?.content).length || !refusesImages(error)) return;
  await goBack(node.id); // the question is in the prompt again
  images.set(imagesOf(question.content));
  keepImages();
  refresh();
  problem.textContent = `The model did not take the images: ${error.message}`;
}

// --- The keyboard ---

const press = (id) => () => at(id)?.click();

const keys = shortcuts({
  prompt,
  actions: {
    prompt: () => prompt.focus(),
    fresh: press("new"),
    ...(at("search") && { search: () => at("search").focus() }),
    model: () => label.hidden || picker.open(),
    settings: () => settings.open(),
    theme() {
      setTheme(nextTheme(theme()));
      announce(`Theme: ${THEMES[theme()]}`);
    },
    copy: () => [...document.querySelectorAll("#messages .assistant")].at(-1)?.querySelector(".acts .copy, .note > .copy")?.click(),
  },
});

watchTheme();
picker.list(keptModels());
