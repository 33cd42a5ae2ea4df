// What runs now: numbers, and the newest responses. Events are taken as they come, and drawn once a frame.

import { empty, h, section } from "./dom.js";
import { compact, count, seconds, share } from "./words.js";

const short = (name) => (name.length > 20 ? `${name.slice(0, 11)}…${name.slice(-5)}` : name);

export function running(signal) {
  const tiles = {};
  const tile = (name, words, title) => h("div", { class: "tile", title }, h("dt", {}, words), (tiles[name] = h("dd", {}, "–")));
  const numbers = h("dl", { class: "tiles" },
    tile("running", "Running"),
    tile("waiting", "Waiting"),
    tile("rate", "Tokens per second", "What was stored in the last second: upstreams send about one chunk for each token."),
    tile("wrong", "Error rate", "Of the responses that have ended in the range below: those that failed or were interrupted."));
  const body = h("tbody");
  const heads = [["Response"], ["Model"], ["Upstream"], ["Key"], ["Tries", 1], ["Tokens", 1], ["For", 1]];
  const rows = h("div", { class: "table tall", tabindex: "0", role: "region", "aria-label": "Running responses", hidden: true },
    h("table", {}, h("thead", {}, h("tr", {}, heads.map(([name, number]) => h("th", { scope: "col", class: number && "number" }, name)))), body));
  const none = empty("Nothing runs at the moment.");
  none.hidden = true; // nobody knows yet
  const more = h("p", { class: "soft", hidden: true });
  const connection = h("p", { class: "soft", role: "status" });
  const element = section("Now", numbers, none, rows, more, connection);

  const known = new Map(); // id -> {value, row, cells}
  let order = [];
  let total = 0;
  let frame = 0;

  function take(event) {
    if (event.type === "snapshot") {
      for (const name of [...known.keys()]) remove(name);
      order = [];
      for (const value of event.responses) add(value, false);
    } else {
      for (const name of event.gone) remove(name);
      for (const changed of event.changed) Object.assign(known.get(changed.response)?.value ?? {}, changed);
      for (const value of event.begun.toReversed()) add(value, true);
    }
    total = event.running;
    tiles.running.textContent = count(event.running);
    tiles.waiting.textContent = count(event.waiting);
    tiles.rate.textContent = event.rate == null ? "–" : compact(event.rate);
    later();
  }

  function add(value, first) {
    known.set(value.response, { value, row: null, cells: null });
    first ? order.unshift(value.response) : order.push(value.response);
  }

  function remove(name) {
    known.get(name)?.row?.remove();
    known.delete(name);
    order = order.filter((one) => one !== name);
  }

  const later = () => (frame ||= requestAnimationFrame(draw));

  function draw() {
    frame = 0;
    if (signal.aborted) return;
    const now = Date.now() / 1000;
    let before = null;
    for (const name of order) {
      const one = known.get(name);
      if (!one.row) {
        one.cells = heads.map(([, number]) => h("td", { class: number && "number" }));
        one.row = h("tr", {}, one.cells);
        one.cells[0].append(h("a", { href: `#/responses/${encodeURIComponent(name)}`, title: name }, short(name)));
      }
      const { model, upstream, key, attempts, cause, records, at } = one.value;
      const words = [null, model, upstream, key || "–", cause ? `${attempts} (${cause})` : `${attempts}`, count(records), seconds(Math.max(0, Math.round(now - at)))];
      words.forEach((word, index) => word != null && one.cells[index].textContent !== word && (one.cells[index].textContent = word));
      const place = before ? before.nextSibling : body.firstChild;
      if (place !== one.row) body.insertBefore(one.row, place);
      before = one.row;
    }
    rows.hidden = order.length === 0;
    none.hidden = order.length > 0;
    more.hidden = total <= order.length;
    more.textContent = `The newest ${count(order.length)} of ${count(total)}.`;
  }

  return {
    element,
    take,
    lost(whether) {
      const words = whether ? "The connection is lost; what is shown may be old. Trying again…" : "";
      if (connection.textContent !== words) connection.textContent = words;
    },
    numbers({ totals, now, log }, range) {
      const wrong = (totals.outcomes.interrupted ?? 0) + (totals.outcomes.failed ?? 0);
      tiles.wrong.textContent = log.kept ? share(wrong, totals.ended) : "–";
      tiles.wrong.previousSibling.textContent = `Error rate, ${range}`;
      if (tiles.running.textContent === "–") tiles.running.textContent = count(now.running);
      if (tiles.waiting.textContent === "–") tiles.waiting.textContent = count(now.waiting);
    },
  };
}
