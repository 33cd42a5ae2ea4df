// What a conversation tells its model beside the messages: a system prompt and parameters. Empty is the model's default,
// and then nothing is sent. What the model refuses is said at the field.

import { button, dialog, el } from "./elements.js";

const EFFORTS = { none: "None", minimal: "Minimal", low: "Low", medium: "Medium", high: "High", xhigh: "Extra high" };

/** The fields; `names`: what an upstream calls them when it refuses one. */
export const FIELDS = {
  system: { words: "System prompt", hint: "How the model should answer, in every turn of this conversation", names: ["system"] },
  temperature: { words: "Temperature", hint: "0 to 2. Higher is more varied", least: 0, most: 2, names: ["temperature"] },
  top_p: { words: "Top P", hint: "0 to 1. Lower keeps to likely words", least: 0, most: 1, names: ["top_p", "top p"] },
  max_tokens: {
    words: "Maximum tokens",
    hint: "Where an answer is cut off",
    least: 1,
    most: Number.MAX_SAFE_INTEGER,
    whole: true,
    names: ["max_tokens", "max_completion_tokens", "max_output_tokens"],
  },
  reasoning_effort: { words: "Reasoning effort", hint: "For models that think first", choices: EFFORTS, names: ["reasoning_effort", "reasoning"] },
};

/** What was typed into a field: {value, problem}; null is the model's default. */
export function parse(name, typed) {
  const field = FIELDS[name];
  const text = typed.trim();
  if (text === "") return { value: null, problem: "" };
  if (name === "system") return { value: typed, problem: "" };
  if (field.choices) return Object.hasOwn(field.choices, text) ? { value: text, problem: "" } : { value: null, problem: "Choose one of the list." };
  const number = /^[+-]?(\d+([.,]\d*)?|[.,]\d+)$/.test(text) ? Number(text.replace(",", ".")) : NaN;
  const range = field.whole ? `a whole number, ${field.least} or more` : `a number from ${field.least} to ${field.most}`;
  if (Number.isNaN(number) || number < field.least || number > field.most || (field.whole && !Number.isInteger(number))) {
    return { value: null, problem: `This must be ${range}.` };
  }
  return { value: number, problem: "" };
}

/** The fields of a request body for settings. Whatever storage may hold, nothing is sent that the fields would not take. */
export function parameters(settings) {
  const body = {};
  for (const name of Object.keys(FIELDS)) {
    if (name === "system") continue;
    const { value } = parse(name, String(settings?.[name] ?? ""));
    if (value !== null) body[name] = value;
  }
  return body;
}

/** Whether an error says that the limit of tokens has another name at this model, as OpenAI's newer ones have it. */
export function wantsOtherLimit(error) {
  return refusedField(error, { max_tokens: 1 }) === "max_tokens" && /use\W+max_completion_tokens/i.test(error.message ?? "");
}

/** The messages with the system prompt before them, if there is one. */
export function withSystem(settings, messages) {
  const system = settings?.system;
  return typeof system === "string" && system.trim() ? [{ role: "system", content: system }, ...messages] : messages;
}

/** How many settings are not the model's defaults. */
export function countSet(settings) {
  return Object.keys(parameters(settings)).length + (settings?.system?.trim() ? 1 : 0);
}

/** Which of the settings that were sent an error is about, or null: by its `param`, else by its words. */
export function refusedField(error, settings) {
  if (!error) return null;
  settings = { ...settings, max_tokens: settings?.max_tokens ?? settings?.max_completion_tokens };
  const sent = Object.keys(FIELDS).filter((name) => (name === "system" ? settings?.system?.trim() : parameters(settings)[name] !== undefined));
  const param = String(error.param ?? "").toLowerCase();
  const named = sent.find((name) => FIELDS[name].names.some((one) => param === one || param.startsWith(`${one}.`)));
  if (named) return named;
  const message = String(error.message ?? "").toLowerCase();
  return sent.find((name) => name !== "system" && FIELDS[name].names.some((one) => new RegExp(`(?<![\\w])${one}(?![\\w])`).test(message))) ?? null;
}

