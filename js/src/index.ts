import { Events } from "./events.js";
import { fetchWith } from "./fetch.js";

export { type Choice, type Chunk, type Delta, type ToolCallDelta } from "./chunk.js";
export { type Clock } from "./clock.js";
export { EverytokenError } from "./errors.js";
export { type Policy, type ReadOptions } from "./policy.js";
export { SSEDecoder, type ServerSentEvent } from "./sse.js";
export { Stream, stream, type State, type StreamOptions } from "./stream.js";

/** Make a `fetch` as `fetch` is, with another policy for instance. */
export const createFetch = /* @__PURE__ */ fetchWith(Events);

/**
 * For `new OpenAI({ fetch })` and `new Anthropic({ fetch })`: against everytoken it reads on by offsets, against others it
 * retries and replays.
 */
export const fetch = /* @__PURE__ */ createFetch();
