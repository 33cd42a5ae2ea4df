// What a user would write, plus a look at what is rendered.

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { prepare } from "everytoken/markdown";
import { StreamingText, useStream } from "everytoken/react";

window.rendered = [];
const markdown = (source, cursor) => {
  window.rendered.push(source);
  return (
    <p>
      {source.split("**").map((part, i) => (i % 2 ? <b key={i}>{part}</b> : part))}
      {cursor}
    </p>
  );
};

const components = {
  code: ({ source, language, open, cursor }) => (
    <pre data-language={language} data-open={open}>
      {source}
      {cursor}
    </pre>
  ),
  math: ({ source, open }) => {
    window.rendered.push(`math ${open} ${source}`);
    return <i data-open={open}>{source}</i>;
  },
  thinking: ({ source, open, ms }) => (
    <details data-open={open}>
      <summary>{open ? "Thinking" : `Thought for ${Math.ceil(ms / 1000)} s`}</summary>
      {source}
    </details>
  ),
};

function Chat() {
  const query = new URLSearchParams(location.search);
  const { text, state, busy, error, send, stop } = useStream({ body: { model: "m" }, keep: query.get("keep") ?? "url" });
  return (
    <form
      data-state={state}
      onSubmit={(event) => {
        event.preventDefault();
        send(event.target.elements.prompt.value);
      }}
    >
      <input name="prompt" autoFocus autoComplete="off" />
      <button type="button" onClick={stop}>
        Stop
      </button>
      <StreamingText
        className="text"
        text={text}
        busy={busy}
        render={query.has("markdown") ? markdown : undefined}
        {...(query.has("parts") && { components, prepare })}
      />
      <output>{error?.message}</output>
    </form>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <Chat />
  </StrictMode>,
);
