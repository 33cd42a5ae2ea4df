import { within, type Clock } from "./clock.js";
import { SSEDecoder, type ServerSentEvent } from "./sse.js";
import type { Surroundings } from "./policy.js";

/** Send a request whose answer must begin within `ms`; one that comes too late is closed. */
export async function ask(
  { fetch, clock }: Surroundings,
  input: Parameters<typeof fetch>[0],
  init: RequestInit,
  ms: number,
  late: () => Error,
): Promise<Response> {
  const abort = new AbortController();
  const signal = init.signal ? AbortSignal.any([init.signal, abort.signal]) : abort.signal;
  try {
    return await within(clock, ms, fetch(input, { ...init, signal }), late);
  } catch (error) {
    abort.abort();
    throw error;
  }
}

/** Read the events of one answer. Each read must come within `limit()` ms; leaving closes the connection. */
export async function* read(
  response: Response,
  clock: Clock,
  limit: () => number,
  late: () => Error,
  stale?: number,
): AsyncGenerator<ServerSentEvent, void, undefined> {
  if (!response.body) return;
  const reader = response.body.getReader();
  const decoder = new SSEDecoder();
  try {
    for (;;) {
      const { done, value } = await within(clock, limit(), reader.read(), late, stale);
      if (done) return;
      yield* decoder.receive(value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
