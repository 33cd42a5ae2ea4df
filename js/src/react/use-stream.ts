"use client";

// `useStream`: one answer in a component, which a reload and a second tab find again by its stream id.

import { useCallback, useEffect, useRef, useState } from "react";
import { Stream, type State, type StreamOptions } from "../stream.js";
import { kept, keep } from "./place.js";

export interface UseStreamOptions extends Pick<StreamOptions, "headers" | "policy" | "fetch"> {
  /** Where requests are POSTed. */
  api?: string;
  /** Fields of every request, such as `model`. */
  body?: object;
  /** Where the stream id is kept: the page's URL reaches a second tab, `session` only a reload. */
  keep?: "url" | "session" | "nowhere";
  /** Under which name; two answers on one page need two. */
  name?: string;
}

export interface StreamView {
  text: string;
  state: "idle" | State;
  /** Whether more text may come. */
  busy: boolean;
  /** Why it is interrupted or failed. */
  error: Error | null;
  /** The stream id, "" as long as there is none. */
  id: string;
}

const IDLE: StreamView = { text: "", state: "idle", busy: false, error: null, id: "" };
const BUSY = /^(connecting|streaming|reconnecting)$/;

/** Ask, watch the text grow, stop; with the API's defaults for `everytoken serve` on the page's own host. */
export function useStream(options: UseStreamOptions = {}) {
  const [view, setView] = useState(IDLE);
  const current = useRef<{ stream: Stream; leave: () => void } | null>(null);
  const latest = useRef(options);
  latest.current = options;

  const read = useCallback((input: string, body?: object) => {
    current.current?.leave();
    const { headers, policy, fetch, keep: place, name } = latest.current;
    const abort = new AbortController();
    let frame: number | undefined;
    const show = () => {
      frame = undefined;
      const { text, state, error, id } = stream;
      if (current.current?.stream === stream) setView({ text, state, busy: BUSY.test(state), error, id });
    };
    const stream = new Stream(input, {
      ...(body && { body }),
      ...(headers && { headers }),
      ...(fetch && { fetch }),
      // A page waits for its network as long as it is open.
      policy: { away: Infinity, ...policy },
      signal: abort.signal,
      onState: () => {
        if (body && current.current?.stream === stream) keep(place, name, stream.id);
        show();
      },
    });
    current.current = { stream, leave: () => abort.abort() };
    show();
    void (async () => {
      try {
        // As often as the screen can show it; what is not seen need not be rendered.
        for await (const _ of stream) frame ??= requestAnimationFrame(show);
      } catch {
        // The view has its state and its error.
      }
    })();
  }, []);

  useEffect(() => {
    const { keep: place, name, api } = latest.current;
    const id = kept(place, name);
    if (id) read(streamAt(api, id));
    return () => {
      current.current?.leave();
      current.current = null;
    };
  }, [read]);

  /** Ask a question, or send a request. An answer that is being read goes on without this reader. */
  const send = useCallback(
    (request: string | object) => {
      const { api = "/v1/chat/completions", body, keep: place, name } = latest.current;
      const asked = typeof request === "string" ? { messages: [{ role: "user", content: request }] } : request;
      keep(place, name, "");
      read(api, { ...body, ...asked });
    },
    [read],
  );

  /** End the answer, for every reader and at the model. */
  const stop = useCallback(() => current.current?.stream.stop(), []);

  return { ...view, send, stop };
}

const streamAt = (api = "/v1/chat/completions", id: string) =>
  /chat\/completions$/.test(api) ? api.replace(/chat\/completions$/, `stream/${id}`) : `/v1/stream/${id}`;
