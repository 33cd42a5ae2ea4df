// One `chat.completion.chunk`, and the errors that come in its place inside a stream that began with 200.

import { EverytokenError } from "./errors.js";

/** The end mark of a completed response. */
export const DONE = "[DONE]";

/** The types of events by which Messages and Responses say that the answer is whole. */
export const ENDS = /^(message_stop|response\.(completed|incomplete))$/;

export interface ToolCallDelta {
  index?: number;
  id?: string;
  type?: string;
  function?: { name?: string; arguments?: string };
}

export interface Delta {
  role?: string;
  content?: string | null;
  refusal?: string | null;
  reasoning_content?: string | null;
  reasoning?: string | null;
  tool_calls?: ToolCallDelta[] | null;
  function_call?: { name?: string; arguments?: string } | null;
}

export interface Choice {
  index: number;
  delta?: Delta | null;
  finish_reason?: string | null;
  logprobs?: unknown;
}

export interface Chunk {
  id: string;
  object: string;
  created: number;
  model: string;
  choices: Choice[];
  usage?: Record<string, unknown> | null;
  [more: string]: unknown;
}

// Values of finish_reason by which a server says that it broke off.
const BROKEN_OFF = /^(error|abort|insufficient_system_resource)$/;

/** Read an event's data as JSON. Throws `malformed-event`. */
export function readJson(data: string): any {
  try {
    return JSON.parse(data);
  } catch (cause) {
    throw new EverytokenError("malformed-event", "an event holds no JSON", true, { cause });
  }
}

/** Whether an event is nothing but a sign of life, of any dress. What could be half a chunk is none. */
export const isHeartbeat = (event: string | undefined, data: string) =>
  event !== "error" &&
  (/^\W*(ping|pong|keep-?alive|heart-?beat|null|true|false|ok|processing|[\d:.TZ+-]*)\W*$/i.test(data)
    ? !/[{}]/.test(data)
    : /^(ping|heart-?beat|keep-?alive)$/i.test(event!) && !/^\s*[{["]/.test(data));

// Some send the field empty with every chunk.
const told = (error: any) => (typeof error !== "object" || Object.keys(error ?? {}).length > 0) && error;

/** Return the error in an event named `event` with the JSON `value`, whatever its shape; undefined if there is none. */
export function errorIn(value: any, event = ""): EverytokenError | undefined {
  const choices: any[] | undefined = Array.isArray(value?.choices) ? value.choices : undefined;
  const failed = choices?.find((choice) => choice?.error ?? BROKEN_OFF.test(choice?.finish_reason));
  const isError = value?.object === "error" || value?.type === "error" || event === "error";
  // What has no choices is no chunk, and these keys are what error bodies are made of.
  const isBody = !choices && (value?.detail || (value?.message && value.code));
  let error = told(value?.error) || told(value?.errors) || told(failed?.error) || ((isError || isBody) && value) || failed;
  if (!error) return;
  if (Array.isArray(error)) error = error[0];
  const { code, type, message, detail } = Object(error);
  const text = message ?? detail ?? error;
  return new EverytokenError(
    typeof code === "string" ? code : "upstream-error-event",
    typeof text === "string" ? text : "the upstream broke off",
    !/^(invalid_request|authentication|permission|not_found|cancelled)/.test(type),
    { cause: error },
  );
}

/** Whether a refusal may pass: what the server says of it counts more than its status. */
export function mayPass({ status, headers }: Response): boolean {
  const told = headers.get("X-Should-Retry");
  return told === "true" || (told !== "false" && (status >= 500 || [408, 409, 425, 429].includes(status)));
}

/** What has no choices, such as a ping, is no chunk, and a loop over chunks would fail on it. */
export const isChunk = (value: any): value is Chunk => Array.isArray(value?.choices);

/** Whether it is an event of an API whose events have a type, and more than a sign of life. */
export const isTyped = (value: any): boolean => typeof value?.type === "string" && !/^(ping|keep-?alive|heart-?beat)$/.test(value.type);

/** Return the error that an HTTP answer is. */
export async function errorOf(response: Response): Promise<EverytokenError> {
  const { status } = response;
  const text = await response.text().catch(() => "");
  let error;
  try {
    error = errorIn(JSON.parse(text));
  } catch {
    // Not everybody answers in JSON.
  }
  return new EverytokenError(
    error?.code.includes("-") ? error.code : "upstream-status",
    error?.message ?? `the server answered ${status}`,
    mayPass(response),
    { cause: response },
  );
}

/** Milliseconds that a refusal asks to be left alone, undefined if it does not say. */
export function retryAfter(response: unknown, now: number): number | undefined {
  const headers = response instanceof Response && response.headers;
  if (!headers) return;
  const exact = parseFloat(headers.get("Retry-After-Ms")!);
  if (exact >= 0) return exact;
  const value = headers.get("Retry-After");
  if (!value) return;
  const ms = /^\d+$/.test(value) ? +value * 1000 : Date.parse(value) - now;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

export const isEventStream = (response: Response) =>
  response.headers.get("Content-Type")?.startsWith("text/event-stream") ?? false;
