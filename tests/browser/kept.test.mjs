// What is kept of conversations, whatever happens to their page, their tab, the network and the browser's storage.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, asked, chat, lists, open, outcome, questions, shows, until, withChat } from "./chat_page.mjs";

withChat();

const id = (page = chat.page) => new URL(page.url()).hash.slice(1);
const row = (title, page = chat.page) => page.locator("#chats li", { hasText: title });

/** Wait until a conversation is stored with these texts. */
const stores = (page, id, texts) =>
  until(page, texts, async (id) => {
    const { read } = await import("/assets/store.js");
    return Object.values((await read(id)).nodes).map(({ content, outcome }) => (outcome === null ? `${content}…` : content));
  }, id);

async function more(title, act, page = chat.page) {
  await row(title, page).hover();
  await row(title, page).locator(".more").click();
  await page.click(`#chat-menu [data-act=${act}]`);
}

test("what an earlier version kept is taken over, once", async () => {
  const { page } = chat;
  await page.evaluate(() => {
    const messages = [
      { role: "user", content: "From before" },
      { role: "assistant", content: "Still here.", base: "", key: "k", model: "default", asked: 1, stream: "gone", outcome: "completed", message: "", finish: "stop" },
    ];
    localStorage.setItem("everytoken:0123", JSON.stringify({ at: Date.now(), messages }));
    localStorage.setItem("everytoken:4567", "no JSON");
  });
  const old = await open(`${chat.wire.url}/#0123`);
  await shows("Still here.", old);
  await lists(["From before"], old);
  assert.deepEqual(await old.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith("everytoken:"))), []);
  await more("From before", "delete", old);
  await lists([], old);
  await old.reload();
  await lists([], old);
});

test("what stands in the prompt is there after a reload, in its own conversation", async () => {
  const { page } = chat;
  await asked("First", "1");
  await page.fill("#prompt", "Not asked yet");
  await page.reload();
  await shows("1");
  assert.equal(await page.inputValue("#prompt"), "Not asked yet");
  await page.click("#new");
  assert.equal(await page.inputValue("#prompt"), "");
  const later = await open(`${chat.wire.url}/#${await page.evaluate(() => document.querySelector("#chats a").hash.slice(1))}`);
  await until(later, "Not asked yet", () => document.querySelector("#prompt").value);
});

for (const [name, forbid] of Object.entries({
  "without IndexedDB": () => Object.defineProperty(window, "indexedDB", { get: () => undefined }),
  "where IndexedDB may not be opened": () => (IDBFactory.prototype.open = () => { throw new DOMException("no", "SecurityError"); }),
})) {
  test(`${name} everything lasts as long as the tab, and the page says so`, async () => {
    const context = await chat.browser.newContext();
    await context.addInitScript(forbid);
    const page = await open(chat.wire.url, context);
    assert.match(await page.locator("#keeping").innerText(), /keeps no chats/);
    await asked("Hello", "Here.", page);
    await lists(["Hello"], page);
    await page.reload();
    await shows("Here.", page);
    await asked("More", "There.", page);
    assert.deepEqual(await questions(page), ["Hello", "More"]);
    await context.close();
  });
}

test("a browser with no more room goes on and says so, until there is room", async () => {
  const { page } = chat;
  await asked("Hello", "Here.");
  await page.evaluate(() => {
    window.put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = () => { throw new DOMException("full", "QuotaExceededError"); };
  });
  await asked("More", "There.");
  assert.deepEqual(await questions(), ["Hello", "More"]);
  assert.match(await page.locator("#keeping").innerText(), /cannot store everything/);
  await page.evaluate(() => (IDBObjectStore.prototype.put = window.put)); // there is room again
  await asked("Last", "Everything.");
  assert.equal(await page.locator("#keeping").innerText(), "");
  const second = await open(page.url());
  await shows("Everything.", second);
  assert.deepEqual(await questions(second), ["Hello", "More", "Last"]);
});

test("an answer that nobody looks at comes to its end, and a tab that is closed loses nothing", async () => {
  const { page } = chat;
  const call = await ask("First");
  call.write("One ");
  await shows("One");
  const first = id();
  await page.click("#new");
  await asked("Second", "Two.");
  call.write("and a half.").finish();
  // It is stored, though another conversation is shown.
  await until(page, 0, () => document.querySelectorAll("#chats .coming").length);
  await stores(page, first, ["First", "One and a half."]);
  await row("First").locator("a").click();
  await shows("One and a half.");

  const other = await open();
  const last = await ask("Third", other);
  last.write("Three ");
  await shows("Three", other);
  const link = other.url();
  await other.close();
  last.write("and four.").finish();
  const again = await open(link);
  await shows("Three and four.", again);
  assert.equal(await outcome(again), "completed");
  // Also without being looked at, once a page is open.
  const unseen = await ask("Fourth", again);
  unseen.write("Five ");
  await shows("Five", again);
  const [fourth, coming] = [id(again), () => document.querySelectorAll("#chats .coming").length];
  await until(page, 1, coming);
  await Promise.all([again.close(), page.close()]);
  unseen.write("and six.").finish();
  const elsewhere = await open();
  await stores(elsewhere, fourth, ["Third", "Three and four.", "Fourth", "Five and six."]);
  await until(elsewhere, 0, coming);
});

test("without a network everything that is here can be read, found, renamed and deleted; and an answer goes on", async () => {
  const { page, wire } = chat;
  await asked("First", "One.");
  await page.click("#new");
  const call = await ask("Second");
  call.write("Two ");
  await shows("Two");
  const second = await open(page.url());
  await shows("Two", second);
  wire.cut();
  await chat.context.setOffline(true);
  await page.locator(".said", { hasText: /Reconnecting|cannot be reached/ }).waitFor();
  call.write("in the dark ");
  await row("First").locator("a").click();
  await shows("One.");
  await page.keyboard.press("F2");
  await page.keyboard.type("Renamed");
  await page.keyboard.press("Enter");
  for (const on of [page, second]) await lists(["Second", "Renamed"], on);
  await page.fill("#search", "one.");
  await lists(["Renamed"]);
  await page.fill("#search", "");
  await lists(["Second", "Renamed"]);
  await row("Second").locator("a").click();
  await shows("Two"); // what has been seen is there
  wire.join();
  await chat.context.setOffline(false);
  for (const on of [page, second]) await shows("Two in the dark", on);
  call.write("and on.").finish();
  for (const on of [page, second]) {
    await shows("Two in the dark and on.", on);
    assert.equal(await outcome(on), "completed");
  }
});
