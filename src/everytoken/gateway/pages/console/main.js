// The console: which page is shown, by the hash of the URL.

import { ask, Failure } from "./api.js";
import { h } from "./dom.js";
import { list } from "./list.js";
import { one } from "./one.js";
import { overview } from "./overview.js";

const main = document.getElementById("main");
const problem = document.getElementById("problem");
let leave = null; // aborts what the page that is shown has going on
let shown = "";

/** {path, parameters} of a hash such as `#/responses?key=ci`. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  return { path: path || "/", parameters: new URLSearchParams(query) };
}

function show() {
  if (location.hash === "#main") return; // the link to the content
  const { path, parameters } = place();
  leave?.abort();
  leave = new AbortController();
  const { signal } = leave;
  const say = (error) => {
    if (signal.aborted) return;
    problem.hidden = !error;
    if (!error) return;
    if (!(error instanceof Failure || error instanceof TypeError)) console.error(error);
    problem.textContent = error instanceof TypeError ? "The gateway cannot be reached. Trying again…" : error.message;
  };
  problem.hidden = true;
  const id = /^\/responses\/([^/]+)$/.exec(path)?.[1];
  const [title, page] = id
    ? [`Response ${decodeURIComponent(id)}`, one]
    : path === "/responses"
      ? ["Responses", list]
      : ["Overview", overview];
  document.title = `${title} · everytoken`;
  for (const link of document.querySelectorAll("nav a")) {
    const ours = link.hash === "#/" ? path === "/" : path.startsWith(link.hash.slice(1));
    ours ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  const content = h("div", { class: "page" });
  main.replaceChildren(content);
  if (shown && shown !== path) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  shown = path;
  page({ content, signal, parameters, say, ask: (asked, init) => ask(asked, { signal, ...init }), id: id && decodeURIComponent(id) });
}

addEventListener("hashchange", show);
show();
