// Work that may wait: done in short slices between frames, the newest first, because what is read is at the end.

const SLICE_MS = 8;

const waiting = [];
let turn = null;
let done = null;
const loads = new Set();

/** Call `work` until it returns true. */
export function later(work) {
  waiting.push(work);
  if (turn) return;
  turn = new Promise((resolve) => (done = resolve));
  setTimeout(slice);
}

/** `promise`, counted as work that is under way. */
export function coming(promise) {
  const kept = promise.finally(() => loads.delete(kept));
  kept.catch(() => {}); // whoever has asked hears of it
  loads.add(kept);
  return kept;
}

/** Settles when there is no such work. */
export async function settled() {
  while (turn || loads.size) await (turn ?? Promise.allSettled(loads));
}

function slice() {
  const end = performance.now() + SLICE_MS;
  while (waiting.length && performance.now() < end) {
    const work = waiting.pop();
    if (!work()) waiting.push(work);
  }
  if (waiting.length) return void setTimeout(slice);
  turn = null;
  done();
}
