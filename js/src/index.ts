export { type Choice, type Chunk, type Delta, type ToolCallDelta } from "./chunk.js";
export { type Clock } from "./clock.js";
export { EverytokenError } from "./errors.js";
export { createFetch, fetch } from "./fetch.js";
export { type Policy, type ReadOptions } from "./policy.js";
export { SSEDecoder, type ServerSentEvent } from "./sse.js";
export { Stream, stream, type State, type StreamOptions } from "./stream.js";
