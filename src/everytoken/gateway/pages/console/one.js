// One response: what it was, its attempts on a time line, its seams and gaps, and its text where the log has it.

import { empty, h, section, state } from "./dom.js";
import { bytes, count, money, seconds, when } from "./words.js";

const AGAIN_MS = 1000; // while it runs

export async function one({ content, signal, id, say, ask }) {
  let timer = 0;
  signal.addEventListener("abort", () => clearTimeout(timer));
  const stop = h("button", { type: "button", class: "main", hidden: true }, "Stop it");
  const title = h("h2", { class: "id" }, id);
  const body = h("div");
  content.append(h("p", {}, h("a", { href: "#/responses" }, "All responses")), h("div", { class: "title" }, title, stop), body);
  stop.addEventListener("click", async () => {
    stop.disabled = true;
    stop.textContent = "Stopping…";
    try {
      await ask(`admin/responses/${encodeURIComponent(stop.dataset.id)}/stop`, { method: "POST", headers: { "Content-Type": "application/json" } });
      load();
    } catch (error) {
      stop.disabled = false;
      stop.textContent = "Stop it";
      say(error);
    }
  });

  let last = null;
  async function load() {
    clearTimeout(timer);
    try {
      const entry = await ask(`admin/responses/${encodeURIComponent(id)}`);
      if (signal.aborted) return;
      say(null);
      last = entry;
      draw(entry);
    } catch (error) {
      if (signal.aborted) return;
      if (last?.outcome === "running" && (error.status === 404 || error.status === 400)) {
        // It has ended: its entry comes a moment later, or never without a request log.
        draw({ ...last, outcome: "ended", attempts: last.attempts });
        if (error.status === 404) timer = setTimeout(load, AGAIN_MS);
      } else if (error.status === 404 || error.status === 400) body.replaceChildren(empty(`${error.message}.`));
      else {
        say(error);
        timer = setTimeout(load, 5 * AGAIN_MS);
      }
    }
  }

  function draw(entry) {
    const runs = entry.outcome === "running";
    stop.hidden = !runs;
    stop.dataset.id = entry.response ?? "";
    title.textContent = entry.response ?? entry.request;
    body.replaceChildren(facts(entry), ...(entry.attempts?.length ? [timeline(entry)] : []), text(entry, runs));
    if (runs) timer = setTimeout(load, AGAIN_MS);
  }

  await load();
}

