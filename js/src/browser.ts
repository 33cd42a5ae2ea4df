// What a bundle for browsers gets: `everytoken` but for the recovery of Messages and Responses from servers that have no
// offsets, which would be a tenth more of it. `everytoken/full` is all of it.

import { fetchWith } from "./fetch.js";

export { type Choice, type Chunk, type Delta, type ToolCallDelta } from "./chunk.js";
export { type Clock } from "./clock.js";
export { EverytokenError } from "./errors.js";
export { type Policy, type ReadOptions } from "./policy.js";
export { SSEDecoder, type ServerSentEvent } from "./sse.js";
export { Stream, stream, type State, type StreamOptions } from "./stream.js";

/** Make a `fetch` as `fetch` is, with another policy for instance. */
export const createFetch = /* @__PURE__ */ fetchWith();

/** For `new OpenAI({ fetch })`: against everytoken it reads on by offsets, against others it retries and replays. */
export const fetch = /* @__PURE__ */ createFetch();
