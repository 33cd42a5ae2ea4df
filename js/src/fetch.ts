// A `fetch` for SDKs: what it returns for a streamed answer of a model has a body that does not break.

import { DONE, isEventStream, mayPass, retryAfter } from "./chunk.js";
import { pause } from "./clock.js";
import { asError, EverytokenError } from "./errors.js";
import type { Events } from "./events.js";
import { API, follow, streamUrl, withoutBody } from "./follow.js";
import { backOff, limitOf, surroundings, type ReadOptions } from "./policy.js";
import { ask } from "./read.js";
import { recover, Transcript, type Sent } from "./recover.js";
import { newKey } from "./stream.js";

interface Asked {
  url: URL;
  body: Record<string, any>;
  /** Of Messages or Responses, whose events have a type. */
  typed: boolean;
  /** The server keeps the answer, and gives the events behind a number: another attempt would be another answer. */
  kept: boolean;
}

// A request that is not for a streamed answer of a model is none of our business.
function read(input: unknown, init: RequestInit = {}): Asked | undefined {
  if (input instanceof Request) return;
  const url = new URL(String(input), globalThis.location?.href);
  const [, api, id] = API.exec(url.pathname) ?? [];
  if (!api) return;
  const typed = api !== "chat/completions";
  const method = (init.method ?? "GET").toUpperCase();
  if (id) return method === "GET" && url.searchParams.get("stream") === "true" ? { url, body: {}, typed, kept: true } : undefined;
  if (method !== "POST" || typeof init.body !== "string") return;
  try {
    const body = JSON.parse(init.body);
    return body?.stream === true ? { url, body, typed, kept: typed && !!body.background } : undefined;
  } catch {
    return;
  }
}

/** Make a `createFetch`; without `Typed`, Messages and Responses of other servers than everytoken are passed on as they are. */
export const fetchWith =
  (Typed?: new (kept: boolean) => Events) =>
  /** Make a `fetch` as `fetch` is, with another policy for instance. */
  (options: ReadOptions = {}): typeof globalThis.fetch => {
    const around = surroundings(options);
    const { policy, clock } = around;
    return async (input, init) => {
      const asked = read(input, init);
      if (!asked) return around.fetch(input, init);
      const { url, typed, kept } = asked;
      const posts = !!init?.body;
      // Sent twice it might be answered twice; the SDK knows what it does.
      const attempts = kept && posts ? 1 : policy.attempts;
      const abort = new AbortController();
      const signal = init?.signal ? AbortSignal.any([init.signal, abort.signal]) : abort.signal;
      const headers = new Headers(init?.headers);
      const keyed = headers.has("Idempotency-Key") || !posts;
      const key = () => keyed || headers.set("Idempotency-Key", newKey()); // another one for another body
      key();
      const get = { ...init, method: "GET", body: null, headers: withoutBody(headers) };
      // So that a repetition can be one, where the server takes seeds.
      let seeded = !typed && asked.body.seed == null;
      const seed = Math.floor(clock.random() * 2 ** 31);
      const transcript = typed ? Typed && new Typed(kept) : new Transcript();
      const send = (streamed: boolean, last: boolean) => {
        const again = response && transcript?.typed && transcript.where(url, posts);
        if (response && kept && posts && !again) throw new EverytokenError("upstream-truncated", "its id is not known", false, { cause: response });
        if (!streamed) key();
        const body = { ...asked.body, ...(seeded && { seed }), ...(!streamed && { stream: false, stream_options: undefined }) };
        return ask(
          around,
          again || url.href,
          again || !posts ? { ...get, signal } : { ...init, headers, body: JSON.stringify(body), signal },
          (policy.connect + (streamed ? limitOf(policy, policy.firstContent, last || kept) : policy.nonStreaming)) * 1000,
          () => new EverytokenError("upstream-stalled-first-content", "no answer has begun"),
        );
      };

      let response: Response | undefined;
      for (let failures = 0; !response; ) {
        let wait: number | undefined;
        try {
          response = await send(true, failures === attempts - 1);
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
          if (++failures >= attempts || wait! > policy.retryAfterMax * 1000) break;
        } catch (cause) {
          signal.throwIfAborted();
          if (++failures >= attempts) throw asError(cause);
        }
        response?.body?.cancel().catch(() => {});
        response = undefined;
        await pause(clock, wait ?? backOff(around, failures), signal);
      }
      const stream = isEventStream(response) && streamUrl(response, url.href);
      if (!response.ok) return attempts > 1 ? refused(response) : response;
      if (!stream && !transcript) return response;
      const offset = posts ? "" : (response.headers.get("Stream-Next-Offset") ?? "");
      const pieces = stream
        ? follow({ url: stream, offset, rest: !posts, init: get, signal }, around, response)
        : recover(response, send, around, signal, transcript!);
      return new Response(body(pieces, abort), { headers: streamHeaders(response) });
    };
  };

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

function body(pieces: AsyncGenerator<Sent & { id?: string }, void>, abort: AbortController): ReadableStream<Uint8Array> {
  const utf8 = new TextEncoder();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await pieces.next();
        if (done) return controller.close();
        const { data, id, event = "message" } = value;
        const lines = `${event === "message" ? "" : `event: ${event}\n`}data: ${data.replace(/\n/g, "\ndata: ")}\n${id && data !== DONE ? `id: ${id}\n` : ""}\n`;
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