function facts(entry) {
  const tokens = entry.tokens;
  const pairs = [
    ["Outcome", [state(entry.outcome), entry.error ? h("small", {}, ` ${entry.error}`) : null]],
    ["Why", entry.message],
    ["Began", when(entry.at)],
    ["Took", seconds(entry.seconds)],
    ["First content", entry.first_content == null ? null : seconds(entry.first_content)],
    ["Gaps", entry.gap_longest == null ? null : `${seconds(entry.gap_median)} median, ${seconds(entry.gap_longest)} longest`],
    ["Model", entry.model_used && entry.model_used !== entry.model ? `${entry.model} (answered by ${entry.model_used})` : entry.model],
    ["API", entry.api],
    ["Key", entry.key ? h("a", { href: `#/responses?${new URLSearchParams({ key: entry.key })}` }, entry.key) : null],
    ["Tokens", tokens ? `${tokens.input == null ? "" : `${count(tokens.input)} in, `}${count(tokens.output)} out${tokens.cached ? `, ${count(tokens.cached)} cached` : ""}${tokens.reasoning ? `, ${count(tokens.reasoning)} reasoning` : ""}` : null],
    ["Cost", entry.cost == null ? (tokens ? "not known: no price, or not all tokens were counted" : null) : money(entry.cost)],
    ["Stored", entry.records == null ? null : `${count(entry.records)} records`],
    ["Received", entry.bytes == null ? null : bytes(entry.bytes)],
    ["Readers", entry.readers == null ? null : count(entry.readers)],
    ["Request", entry.request],
    ["Refused", entry.status ? `${entry.path ? `${entry.method} ${entry.path}: ` : ""}${entry.status}, from ${entry.peer}` : null],
    ["Taken over", entry.taken_over == null ? null : `behind record ${count(entry.taken_over)}`],
  ];
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value != null && value !== "").map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function timeline(entry) {
  const attempts = entry.attempts;
  const until = Math.max(entry.seconds, 0.001, ...attempts.map(({ ended }) => ended ?? 0));
  const share = (time) => `${(100 * Math.min(Math.max(time, 0), until)) / until}%`;
  const seams = new Map((entry.seams ?? []).map((seam) => [seam.attempt, seam]));
  const rows = attempts.map((attempt) => {
    const end = attempt.ended ?? until;
    const bar = h("span", { class: `bar ${attempt.cause ? "wrong" : "right"}` });
    bar.style.left = share(attempt.started);
    bar.style.width = `max(3px, ${share(end - attempt.started)})`;
    const track = h("div", { class: "track", "aria-hidden": "true" }, bar);
    if (attempt.first_content != null) {
      const first = h("span", { class: "first" });
      first.style.left = share(attempt.started + attempt.first_content);
      track.append(first);
    }
    const seam = seams.get(attempt.number);
    if (seam?.gap) {
      const gap = h("span", { class: "gap" });
      const shown = attempt.started + (attempt.first_content ?? 0);
      gap.style.left = share(shown - seam.gap);
      gap.style.width = `max(2px, ${share(seam.gap)})`;
      track.append(gap);
    }
    const notes = [
      `${seconds(attempt.started)} to ${attempt.ended == null ? "now" : seconds(attempt.ended)}`,
      attempt.first_content == null ? null : `first content after ${seconds(attempt.first_content)}`,
      seam ? `seam behind record ${count(seam.offset)}${seam.gap == null ? "" : `, gap of ${seconds(seam.gap)}`}` : null,
    ].filter(Boolean);
    return h("li", {},
      h("div", { class: "who" }, h("b", {}, `${attempt.number}. ${attempt.upstream || "(lost)"}`), h("small", {}, ` ${attempt.model} · ${attempt.strategy}`)),
      track,
      h("div", { class: "notes" }, notes.join(" · "), attempt.cause && h("div", { class: "cause" }, h("span", { "aria-hidden": "true" }, "✕ "), h("b", {}, attempt.cause.code), ` ${attempt.cause.message}`)));
  });
  const key = h("ul", { class: "legend", "aria-hidden": "true" },
    h("li", {}, h("i", { class: "swatch right" }), "went well"), h("li", {}, h("i", { class: "swatch wrong" }), "✕ failed"),
    h("li", {}, h("i", { class: "swatch first" }), "first content"), h("li", {}, h("i", { class: "swatch gap" }), "gap at a seam"));
  return section("Attempts", h("ol", { class: "attempts" }, rows),
    h("div", { class: "scale", "aria-hidden": "true" }, [0, 0.5, 1].map((part) => h("span", {}, seconds(until * part)))), key);
}

function text(entry, runs) {
  if (entry.response == null) return "";
  const { content } = entry;
  if (!content) return section("Text", empty(runs ? "The text is not shown while it runs." : "The log keeps no text. Start the gateway with ", runs ? "" : h("code", {}, "--log-content"), runs ? "" : " if it should."));
  if (content.why) return section("Text", empty(`It could not be read: ${content.why}.`));
  return section("Text", h("h3", {}, "Answer"), shown(content.answer), h("details", {}, h("summary", {}, "Request"), shown(content.body)));
}

function shown(value) {
  const choices = value?.choices?.map((choice) => choice.message?.content ?? choice.text).filter((one) => typeof one === "string" && one);
  const words = choices?.length ? choices.join("\n\n") : typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return h("pre", { tabindex: "0" }, words ?? "nothing");
}
