// Time as an argument, and waiting that ends early when the page is seen or online again.

/** Where times come from; a test gives another one. `now` is wall time: other clocks stand still while a laptop sleeps. */
export interface Clock {
  now(): number;
  setTimeout(callback: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  /** At least 0, less than 1. */
  random(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  setTimeout: (callback, ms) => setTimeout(callback, ms),
  clearTimeout: (timer) => clearTimeout(timer as number),
  random: () => Math.random(),
};

/** Call `listener` when the network is back or the page is looked at again; returns how to stop that. */
function onWake(listener: () => void): () => void {
  const page = globalThis.document as Document | undefined;
  const woken = () => page?.hidden || listener();
  globalThis.addEventListener?.("online", woken);
  page?.addEventListener("visibilitychange", woken);
  return () => {
    globalThis.removeEventListener?.("online", woken);
    page?.removeEventListener("visibilitychange", woken);
  };
}

/** Wait `ms`, but no longer than until the page wakes or the reader leaves. */
export function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clock.clearTimeout(timer);
      sleep();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = clock.setTimeout(done, ms);
    const sleep = onWake(done);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}

/** Give what `promise` gives within `ms`; otherwise throw what `late` makes. When the page wakes, `stale` ms are enough. */
export function within<T>(clock: Clock, ms: number, promise: Promise<T>, late: () => Error, stale = ms): Promise<T> {
  return new Promise((resolve, reject) => {
    const begun = clock.now();
    const fail = () => reject(late());
    const timer = clock.setTimeout(fail, Math.max(0, ms));
    const sleep = onWake(() => clock.now() - begun >= stale && fail());
    promise.then(resolve, reject).finally(() => {
      clock.clearTimeout(timer);
      sleep();
    });
  });
}
