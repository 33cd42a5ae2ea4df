// The first page: what happens now, what has happened over time, and who and what it was.

import { follow } from "./api.js";
import { empty, h, section, state, table } from "./dom.js";
import { plot } from "./plots.js";
import { running } from "./running.js";
import { compact, count, money, seconds, share } from "./words.js";

const RANGES = {
  "1h": { name: "1 hour", since: 3600, step: 60, every: 10_000 },
  "24h": { name: "24 hours", since: 86_400, step: 600, every: 60_000 },
  "7d": { name: "7 days", since: 604_800, step: 3600, every: 60_000 },
};
const OUTCOMES = ["completed", "interrupted", "failed", "cancelled", "refused"];

export function overview({ content, signal, parameters, say, ask }) {
  const chosen = parameters.get("range") in RANGES ? parameters.get("range") : "1h";
  const range = RANGES[chosen];
  const now = running(signal);
  const pair = (field) => ["p50", "p95"].map((name) => ({ name, value: (step) => step[field][name] }));
  const plots = [
    plot("Responses ended, by outcome", OUTCOMES.map((name) => ({ name, value: (step) => step.outcomes[name] ?? 0 })), compact, signal),
    plot("Time to first content", pair("first_content"), seconds, signal, 3),
    plot("Longest gap in a response", pair("gap_longest"), seconds, signal, 3),
    plot("Tokens", ["input", "output"].map((name) => ({ name, value: (step) => step.tokens[name] })), compact, signal, 3),
    plot("Cost", [{ name: "US dollars", value: (step) => step.cost }], money, signal, 3),
  ];
  const over = h("div", { class: "plots" }, plots.map(({ figure }) => figure));
  const picker = h("div", { class: "ranges", role: "group", "aria-label": "Range" },
    Object.entries(RANGES).map(([key, { name }]) => h("a", { href: `#/?range=${key}`, "aria-current": key === chosen && "true" }, name)));
  const rest = h("div", { class: "columns" });
  const foot = h("p", { class: "soft foot" });
  const time = section(`The last ${range.name}`, picker, over);
  content.append(now.element, time, rest, foot);

  follow("admin/live", signal, now.take, now.lost).catch(say);

  async function refresh() {
    try {
      const found = await ask(`admin/overview?since=-${range.since}&step=${range.step}`);
      if (signal.aborted) return;
      say(null);
      take(found);
    } catch (error) {
      if (signal.aborted) return;
      say(error);
    }
  }

  function take(found) {
    now.numbers(found, range.name);
    if (found.log.kept) for (const one of plots) one.update(found.steps);
    else if (!over.querySelector(".empty")) {
      picker.remove();
      over.replaceChildren(noLog());
    }
    if (!rest.contains(document.activeElement)) rest.replaceChildren(failures(found), upstreams(found), models(found), keys(found));
    foot.textContent = `everytoken ${found.version} · up for ${seconds(found.uptime)} · journal: ${found.journal.kind}`;
  }

  let timer = 0;
  const again = () => {
    clearInterval(timer);
    if (document.hidden || signal.aborted) return;
    refresh();
    timer = setInterval(refresh, range.every);
  };
  document.addEventListener("visibilitychange", again, { signal });
  signal.addEventListener("abort", () => clearInterval(timer));
  again();
}

const noLog = () =>
  empty("There is no request log: the journal is in memory, or keep_log is 0. Start the gateway with ", h("code", {}, "--journal sqlite:///PATH"), " to see what has happened.");

const link = (text, query) => h("a", { href: `#/responses?${new URLSearchParams(query)}` }, text || "(none)");

