'use client'
import { useLayoutEffect, useState, type FormEvent } from 'react'

type Asked = (prompt: string) => Promise<void>

let asked: Asked | undefined

/** Let the form on this page call `handler` with what was typed. */
export function useAsked(handler: Asked) {
  useLayoutEffect(() => {
    asked = handler
  })
}

/** A prompt, a button, and a word when the answer was interrupted. */
export function AskForm() {
  const [busy, setBusy] = useState(false)
  const [problem, setProblem] = useState('')

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault()
    const prompt = String(new FormData(event.currentTarget).get('prompt'))
    setBusy(true)
    setProblem('')
    try {
      await asked?.(prompt)
    } catch (error) {
      setProblem(`Interrupted: ${error instanceof Error ? error.message : error}`)
    }
    setBusy(false)
  }

  return (
    <form onSubmit={submit}>
      <input name="prompt" aria-label="Prompt" placeholder="Ask anything" required autoFocus />
      <button disabled={busy}>Ask</button>
      <p role="status">{problem}</p>
    </form>
  )
}
