'use client'
import { StreamingText, useStream } from 'everytoken/react'
import { Bar, useAsked } from './ask'

export function Stream() {
  const { text, state, busy, error, send, stop } = useStream()
  useAsked(send, busy)

  return (
    <>
      <Bar state={state} problem={error?.message}>
        {busy && <button onClick={stop}>Stop</button>}
      </Bar>
      <StreamingText className="answer" text={text} busy={busy} />
    </>
  )
}