function failures({ errors, upstreams, log }) {
  const causes = new Map(); // code -> {responses, attempts}
  const of = (code) => causes.get(code) ?? causes.set(code, { code, responses: 0, attempts: 0 }).get(code);
  // What a caller has stopped has not failed.
  for (const { error, count: number } of errors) if (error !== "cancelled") of(error).responses += number;
  for (const { causes: theirs } of upstreams) for (const [code, number] of Object.entries(theirs)) of(code).attempts += number;
  const rows = [...causes.values()].sort((a, b) => b.responses - a.responses || b.attempts - a.attempts);
  const body = rows.length
    ? table("Failures by cause", [
        { name: "Cause", cell: (row) => link(row.code, row.responses ? { error: row.code } : { text: row.code }) },
        { name: "Responses", number: true, cell: (row) => count(row.responses) },
        { name: "Attempts", number: true, cell: (row) => count(row.attempts) },
      ], rows)
    : empty(log.kept ? "Nothing has failed." : "Not known without a request log.");
  return section("Failures by cause", body);
}

function upstreams({ upstreams }) {
  if (!upstreams.length) return section("Upstreams", empty("None is configured."));
  const first = (row) => row.latency.toSorted((a, b) => a.first_token - b.first_token);
  return section("Upstreams", table("Upstreams", [
    { name: "Upstream", cell: (row) => link(row.upstream, { upstream: row.upstream }) },
    { name: "State", cell: (row) => [state(row.state), ...row.set_aside.map(({ model, seconds: left }) => h("small", {}, `${model}: tried again in ${seconds(left)}`))] },
    { name: "In flight", number: true, cell: (row) => count(row.in_flight) },
    { name: "First token", number: true, cell: (row) => first(row).map(({ model, first_token: value, rate }) => h("div", { class: "measured", title: rate ? `${rate} tokens a second` : null }, row.latency.length > 1 ? h("small", {}, `${model} `) : null, seconds(value))) },
    { name: "Attempts", number: true, cell: (row) => count(row.attempts) },
    { name: "Failed", number: true, cell: (row) => h("span", { title: Object.entries(row.causes).map(([code, number]) => `${code}: ${number}`).join("\n") }, `${count(row.failed)}${row.failed ? ` (${share(row.failed, row.attempts)})` : ""}`) },
  ], upstreams));
}

function models({ models, log }) {
  if (!models.length) return section("Models", empty(log.kept ? "No response has ended in this time." : "Not known without a request log."));
  return section("Models", table("Models", [
    { name: "Model", cell: (row) => link(row.model, { model: row.model }) },
    { name: "Responses", number: true, cell: (row) => count(row.responses) },
    { name: "Completed", number: true, cell: (row) => share(row.completed, row.responses) },
    { name: "Tokens", number: true, cell: (row) => compact(row.tokens) },
    { name: "Cost", number: true, cell: (row) => money(row.cost) },
  ], models));
}

function keys({ keys }) {
  if (!keys.length) return section("Keys", empty("There is no key: everybody may call. Make one with ", h("code", {}, "everytoken keys create NAME"), "."));
  return section("Keys", table("Keys", [
    { name: "Key", cell: (row) => [row.key ? link(row.key, { key: row.key }) : "(no key)", row.admin && h("small", {}, " admin"), row.state === "gone" && h("small", {}, " gone")] },
    { name: "Responses", number: true, cell: (row) => count(row.responses) },
    { name: "Tokens", number: true, cell: (row) => compact(row.tokens) },
    { name: "Cost", number: true, cell: (row) => money(row.cost) },
    { name: "Budget", cell: budgets },
  ], keys));
}

function budgets({ spent, limits, key }) {
  const found = [["day", limits.usd_per_day], ["month", limits.usd_per_month]].filter(([, most]) => most);
  if (!found.length || !spent) return h("span", { class: "soft" }, "no limit");
  return found.map(([span, most]) => {
    const words = `${money(spent[span])} of ${money(most)} a ${span}`;
    const bar = h("meter", { min: "0", max: most, high: most * 0.8, value: Math.min(spent[span], most), "aria-label": `${key}: ${words}` });
    return h("div", { class: "budget" }, bar, h("small", {}, words, spent[span] >= most ? " – used up" : ""));
  });
}
