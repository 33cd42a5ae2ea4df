"use client";

// `<StreamingText>`: a text that grows by whole words behind a cursor.

import { memo, useEffect, useRef, useState, type CSSProperties, type ReactNode } from "react";
import { Blocks } from "./blocks.js";
import { wholeCharacters, wholeWords } from "./words.js";

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
  className?: string;
}

// `plaintext`: each line has the direction of its own text.
const PLAIN: CSSProperties = { whiteSpace: "pre-wrap", overflowWrap: "anywhere", unicodeBidi: "plaintext" };

// A finished block is never rendered again, even where `render` is a new function each time.
const Block = memo(
  ({ source, render }: { source: string; render: StreamingTextProps["render"] }) =>
    render ? render(source) : <div style={PLAIN}>{source}</div>,
  (before, now) => before.source === now.source,
);

export function StreamingText({ text, busy = false, hold = 200, cursor = "▊", render, className }: StreamingTextProps) {
  const blocks = useBlocks(useWords(text, busy, hold), !!render);
  const blinking = busy && <Cursor>{cursor}</Cursor>;
  return (
    // A screen reader waits for what is busy, and then reads it once.
    <div className={className} aria-live="polite" aria-busy={busy}>
      {blocks.finished.map((source, index) => (
        <Block key={index} source={source} render={render} />
      ))}
      {render ? (
        <>
          {render(blocks.open, blinking)}
          {render.length < 2 && blinking}
        </>
      ) : (
        <div style={PLAIN}>
          {blocks.open}
          {blinking}
        </div>
      )}
    </div>
  );
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
