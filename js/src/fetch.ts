// A `fetch` for SDKs: what it returns for a streamed chat completion has a body that does not break.

import { DONE, isEventStream, mayPass, retryAfter } from "./chunk.js";
import { pause } from "./clock.js";
import { asError, EverytokenError } from "./errors.js";
import { follow, streamUrl, withoutBody } from "./follow.js";
import { backOff, limitOf, surroundings, type ReadOptions } from "./policy.js";
import { ask } from "./read.js";
import { recover } from "./recover.js";
import { newKey } from "./stream.js";

interface ChatRequest {
  url: string;
  body: Record<string, any>;
}

// A request that is not a streamed chat completion is none of our business.
function streamedChat(input: unknown, init: RequestInit | undefined): ChatRequest | undefined {
  if (init?.method?.toUpperCase() !== "POST" || typeof init.body !== "string" || input instanceof Request) return;
  const { href, pathname } = new URL(String(input), globalThis.location?.href);
  if (!pathname.endsWith("/chat/completions")) return;
  try {
    const body = JSON.parse(init.body);
    return body?.stream === true ? { url: href, body } : undefined;
  } catch {
    return;
  }
}

/** Make a `fetch` as `fetch` is, with another policy for instance. */
export function createFetch(options: ReadOptions = {}): typeof globalThis.fetch {
  const around = surroundings(options);
  const { policy, clock } = around;
  return async (input, init) => {
    const chat = streamedChat(input, init);
    if (!chat) return around.fetch(input, init);
    const abort = new AbortController();
    const signal = init!.signal ? AbortSignal.any([init!.signal, abort.signal]) : abort.signal;
    const headers = new Headers(init!.headers);
    const keyed = headers.has("Idempotency-Key");
    const key = () => keyed || headers.set("Idempotency-Key", newKey()); // another one for another body
    key();
    // So that a repetition can be one, where the server takes seeds.
    let seeded = chat.body.seed == null;
    const seed = Math.floor(clock.random() * 2 ** 31);
    const send = (streamed: boolean, last: boolean) => {
      if (!streamed) key();
      const body = { ...chat.body, ...(seeded && { seed }), ...(!streamed && { stream: false, stream_options: undefined }) };
      return ask(
        around,
        chat.url,
        { ...init, headers, body: JSON.stringify(body), signal },
        (policy.connect + (streamed ? limitOf(policy, policy.firstContent, last) : policy.nonStreaming)) * 1000,
        () => new EverytokenError("upstream-stalled-first-content", "no answer has begun"),
      );
    };

    let response: Response | undefined;
    for (let failures = 0; !response; ) {
      let wait: number | undefined;
      try {
        response = await send(true, failures === policy.attempts - 1);
        const { ok, status, redirected } = response;
        if (seeded && (status === 400 || status === 422) && (await namesSeed(response.clone()))) {
          seeded = false;
          key();
          response = undefined;
          continue;
        }
        // A redirect may have made a GET of it.
        if (ok || !(mayPass(response) || redirected)) break;
        wait = retryAfter(response, clock.now());
        if (++failures >= policy.attempts || wait! > policy.retryAfterMax * 1000) break;
      } catch (cause) {
        signal.throwIfAborted();
        if (++failures >= policy.attempts) throw asError(cause);
      }
      response?.body?.cancel().catch(() => {});
      response = undefined;
      await pause(clock, wait ?? backOff(around, failures), signal);
    }
    if (!response.ok) return refused(response);
    const url = streamUrl(response, chat.url);
    const resume = { ...init, method: "GET", body: null, headers: withoutBody(headers) };
    const pieces =
      url && isEventStream(response)
        ? follow({ url, offset: "", init: resume, signal }, around, response)
        : recover(response, send, around, signal);
    return new Response(body(pieces, abort), { headers: streamHeaders(response) });
  };
}

/** For `new OpenAI({ fetch })`: against everytoken it reads on by offsets, against others it retries and replays. */
export const fetch: typeof globalThis.fetch = /* @__PURE__ */ createFetch();

// Whether a refusal is about what we have added, or says nothing at all. Another one would only be paid for twice.
async function namesSeed(response: Response): Promise<boolean> {
  const text = await response.text().catch(() => "");
  return /\bseed\b/.test(text) || !/\w/.test(text);
}

// It has been tried again; SDKs need not.
function refused({ body, status, statusText, headers }: Response): Response {
  const told = new Headers(headers);
  told.set("X-Should-Retry", "false");
  return new Response(body, { status, statusText, headers: told });
}

function streamHeaders(response: Response): Headers {
  const headers = new Headers(response.headers);
  for (const name of ["Content-Encoding", "Content-Length"]) headers.delete(name);
  headers.set("Content-Type", "text/event-stream; charset=utf-8");
  return headers;
}

function body(pieces: AsyncGenerator<string | { data: string; id: string }, void>, abort: AbortController): ReadableStream<Uint8Array> {
  const utf8 = new TextEncoder();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await pieces.next();
        if (done) return controller.close();
        const { data = value, id } = value as any; // a string is the data itself
        const lines = `data: ${data.replace(/\n/g, "\ndata: ")}\n${id && data !== DONE ? `id: ${id}\n` : ""}\n`;
        controller.enqueue(utf8.encode(lines));
      } catch (error) {
        controller.error(error);
      }
    },
    async cancel() {
      abort.abort();
      await pieces.return(undefined).catch(() => {});
    },
  });
}
