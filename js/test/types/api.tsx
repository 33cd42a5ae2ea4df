// Never run: what the public types allow, and (`@ts-expect-error`) what they do not.

import * as everytoken from "everytoken";
import { EverytokenError, createFetch, stream, type Chunk, type Policy, type State, type Stream } from "everytoken";
import { prepare } from "everytoken/markdown";
import { StreamingText, useStream, type TextComponents } from "everytoken/react";
import OpenAI from "openai";

new OpenAI({ fetch: everytoken.fetch });
new OpenAI({ fetch: createFetch({ policy: { contentGap: 60 } }) });
// @ts-expect-error there is no such limit
createFetch({ policy: { total: 60 } });

export async function read(): Promise<string> {
  const answer: Stream = stream("/v1/chat/completions", { body: { messages: [] }, signal: AbortSignal.timeout(1) });
  try {
    for await (const chunk of answer) {
      const each: Chunk = chunk;
      const content: string = chunk.choices[0]?.delta?.content || "";
      if (content === each.id) answer.stop();
    }
  } catch (error) {
    if (error instanceof EverytokenError && error.retryable) return error.code;
  }
  const state: State = answer.state;
  // @ts-expect-error the offset is read, not set
  answer.offset = "1";
  stream(new URL("http://host/v1/stream/id"), { offset: answer.offset });
  stream(new Request("http://host/v1/chat/completions", { method: "POST", body: "{}" }));
  return answer.text + answer.id + answer.url + state;
}

export const patient: Partial<Policy> = { away: Infinity };

const components: TextComponents = {
  code: ({ source, language, open, cursor }) => <pre data-language={language} data-open={open}>{source}{cursor}</pre>,
  thinking: ({ source, ms }) => <details><summary>{ms / 1000} s</summary>{source}</details>,
};

export function Chat() {
  const { text, state, busy, error, id, send, stop } = useStream({ api: "/v1/chat/completions", body: { model: "m" }, keep: "session" });
  // @ts-expect-error a request is a question or a body
  const wrong = () => send(1);
  return (
    <button onClick={busy ? stop : () => send("Hello")} title={id + state} onBlur={wrong}>
      <StreamingText text={text} busy={busy} cursor="_" render={(source, cursor) => <p>{source}{cursor}</p>} />
      <StreamingText text={text} components={components} prepare={prepare} />
      <StreamingText text={error?.message ?? ""} />
    </button>
  );
}
