// What a user would write, plus a look at what is rendered.

import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { flushSync } from "react-dom";
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
      <StreamingText className="text" text={text} busy={busy} render={query.has("markdown") ? markdown : undefined} />
      <output>{error?.message}</output>
    </form>
  );
}

// A text of so many tokens, and the milliseconds that showing each part of it took.
function Long() {
  const [text, setText] = useState("");
  window.grow = (more) => {
    const begun = performance.now();
    flushSync(() => setText((before) => before + more));
    document.body.offsetHeight; // lay it out
    return performance.now() - begun;
  };
  return <StreamingText className="text" text={text} busy />;
}

createRoot(document.getElementById("root")).render(<StrictMode>{location.search.includes("long") ? <Long /> : <Chat />}</StrictMode>);