const WAIT_MS = 300; // after the last key, until it is stored

/**
 * The dialog. `get()` returns the settings of the conversation that is shown, `change(settings)` stores them; `more` are
 * elements that stand below. Returns {open(), refuse(field, words), forget()}.
 */
export function settingsDialog({ get, change, more = [] }) {
  const inputs = {};
  const problems = {};
  const refusals = {};
  let timer = 0;

  const say = (name, words) => {
    problems[name].textContent = words;
    if (words) inputs[name].setAttribute("aria-invalid", "true");
    else inputs[name].removeAttribute("aria-invalid");
  };
  const store = () => {
    clearTimeout(timer);
    timer = 0;
    const settings = { ...get() };
    for (const name of Object.keys(FIELDS)) {
      const { value, problem } = parse(name, inputs[name].value);
      if (!problem) settings[name] = name === "system" ? (value ?? "") : value;
    }
    change(settings);
  };
  const typed = (name) => {
    delete refusals[name]; // it is another value now
    say(name, parse(name, inputs[name].value).problem);
    clearTimeout(timer);
    timer = setTimeout(store, WAIT_MS);
  };

  const rows = Object.entries(FIELDS).map(([name, { words, hint, choices, whole }]) => {
    const id = `setting-${name}`;
    const given = { id, "aria-describedby": `${id}-hint ${id}-problem`, oninput: () => typed(name) };
    inputs[name] =
      name === "system" ? el("textarea", { ...given, rows: 4, spellcheck: true, dir: "auto" })
      : choices ? el("select", given, new Option("Model’s default", ""), ...Object.entries(choices).map(([value, said]) => new Option(said, value)))
      : el("input", { ...given, type: "text", inputMode: whole ? "numeric" : "decimal", autocomplete: "off", placeholder: "Model’s default" });
    problems[name] = el("p", { class: "problem", id: `${id}-problem`, role: "alert" });
    return el("div", { class: name === "system" ? "field wide" : "field" },
      el("label", { for: id }, words),
      inputs[name],
      el("p", { class: "hint", id: `${id}-hint` }, hint),
      problems[name],
    );
  });
  const made = dialog({ id: "settings-form", class: "sheet", "aria-labelledby": "settings-title", onclose: () => timer && store() },
    el("form", { method: "dialog", noValidate: true },
      el("h2", { id: "settings-title" }, "This conversation"),
      el("div", { class: "fields" }, ...rows),
      ...more,
      el("div", { class: "choices" },
        button({ id: "settings-reset", onclick: () => reset() }, "Model’s defaults"),
        el("button", { type: "submit", id: "settings-done", class: "main" }, "Done"),
      ),
    ),
  );
  addEventListener("pagehide", () => timer && store());

  const fill = () => {
    const settings = get() ?? {};
    for (const name of Object.keys(FIELDS)) {
      inputs[name].value = settings[name] ?? "";
      say(name, refusals[name] ?? "");
    }
  };
  const reset = () => {
    for (const name of Object.keys(FIELDS)) {
      inputs[name].value = "";
      typed(name);
    }
    store();
  };

  return {
    /** Show it, with the focus at `field` or at the first that was refused. */
    open(field = Object.keys(refusals)[0]) {
      fill();
      if (!made.open) made.showModal();
      (inputs[field] ?? inputs.system).focus();
    },
    /** The model has refused a field; it is said there until another value is typed. */
    refuse(field, words) {
      refusals[field] = words;
      if (made.open) say(field, words);
    },
    /** Another conversation is shown: what was refused was not its. */
    forget() {
      for (const name of Object.keys(refusals)) delete refusals[name];
      if (made.open) fill();
    },
  };
}
