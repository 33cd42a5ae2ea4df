// Conversations live in this browser under the name in the URL's hash, so that a reload or a second tab finds them.
// The answers themselves live on the server, under their stream id.

const PREFIX = "everytoken:";
const KEPT = 20;

export function newName() {
  // Not crypto.randomUUID(): it is missing on plain http other than localhost.
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function load(name) {
  try {
    const messages = JSON.parse(localStorage.getItem(PREFIX + name))?.messages;
    return Array.isArray(messages) ? messages : [];
  } catch {
    return [];
  }
}

export function save(name, messages) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify({ at: Date.now(), messages }));
    forget();
  } catch {
    // Full or forbidden: the conversation then lives as long as the page.
  }
}

/** Call `changed` when another tab has written the conversation called `name()`. */
export function watch(name, changed) {
  addEventListener("storage", (event) => {
    if (event.key === PREFIX + name()) changed();
  });
}

export function setting(key, value) {
  try {
    if (value !== undefined) localStorage.setItem(`everytoken.${key}`, value);
    return localStorage.getItem(`everytoken.${key}`);
  } catch {
    return null;
  }
}

function forget() {
  const stored = Object.keys(localStorage)
    .filter((key) => key.startsWith(PREFIX))
    .map((key) => ({ key, at: JSON.parse(localStorage.getItem(key)).at ?? 0 }))
    .sort((a, b) => b.at - a.at);
  for (const { key } of stored.slice(KEPT)) localStorage.removeItem(key);
}
