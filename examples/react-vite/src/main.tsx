import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { AskForm } from './ask'
import { Chat } from './chat'
import './style.css'

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <main>
      <AskForm />
      <Chat />
    </main>
  </StrictMode>,
)
