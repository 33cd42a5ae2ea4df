'use client'
import { useState } from 'react'
import { useAsked } from './ask' // added: the guide leaves it open who calls handleSubmit

export function Chat() {
  const [output, setOutput] = useState('')
  const [loading, setLoading] = useState(false)
  useAsked(prompt => handleSubmit(prompt).finally(() => setLoading(false))) // added: the form does

  async function handleSubmit(prompt: string) {
    setLoading(true)
    setOutput('')

    const response = await fetch('/api/chat', {
      method: 'POST',
      body: JSON.stringify({ prompt }),
    })

    const reader = response.body!.getReader()
    const decoder = new TextDecoder()

    while (true) {
      const { done, value } = await reader.read()
      if (done) break
      const text = decoder.decode(value)
      setOutput(prev => prev + text)
    }
    setLoading(false)
  }

  return <div>{output}{loading && <span className="animate-pulse">▊</span>}</div>
}
