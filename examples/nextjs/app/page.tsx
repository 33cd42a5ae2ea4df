import { AskForm } from './ask'
import { Chat } from './chat'

export default function Page() {
  return (
    <main>
      <AskForm />
      <Chat />
    </main>
  )
}
