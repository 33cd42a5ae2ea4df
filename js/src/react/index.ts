"use client";

export { StreamingText, type StreamingTextProps, type TextComponents } from "./streaming-text.js";
export { useStream, type StreamView, type UseStreamOptions } from "./use-stream.js";
