// The list of responses, by what is looked for; what is looked for is in the URL.

import { empty, h, state, table } from "./dom.js";
import { count, money, seconds, when } from "./words.js";

const PAGE = 50;
const MOST = 1000; // that the gateway gives at once
const SPANS = { 3600: "1 hour", 86400: "24 hours", 604800: "7 days" };
const OUTCOMES = ["running", "completed", "interrupted", "failed", "cancelled", "refused"];

export async function list({ content, signal, parameters, say, ask }) {
  const value = (name) => parameters.get(name) ?? "";
  const text = (name, label, placeholder) => h("label", {}, label, h("input", { name, type: "search", value: value(name), placeholder, maxlength: "200", autocomplete: "off", spellcheck: "false" }));
  const choice = (name, label, options, chosen) =>
    h("label", {}, label, h("select", { name }, options.map(([key, words]) => h("option", { value: key, selected: key === chosen }, words))));
  const form = h("form", { class: "filters", role: "search", "aria-label": "Responses" },
    text("text", "Text", "an id, an error, anything"),
    choice("outcome", "Outcome", [["", "any"], ...OUTCOMES.map((name) => [name, name])], value("outcome")),
    text("key", "Key"),
    text("model", "Model"),
    text("upstream", "Upstream"),
    text("error", "Error"),
    choice("since", "Began in the last", Object.entries(SPANS), value("since") || "86400"),
    h("div", { class: "choices" }, h("button", { type: "submit", class: "main" }, "Search"), h("a", { class: "button", href: "#/responses" }, "Clear")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = [...new FormData(form)].map(([name, one]) => [name, one.trim()]).filter(([name, one]) => one && !(name === "since" && one === "86400"));
    const hash = `#/responses${wanted.length ? `?${new URLSearchParams(wanted)}` : ""}`;
    if (location.hash === hash) load();
    else location.hash = hash;
  });
  for (const select of form.querySelectorAll("select")) select.addEventListener("change", () => form.requestSubmit());
  const found = h("div", { "aria-live": "off" });
  content.append(h("h2", {}, "Responses"), form, found);

  let limit = PAGE;
  async function load() {
    const query = new URLSearchParams({ since: `-${value("since") || 86400}`, limit: `${Math.min(limit + 1, MOST)}` });
    for (const name of ["text", "outcome", "key", "model", "upstream", "error"]) if (value(name)) query.set(name, value(name));
    try {
      const { responses } = await ask(`admin/responses?${query}`);
      if (signal.aborted) return;
      say(null);
      draw(responses);
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 400 && /keeps no request log/.test(error.message)) {
        found.replaceChildren(empty(
          "There is no request log: the journal is in memory, or keep_log is 0. Start the gateway with ", h("code", {}, "--journal sqlite:///PATH"),
          ". What runs now can be seen: ", h("a", { href: "#/responses?outcome=running" }, "running responses"), "."));
      } else say(error);
    }
  }

  function draw(responses) {
    const shown = responses.slice(0, limit);
    const there = responses.length > limit;
    document.getElementById("announcer").textContent = `${shown.length}${there ? " or more" : ""} responses`;
    if (!shown.length) {
      found.replaceChildren(empty("Nothing was found. Look in a longer time, or for less."));
      return;
    }
    const more = h("button", { type: "button", onclick: () => ((limit = Math.min(limit + PAGE * 2, MOST)), (more.disabled = true), load()) }, "Show more");
    found.replaceChildren(rows(shown), there ? h("p", { class: "more" }, more) : "",
      limit >= MOST ? empty(`These are the newest ${count(MOST)}. Look for something to see others.`) : "");
  }

  await load();
}

function rows(responses) {
  return table("Responses", [
    { name: "Began", cell: (row) => (row.response ? h("a", { href: `#/responses/${encodeURIComponent(row.response)}` }, when(row.at)) : when(row.at)) },
    { name: "Outcome", cell: (row) => [state(row.outcome), row.error && h("small", {}, row.error)] },
    { name: "Model", cell: (row) => row.model ?? h("span", { class: "soft" }, row.path ? `${row.method} ${row.path}` : "–") },
    { name: "Key", cell: (row) => row.key || "–" },
    { name: "Tries", number: true, cell: (row) => (row.attempts ? count(row.attempts.length) : "–") },
    { name: "First content", number: true, cell: (row) => seconds(row.first_content) },
    { name: "Took", number: true, cell: (row) => seconds(row.seconds) },
    { name: "Tokens", number: true, cell: (row) => (row.tokens ? `${row.tokens.input == null ? "" : `${count(row.tokens.input)} + `}${count(row.tokens.output)}` : "–") },
    { name: "Cost", number: true, cell: (row) => money(row.cost) },
  ], responses, { class: "table responses" });
}
