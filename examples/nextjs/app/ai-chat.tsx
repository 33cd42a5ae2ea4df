'use client'
import { useEffect } from 'react'
import { useChat } from '@ai-sdk/react'
import type { UIMessage } from 'ai'
import { Bar, useAsked } from './ask'

type Message = UIMessage<{ everytoken?: { outcome: string } }>

export function AiChat({ id }: { id: string }) {
  const { messages, setMessages, sendMessage, regenerate, resumeStream, status, error } = useChat<Message>({
    id,
    resume: true,
    throttle: 50,
  })
  const busy = status === 'submitted' || status === 'streaming'
  useAsked(text => sendMessage({ text }), busy)

  // The page keeps what was said; everytoken keeps the answer that is being given.
  useEffect(() => setMessages(JSON.parse(localStorage.getItem(id) ?? '[]')), [id, setMessages])
  useEffect(() => {
    if (messages.length > 0) localStorage.setItem(id, JSON.stringify(messages))
  }, [id, messages])

  const last = messages.at(-1)
  const answered = last?.role === 'assistant'
  // How the answer ended, by everytoken's word. Without it the connection has ended, and not the answer.
  const outcome = last?.metadata?.everytoken?.outcome
  const lost = answered && !outcome
  const state = busy ? status : lost ? 'disconnected' : (outcome ?? (error ? 'failed' : 'idle'))

  return (
    <>
      <Bar state={state} problem={error?.message}>
        {busy && <button onClick={() => fetch(`/api/chat/${id}/stop`, { method: 'POST' })}>Stop</button>}
        {!busy && lost && <button onClick={() => resumeStream()}>Go on</button>}
        {error && !lost && <button onClick={() => regenerate()}>Again</button>}
      </Bar>
      <div aria-live="polite" aria-busy={busy}>
        {messages.map(message => (
          <div key={message.id} className={message.role === 'user' ? 'question' : 'answer'}>
            {message.parts.map((part, n) => (part.type === 'text' ? <span key={n}>{part.text}</span> : null))}
            {busy && answered && message === last && <span className="animate-pulse">▊</span>}
          </div>
        ))}
      </div>
    </>
  )
}
