'use client'
import { createContext, useContext, useEffect, useLayoutEffect, useState, type FormEvent, type ReactNode } from 'react'

type Asked = (prompt: string) => unknown

const Asking = createContext({ everybody: new Set<Asked>(), count: (_: number) => {} })
const Problem = createContext((_: string) => {})

/** One prompt for everything inside that calls `useAsked`. */
export function Ask({ children }: { children: ReactNode }) {
  const [busy, setBusy] = useState(0)
  const [asking] = useState({ everybody: new Set<Asked>(), count: (n: number) => setBusy(before => before + n) })

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault()
    const prompt = String(new FormData(event.currentTarget).get('prompt'))
    asking.count(1)
    await Promise.all([...asking.everybody].map(asked => asked(prompt)))
    asking.count(-1)
  }

  return (
    <Asking value={asking}>
      <form onSubmit={submit}>
        <input name="prompt" aria-label="Prompt" placeholder="Ask anything" autoComplete="off" required autoFocus />
        <button disabled={busy > 0}>Ask</button>
      </form>
      {children}
    </Asking>
  )
}

/** Let the page's prompt call `handler` with what was typed; it waits as long as somebody is `busy`. */
export function useAsked(handler: Asked, busy = false) {
  const { everybody, count } = useContext(Asking)
  const tell = useContext(Problem)

  useLayoutEffect(() => {
    async function asked(prompt: string) {
      tell('')
      try {
        await handler(prompt)
      } catch (error) {
        tell(error instanceof Error ? error.message : String(error))
      }
    }
    everybody.add(asked)
    return () => void everybody.delete(asked)
  })

  useEffect(() => {
    if (!busy) return
    count(1)
    return () => count(-1)
  }, [busy, count])
}

/** Show what went wrong in a handler inside that does not say so itself. */
export function Problems({ children }: { children: ReactNode }) {
  const [problem, tell] = useState('')
  return (
    <>
      <Bar state={problem && 'interrupted'} problem={problem} />
      <Problem value={tell}>{children}</Problem>
    </>
  )
}

/** How an answer stands, what is wrong with it, and what can be done. */
export function Bar({ state, problem, children }: { state: string; problem?: string | undefined; children?: ReactNode }) {
  return (
    <div className="bar">
      <p role="status">
        {state && <b data-state={state}>{state}</b>} {problem}
      </p>
      {children}
    </div>
  )
}
