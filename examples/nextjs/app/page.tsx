import { redirect } from 'next/navigation'
import { AiChat } from './ai-chat'
import { Ask, Problems } from './ask'
import { Chat } from './chat'
import { Stream } from './stream'

export default async function Page({ searchParams }: PageProps<'/'>) {
  const { chat } = await searchParams
  // In the URL, so that a reload and a second tab have the same chat.
  if (typeof chat !== 'string' || !/^[\w-]{1,64}$/.test(chat)) redirect(`/?chat=${crypto.randomUUID()}`)

  return (
    <main>
      <header>
        <h1>One gateway, three clients</h1>
        <p>
          Ask, and each column gets an answer of its own. Then reload the page in the middle, open it in a second tab,
          press Stop. <a href="/">Start again</a>
        </p>
      </header>
      <Ask>
        <div className="columns">
          <section className="guide">
            <h2>The guide’s component</h2>
            <p>
              As the guide has it, on <code>/api/chat</code>. It has no Stop, and a reload loses the answer.
            </p>
            <Problems>
              <Chat />
            </Problems>
          </section>
          <section className="stream">
            <h2>
              <code>useStream</code>
            </h2>
            <p>
              From <code>everytoken/react</code>, on <code>/v1</code>. Reads on after a reload, in a second tab, after a
              lost connection.
            </p>
            <Stream />
          </section>
          <section className="ai">
            <h2>
              <code>useChat</code>
            </h2>
            <p>
              From <code>@ai-sdk/react</code> with <code>resume: true</code>, on <code>/api/chat</code>. Reads on after a
              reload and in a second tab.
            </p>
            <AiChat key={chat} id={chat} />
          </section>
        </div>
      </Ask>
    </main>
  )
}
