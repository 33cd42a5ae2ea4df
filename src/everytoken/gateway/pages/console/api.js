// What the gateway is asked, with the admin key: asked for once, kept in this tab, sent in one header and nowhere else.

import { SSEDecoder } from "../sse.js";

const NAME = "everytoken.admin-key";
const at = (id) => document.getElementById(id);
let inMemory = ""; // for a browser that keeps nothing
let asking = null; // while the form is open: a promise of a key
let answerForm;

export class Failure extends Error {}

/** JSON from a path under `admin/`. Asks for the key where there is none that counts. Throws `Failure`. */
export async function ask(path, init = {}) {
  const response = await authorized(path, init);
  const body = await response.json().catch(() => null);
  if (!response.ok) throw Object.assign(new Failure(body?.error?.message ?? `The gateway answers ${response.status}.`), { status: response.status });
  return body;
}

/** Events from a path, for as long as `signal` lets it; `taken(event)` gets each, `lost(whether)` is told of the connection. */
export async function follow(path, signal, taken, lost) {
  let last = "";
  for (let pause = 500; !signal.aborted; pause = Math.min(pause * 2, 10_000)) {
    try {
      const response = await authorized(path, { signal, headers: last && { "Last-Event-ID": last } });
      if (!response.ok) throw new Failure(`The gateway answers ${response.status}.`);
      const decoder = new SSEDecoder();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let read; !(read = await reader.read()).done; ) {
        for (const { data, id } of decoder.feed(read.value)) {
          last = id;
          pause = 500;
          lost(false);
          taken(JSON.parse(data));
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Failure || error instanceof TypeError)) throw error; // ours, or the network's
    }
    if (signal.aborted) return;
    lost(true);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

async function authorized(path, init) {
  for (let problem = ""; ; ) {
    const sent = kept() || (await askForKey(problem));
    const bytes = new TextEncoder().encode(sent); // a header is bytes, which fetch takes one character each
    const response = await fetch(path, { ...init, headers: { ...init.headers, Authorization: `Bearer ${String.fromCharCode(...bytes)}` } });
    if (response.status !== 401 && response.status !== 429) return response;
    const error = (await response.clone().json().catch(() => null))?.error;
    if (response.status === 429 && !/wrong API keys/.test(error?.message)) return response;
    init.signal?.throwIfAborted();
    if (sent === kept()) keep("");
    const said = error?.message ?? "This key is not known";
    problem = `${said[0].toUpperCase()}${said.slice(1)}.`;
  }
}

function askForKey(problem) {
  if (problem) at("key-problem").textContent = problem;
  asking ??= new Promise((resolve) => {
    answerForm = (key) => {
      asking = null;
      keep(key);
      at("key-value").value = "";
      at("key-problem").textContent = "";
      at("key-form").close();
      resolve(key);
    };
    at("key-form").showModal();
  });
  return asking;
}

function kept() {
  try {
    return inMemory || sessionStorage.getItem(NAME) || "";
  } catch {
    return inMemory;
  }
}

function keep(key) {
  inMemory = key;
  at("leave").hidden = !key;
  try {
    key ? sessionStorage.setItem(NAME, key) : sessionStorage.removeItem(NAME);
  } catch {
    // It is kept until the page is left.
  }
}

at("leave").hidden = !kept();
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = at("key-value").value.trim();
  if (/^[^\s\p{Cc}]+$/u.test(key)) answerForm(key);
  else at("key-problem").textContent = "A key is one word, without spaces."; // and a header carries no others
});
at("key-form").addEventListener("cancel", (event) => event.preventDefault()); // nothing can be shown without it
at("leave").addEventListener("click", () => {
  keep("");
  location.hash = "#/";
  location.reload();
});
