// The API key of a gateway that wants one. It is asked for when it is missing, kept by this browser as long as its
// owner wants, and goes into one header of requests to this gateway: into no URL, no conversation and no log.

const NAME = "everytoken.key";
const WANTED = "authentication-failed"; // the gateway's own 401; that of a model's provider has another code

const at = (id) => document.getElementById(id);
let inMemory = ""; // for a browser that keeps nothing
let asking = null; // while the form is open: a promise of whether a key was given
let answerForm;

/** The headers of a request, with the key if there is one. */
export function withKey(headers = {}) {
  const key = kept();
  if (!key) return headers;
  const bytes = new TextEncoder().encode(key); // a header is bytes, which fetch takes one character each
  return { ...headers, Authorization: `Bearer ${String.fromCharCode(...bytes)}` };
}

/** `fetch`, which asks for the key when the gateway wants one, and then goes on. Without a key: the 401. */
export async function authorized(path, init = {}) {
  for (;;) {
    const sent = kept();
    const response = await fetch(path, { ...init, headers: withKey(init.headers) });
    if (!(await isWanted(response))) return response;
    if (sent !== kept()) continue; // another request has asked meanwhile
    const given = await ask(sent ? "Unknown API key." : "");
    init.signal?.throwIfAborted();
    if (!given) return response;
  }
}

/** The gateway's error in words for whoever reads this page, or null for any other. */
export function wordsFor(error) {
  return error?.code === WANTED ? "This server requires an API key." : null;
}

async function isWanted(response) {
  if (response.status !== 401) return false;
  const body = await response.clone().json().catch(() => null);
  return body?.error?.code === WANTED;
}

function ask(problem = "") {
  at("key-problem").textContent = problem;
  at("key-forget").hidden = !kept();
  asking ??= new Promise((resolve) => {
    answerForm = (given) => {
      asking = null;
      at("key-value").value = "";
      at("key-form").close();
      at("key").hidden = !kept();
      resolve(given);
    };
    at("key-form").showModal();
  });
  return asking;
}

function kept() {
  return inMemory || from(() => sessionStorage.getItem(NAME) || localStorage.getItem(NAME)) || "";
}

function keep(key, everywhere) {
  from(() => sessionStorage.removeItem(NAME));
  from(() => localStorage.removeItem(NAME));
  inMemory = key;
  if (key) from(() => (everywhere ? localStorage : sessionStorage).setItem(NAME, key));
}

// What the browser forbids is as if it were not there.
function from(storage) {
  try {
    return storage();
  } catch {
    return null;
  }
}

/** Make the form work; `changed` is called when there is another key. */
export function keyForm(changed) {
  const form = at("key-form");
  at("key").hidden = !kept();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const key = at("key-value").value.trim();
    if (!/^[^\s\p{Cc}]+$/u.test(key)) {
      at("key-problem").textContent = "A key is one word, without spaces."; // and a header carries no others
      return;
    }
    keep(key, at("key-remember").checked);
    answerForm(true);
    changed();
  });
  form.addEventListener("cancel", () => answerForm(false)); // Escape
  at("key-dismiss").addEventListener("click", () => answerForm(false));
  at("key-forget").addEventListener("click", () => {
    keep("", false);
    answerForm(false);
  });
  at("key").addEventListener("click", () => ask());
  addEventListener("storage", ({ key }) => {
    if (key !== NAME) return;
    inMemory = ""; // another tab has another one, or has forgotten it
    at("key").hidden = !kept();
    if (asking && kept()) answerForm(true); // given in another tab
  });
}
