"use client";

// `<StreamingText>`: a text that grows by whole words behind a cursor.

import { Fragment, memo, useEffect, useRef, useState, type ComponentType, type CSSProperties, type ReactNode } from "react";
import { Blocks } from "./blocks.js";
import { partsOf, thoughtOf } from "./parts.js";
import { wholeCharacters, wholeWords } from "./words.js";

interface Growing {
  source: string;
  /** Its end has not come. */
  open: boolean;
  /** Of the part that grows, to be put at its end. */
  cursor?: ReactNode;
}

/** What shows the parts of a text that are more than Markdown. */
export interface TextComponents {
  /** A fenced block of code. */
  code?: ComponentType<Growing & { language: string }>;
  /** LaTeX that is displayed: `$$…$$` or `\[…\]` on lines of its own. */
  math?: ComponentType<Growing>;
  /** `<think>…</think>` at the beginning; `ms`: how long it took, as far as this page has seen. */
  thinking?: ComponentType<Growing & { ms: number }>;
}

export interface StreamingTextProps {
  /** The text so far. */
  text: string;
  /** Whether more may come: `busy` of `useStream`. */
  busy?: boolean;
  /** Milliseconds after which part of a word is shown when nothing more comes. */
  hold?: number;
  cursor?: ReactNode;
  /**
   * Show a block of Markdown. It is called again only for the last block. That one gets the cursor, to be put at its end;
   * a function with one parameter gets it put behind the block.
   */
  render?: (source: string, cursor?: ReactNode) => ReactNode;
  /** Parts that have a component of their own; the rest is for `render`. With or without it, the text is cut as Markdown. */
  components?: TextComponents;
  /** What becomes of Markdown before `render` has it: `prepare` of `everytoken/markdown`, or a function of your own. */
  prepare?: (source: string) => string;
  className?: string;
}

type Shown = Pick<StreamingTextProps, "render" | "components" | "prepare">;

// `plaintext`: each line has the direction of its own text.
const PLAIN: CSSProperties = { whiteSpace: "pre-wrap", overflowWrap: "anywhere", unicodeBidi: "plaintext" };

// A finished block is never rendered again, even where `render` is a new function each time.
const Block = memo(
  ({ source, ...how }: Shown & { source: string }) => <>{show(source, how, false)}</>,
  (before, now) => before.source === now.source,
);

function show(source: string, { render, components, prepare }: Shown, busy: boolean, cursor?: ReactNode): ReactNode {
  const parts = components ? partsOf(source, components) : [{ kind: "text" as const, source, language: "", open: false }];
  return parts.map(({ kind, source, language, open }, index) => {
    const at = index === parts.length - 1 ? cursor : undefined;
    const growing = { source, open: open && busy, ...(at && { cursor: at }) };
    if (kind === "code" && components?.code) return <components.code key={index} {...growing} language={language} />;
    if (kind === "math" && components?.math) return <components.math key={index} {...growing} />;
    if (!render) {
      return (
        <div key={index} style={PLAIN}>
          {source}
          {at}
        </div>
      );
    }
    const markdown = prepare ? prepare(source) : source;
    return (
      <Fragment key={index}>
        {busy ? render(markdown, at) : render(markdown)}
        {busy && render.length < 2 && at}
      </Fragment>
    );
  });
}

export function StreamingText(props: StreamingTextProps) {
  const { text, busy = false, hold = 200, cursor = "▊", className, ...how } = props;
  const { render, components } = how;
  const words = useWords(text, busy, hold);
  const { thought, open, rest } = components?.thinking ? thoughtOf(words) : { thought: null, open: false, rest: words };
  const thinks = open && busy;
  const ms = useTime(thought !== null && thinks);
  const blocks = useBlocks(rest, !!(render || components));
  const blinking = busy && <Cursor>{cursor}</Cursor>;
  return (
    // A screen reader waits for what is busy, and then reads it once.
    <div className={className} aria-live="polite" aria-busy={busy}>
      {thought !== null && components?.thinking && (
        <components.thinking source={thought} open={thinks} ms={ms} {...(thinks && { cursor: blinking })} />
      )}
      {blocks.finished.map((source, index) => (
        <Block key={index} source={source} {...how} />
      ))}
      {show(blocks.open, how, busy, thinks && thought !== null ? undefined : blinking)}
    </div>
  );
}

/** Milliseconds for which `runs` has been true. */
function useTime(runs: boolean): number {
  const [ms, set] = useState(0);
  useEffect(() => {
    if (!runs) return;
    const began = performance.now() - ms;
    const tick = () => set(performance.now() - began);
    const timer = setInterval(tick, 1000);
    return () => (clearInterval(timer), tick());
  }, [runs]);
  return ms;
}

function Cursor({ children }: { children: ReactNode }) {
  const ref = useRef<HTMLSpanElement>(null);
  useEffect(() => {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    // Without a style sheet, which a Content Security Policy might refuse.
    const timing = { duration: 1000, easing: "steps(2, jump-none)", iterations: Infinity };
    const blink = ref.current!.animate({ opacity: [1, 0] }, timing);
    return () => blink.cancel();
  }, []);
  return (
    <span ref={ref} aria-hidden="true" data-cursor="">
      {children}
    </span>
  );
}

/** The part of a text to show: whole words, or all of it once it has not grown for `hold` ms. Never less than before. */
function useWords(text: string, busy: boolean, hold: number): string {
  const [rested, rest] = useState("");
  const shown = useRef("");
  useEffect(() => {
    if (!busy) return;
    const timer = setTimeout(() => rest(text), hold);
    return () => clearTimeout(timer);
  }, [text, busy, hold]);
  if (!busy) return text;
  let end = rested === text ? text.length : wholeWords(text);
  if (text.startsWith(shown.current)) end = Math.max(end, shown.current.length);
  return (shown.current = wholeCharacters(text.slice(0, end)));
}

function useBlocks(text: string, markdown: boolean): Blocks {
  const blocks = useRef<Blocks>(undefined);
  if (!blocks.current?.continues(text)) blocks.current = new Blocks(markdown);
  blocks.current.grow(text);
  return blocks.current;
}
