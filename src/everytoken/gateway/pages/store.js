// Conversations live in this browser, in IndexedDB; the answers also live on the server, under their stream id. Nobody
// else opens the database. Every change is one transaction that reads, changes and writes one conversation, so two tabs
// never overwrite each other, and is told to the other tabs once it is stored. A browser without IndexedDB keeps them
// for the session.

import { blank, headOf, ofOldMessages, unended } from "./tree.js";

const DATABASE = "everytoken";
const RECORDS = "conversations"; // all of a conversation
const HEADS = "heads"; // what the list shows of it, so that a long list is quick
const LEFT = "left"; // name and text of answers that were still coming when their page was left
const OLD = "everytoken:"; // where they were kept before: localStorage
const OPENING_MS = 3000; // a database that does not open by then is as if there were none
const BATCH = 40; // conversations read at once by a search

const session = new Map(); // id -> conversation: of a browser that keeps none, or has no more room
const listeners = new Set();
const channel = from(() => new BroadcastChannel(DATABASE));
let database = null;

/** What the reader has to know about where conversations are kept: "" (all is well), "session" or "full". */
export const keeping = { trouble: "", changed: () => {} };

export function newName() {
  // Not crypto.randomUUID(): it is missing on plain http other than localhost.
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One conversation, or null. */
export async function read(id) {
  const db = await open();
  if (session.has(id)) return copy(session.get(id));
  if (!db) return null;
  return work(db, [RECORDS, LEFT], "readonly", (tx, done) => {
    request(tx.objectStore(RECORDS).get(id), (record) => {
      done(record ?? null);
      for (const node of record ? unended(record) : []) {
        add(node, from(() => JSON.parse(sessionStorage.getItem(leftName(node.id)))));
        request(tx.objectStore(LEFT).get(node.id), (left) => add(node, left));
      }
    });
  });
}

// What a page had of an answer when it was left.
function add(node, left) {
  if (left?.key !== node.key) return;
  node.stream ??= left.stream;
  if (left.content.length > node.content.length) Object.assign(node, { content: left.content, reasoning: left.reasoning });
  node.thought ??= left.thought;
}

const leftName = (id) => `${DATABASE}.${LEFT}.${id}`;

/**
 * Change one conversation: `fn(record)` changes what is stored. A conversation that is not stored is begun as `fresh`,
 * or left alone without one. Resolves, when it is stored, to the conversation, or null.
 */
export async function change(id, fn, fresh = null) {
  const db = await open();
  if (db) {
    try {
      const record = await work(db, [RECORDS, HEADS], "readwrite", (tx, done) => {
        request(tx.objectStore(RECORDS).get(id), (found) => {
          const record = copy(session.get(id)) ?? found ?? copy(fresh);
          if (!record) return;
          fn(record);
          tx.objectStore(RECORDS).put(record);
          tx.objectStore(HEADS).put(headOf(record));
          done(record);
        });
      });
      if (session.delete(id)) from(() => sessionStorage.removeItem(OLD + id)); // now there is room
      if (session.size === 0) troubled("");
      if (record) tell(record);
      return record ?? null;
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      console.error(error);
      troubled("full");
    }
  }
  const stored = await read(id).catch(() => null);
  const record = session.get(id) ?? stored ?? copy(fresh); // another change may have been first, meanwhile
  if (!record) return null;
  fn(record);
  keepForSession(record);
  tell(copy(record));
  return copy(record);
}

/** Remove a conversation and return it, for whoever wants it back with `put`. */
export async function remove(id) {
  const record = await read(id);
  const db = await open();
  session.delete(id);
  from(() => sessionStorage.removeItem(OLD + id));
  if (db) {
    await work(db, [RECORDS, HEADS, LEFT], "readwrite", (tx) => {
      tx.objectStore(RECORDS).delete(id);
      tx.objectStore(HEADS).delete(id);
      for (const node of record ? unended(record) : []) tx.objectStore(LEFT).delete(node.id);
    });
  }
  channel?.postMessage({ id, head: null });
  for (const listener of listeners) listener({ id, head: null, record: null, here: true });
  return record;
}

/** Store a whole conversation. */
export async function put(record) {
  return change(record.id, (stored) => Object.assign(stored, record), record);
}

/** {id, title, titled, created, updated, coming} of all conversations, the newest first. */
export async function heads() {
  const db = await open();
  const stored = db ? await work(db, [HEADS], "readonly", (tx, done) => request(tx.objectStore(HEADS).getAll(), done)) : [];
  const all = new Map(stored.map((head) => [head.id, head]));
  for (const record of session.values()) all.set(record.id, headOf(record));
  return [...all.values()].sort((a, b) => b.updated - a.updated);
}

/** All conversations, a few at a time: for a search, which may stop at any moment. */
export async function* batches() {
  const db = await open();
  yield [...session.values()];
  if (!db) return;
  for (let range; ; ) {
    const some = await work(db, [RECORDS], "readonly", (tx, done) => request(tx.objectStore(RECORDS).getAll(range, BATCH), done));
    yield some.filter(({ id }) => !session.has(id));
    if (some.length < BATCH) return;
    range = IDBKeyRange.lowerBound(some.at(-1).id, true);
  }
}

/** Write down an answer that is still coming, or not stored yet, in a moment in which its page may be left. */
export function leave({ id, key, stream, content, reasoning, times, thought }) {
  if (!database) return;
  const left = { id, key, stream, content, reasoning, times, thought };
  // For this tab at once: after a reload the database may be read before what the last page has put there is in it.
  from(() => sessionStorage.setItem(leftName(id), JSON.stringify(left)));
  from(() => {
    const tx = database.transaction([LEFT], "readwrite");
    tx.objectStore(LEFT).put(left);
    tx.commit(); // nothing is called any more when this page is gone
  });
}

/** Forget what `leave` has written. */
export async function arrived(node) {
  from(() => sessionStorage.removeItem(leftName(node.id)));
  const db = await open();
  if (db) await work(db, [LEFT], "readwrite", (tx) => tx.objectStore(LEFT).delete(node.id)).catch(() => {});
}

/**
 * Call `listener({id, head, here, record})` when a conversation has changed; without a head, it is gone. `here`: in this
 * tab, and only then there is a `record`, which belongs to everybody and is not to be changed.
 */
export function watch(listener) {
  listeners.add(listener);
}

export function setting(key, value) {
  return from(() => {
    if (value !== undefined) localStorage.setItem(`everytoken.${key}`, value);
    return localStorage.getItem(`everytoken.${key}`);
  });
}

function tell(record) {
  const what = { id: record.id, head: headOf(record) };
  if (!session.has(record.id)) channel?.postMessage(what); // no other tab could read it
  for (const listener of listeners) listener({ ...what, record, here: true });
}

if (channel) {
  channel.onmessage = ({ data }) => {
    for (const listener of listeners) listener({ ...data, record: null, here: false });
  };
}

function troubled(how) {
  if (keeping.trouble === how) return;
  keeping.trouble = how;
  keeping.changed();
}

// --- The database ---

let opening = null;

function open() {
  if (database) return database;
  return (opening ??= begin().then((db) => {
    opening = db ? null : opening; // one that cannot be opened is not tried again
    return (database = db);
  }));
}

async function begin() {
  let late;
  const waited = new Promise((resolve) => (late = setTimeout(resolve, OPENING_MS, null)));
  const db = await Promise.race([connect(), waited]).catch(() => null);
  clearTimeout(late);
  if (!db) {
    troubled("session");
    readSession();
    return null;
  }
  db.onversionchange = () => db.close();
  db.onclose = () => (database = null); // its owner has cleared the browser's data: begin again
  await takeOver(db).catch((error) => console.error(error));
  await listAll(db).catch((error) => console.error(error));
  return db;
}

function connect() {
  return new Promise((resolve, reject) => {
    const asked = indexedDB.open(DATABASE, 1);
    asked.onupgradeneeded = () => {
      asked.result.createObjectStore(RECORDS, { keyPath: "id" }).createIndex("updated", "updated");
      asked.result.createObjectStore(HEADS, { keyPath: "id" });
      asked.result.createObjectStore(LEFT, { keyPath: "id" });
    };
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

/** Do `steps(transaction, done)` in one transaction; resolves when all is stored, to what `done` was called with. */
async function work(db, stores, mode, steps) {
  let tx;
  try {
    tx = db.transaction(stores, mode);
  } catch (error) {
    if (error?.name !== "InvalidStateError" || database !== db) throw error;
    database = null; // it has been closed: begin again, once
    const again = await open();
    if (!again) throw error;
    tx = again.transaction(stores, mode);
  }
  return new Promise((resolve, reject) => {
    let result;
    tx.oncomplete = () => resolve(result);
    tx.onabort = () => reject(tx.failure ?? tx.error ?? new DOMException("the transaction was aborted", "AbortError"));
    steps(tx, (value) => (result = value));
  });
}

function request(asked, then) {
  asked.onsuccess = () => {
    try {
      then(asked.result);
    } catch (error) {
      asked.transaction.failure = error;
      asked.transaction.abort();
    }
  };
}

// The conversations of an earlier version, once.
async function takeOver(db) {
  const old = from(() => Object.keys(localStorage).filter((key) => key.startsWith(OLD))) ?? [];
  if (old.length === 0) return;
  const records = old.map((key) => from(() => ofOldMessages(key.slice(OLD.length), JSON.parse(localStorage.getItem(key)))));
  await work(db, [RECORDS, HEADS], "readwrite", (tx) => {
    for (const record of records.filter(Boolean)) {
      request(tx.objectStore(RECORDS).getKey(record.id), (there) => {
        if (there !== undefined) return; // another tab was first
        tx.objectStore(RECORDS).put(record);
        tx.objectStore(HEADS).put(headOf(record));
      });
    }
  });
  for (const key of old) localStorage.removeItem(key);
}

// Every conversation is in the list, whoever has stored it.
function listAll(db) {
  return work(db, [RECORDS, HEADS], "readwrite", (tx) => {
    request(tx.objectStore(RECORDS).count(), (records) => {
      request(tx.objectStore(HEADS).count(), (listed) => {
        if (records === listed) return;
        tx.objectStore(HEADS).clear();
        request(tx.objectStore(RECORDS).openCursor(), function next(cursor) {
          if (!cursor) return;
          tx.objectStore(HEADS).put(headOf(cursor.value));
          cursor.continue();
        });
      });
    });
  });
}

// --- Without a database ---

function readSession() {
  from(() => {
    for (const [key, value] of Object.entries(sessionStorage)) {
      if (key.startsWith(OLD)) session.set(key.slice(OLD.length), { ...blank(""), ...JSON.parse(value) });
    }
  });
}

function keepForSession(record) {
  session.set(record.id, record);
  from(() => sessionStorage.setItem(OLD + record.id, JSON.stringify(record)));
}

const copy = (record) => record && structuredClone(record);

// What the browser forbids is as if it were not there.
function from(what) {
  try {
    return what();
  } catch {
    return null;
  }
}
