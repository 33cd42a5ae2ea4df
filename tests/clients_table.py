"""What somebody else's client makes of an answer: each program of docs/clients.md is run, and its connection is cut.

`python tests/clients_table.py` writes the table there.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anthropic_server import anthropic_server
from cutting_proxy import CuttingProxy, cutting
from everytoken.recovery import Policy
from gateway_serving import HELLO, ManualAttempt, Wire, serving
from node_packages import BROWSER_TESTS
from other_programs import APART, FRAMEWORKS, LIMIT, ROOT, Node, Python, Run, Shell, Way
from three_apis import Broken, Spoken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DOCUMENT = ROOT / "docs" / "clients.md"
TABLE = re.compile(r"(?<=-->\n).*(?=<!-- clients: end -->)", re.DOTALL)
PROGRAMS = dict(
    re.findall(r"^```\w+ id=([\w-]+)\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
)
PROGRAMS |= {"ai-sdk": "ask", "ai-sdk-rest": "look"}  # what tests/aisdk/component.mjs is told
URL = "http://127.0.0.1:8000"  # in the programs

FIRST, *OTHERS = "Streaming ", "流式传输 ", "👍🏽."
TEXT = FIRST + "".join(OTHERS)

ERROR = re.compile(r"\[([\w-]+)\]$")  # how the programs show an error that came as an event
TURNS = 20  # of the loop, in which the gateway is too, until it has seen that a reader has gone

COLUMNS = (
    "client",
    "streams",
    "its connection is reset",
    "a proxy ends it",
    "to get the rest",
    "the answer is interrupted",
)
GOES_ON = "continues"
SILENT = "**a silent end**"
NOTHING = "–"


@dataclass(frozen=True)
class Client:
    """A row: its first cell, the program's id, how it is run, what gets the rest, and what is put in for what."""

    name: str
    program: str
    way: Way
    rest: str | None = None
    edits: dict[str, str] = field(default_factory=dict)

    def code(self, program: str, known: dict[str, str]) -> str:
        """Return a program as it is run."""
        code = PROGRAMS[program]
        for old, new in self.edits.items():
            assert old in code, (program, old)
            code = code.replace(old, new)
        for name, value in known.items():
            code = code.replace(name, value)
        return code


KEY = "the same `Idempotency-Key`"
AGAIN = "the same stream again"
JS = ROOT / "js"
PACKAGES = ROOT / "tests" / "conformance"
AI_SDK = ROOT / "tests" / "aisdk"
SDKS = ROOT / "tests" / "sdks"

# What docs/clients.md says in words.
SYNC = {
    "from ": "import everytoken\nfrom ",
    'api_key="unused"': 'api_key="unused", http_client=everytoken.Client()',
}
ASYNC = {
    "import asyncio": "import asyncio, everytoken",
    'api_key="unused"': 'api_key="unused", http_client=everytoken.AsyncClient()',
}
FETCH = {
    "import OpenAI": "import * as everytoken from 'everytoken'\nimport OpenAI",
    "apiKey: 'unused'": "apiKey: 'unused', fetch: everytoken.fetch",
}
LIKE_A_PAGE = {
    "const whole": "globalThis.window = globalThis\n"
    "globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} }\nconst whole"
}
AT_ITS_OWN = dict(SYNC)  # no gateway, and `URL` is the server's
RESPONSES = {"OpenAIChatModel": "OpenAIResponsesModel"}
LITELLM_MESSAGES = {"openai/any": "anthropic/any", f"{URL}/v1": URL}
LITELLM_RESPONSES = {"openai/any": "openai/responses/gpt-5"}

OURS, THEIRS, WITH_FRAMEWORKS = Python(), Python(APART), Python(FRAMEWORKS)
NOT_OURS = {
    "requirements/clients.txt": "LlamaIndex, LiteLLM",
    "requirements/frameworks.txt": "the frameworks",
}
LOCKED = {
    "requirements/dev.txt": ["openai", "langchain-openai", "llm", "anthropic", "durable-streams"],
    "requirements/clients.txt": ["llama-index-llms-openai-like", "litellm", "openai"],
    "requirements/frameworks.txt": [
        "openai-agents",
        "pydantic-ai-slim",
        "langchain-anthropic",
        "openai",
        "anthropic",
    ],
    "js/package-lock.json": ["openai"],
    "tests/conformance/package-lock.json": [
        "eventsource",
        "@microsoft/fetch-event-source",
        "@durable-streams/client",
    ],
    "tests/aisdk/package-lock.json": ["ai", "@ai-sdk/react"],
    "tests/sdks/package-lock.json": [
        "@anthropic-ai/sdk",
        "@ai-sdk/openai",
        "@ai-sdk/anthropic",
        "@openai/agents",
    ],
}

CLIENTS = [
    Client("`openai` (Python)", "openai", OURS, KEY),
    Client("`openai` (Python), with `everytoken.Client`", "openai", OURS, KEY, SYNC),
    Client("`openai` (Python), asynchronous", "openai-async", OURS, KEY),
    Client("`openai` (Python), with `everytoken.AsyncClient`", "openai-async", OURS, KEY, ASYNC),
    Client("`openai` (Node.js)", "openai-node", Node(JS), KEY),
    Client("`openai` (Node.js), with `everytoken.fetch`", "openai-node", Node(JS), KEY, FETCH),
    Client("LangChain", "langchain", OURS, KEY),
    Client("LangChain, with `everytoken.Client`", "langchain", OURS, KEY, SYNC),
    Client("LlamaIndex", "llamaindex", THEIRS, KEY),
    Client("LlamaIndex, with `everytoken.Client`", "llamaindex", THEIRS, KEY, SYNC),
    Client("LiteLLM", "litellm", THEIRS, KEY),
    Client(
        "the `llm` command",
        "llm",
        Shell("llm", **{"extra-openai-models": PROGRAMS["llm-models"].replace(URL, "URL")}),
    ),
    Client("`curl -N`", "curl", Shell("curl"), "`Last-Event-ID`"),
    Client("a browser's `EventSource`", "eventsource", Node(BROWSER_TESTS, "reader.mjs"), AGAIN),
    Client("`eventsource` (npm)", "eventsource-node", Node(PACKAGES), AGAIN),
    Client("`@microsoft/fetch-event-source`", "fetch-event-source", Node(PACKAGES), AGAIN, LIKE_A_PAGE),
    Client("`@durable-streams/client`", "durable", Node(PACKAGES), AGAIN),
    Client("`durable-streams` (Python)", "durable-python", OURS, AGAIN),
    Client(
        "the AI SDK's `useChat`",
        "ai-sdk",
        Node(AI_SDK, "component.mjs", NODE_ENV="production"),
        "`resume: true`",
    ),
    Client("`anthropic` (Python)", "anthropic", OURS, KEY),
    Client("`anthropic` (Python), with `everytoken.Client`", "anthropic", OURS, KEY, SYNC),
    Client("`anthropic` (Python), asynchronous", "anthropic-async", OURS, KEY),
    Client("`anthropic` (Python), with `everytoken.AsyncClient`", "anthropic-async", OURS, KEY, ASYNC),
    Client(
        "`anthropic` (Python), with `everytoken.Client`, at Anthropic's API",
        "anthropic",
        OURS,
        None,
        AT_ITS_OWN,
    ),
    Client("`openai` `responses` (Python)", "responses", OURS, KEY),
    Client("`openai` `responses` (Python), with `everytoken.Client`", "responses", OURS, KEY, SYNC),
    Client("`openai` `responses` (Python), asynchronous", "responses-async", OURS, KEY),
    Client(
        "`openai` `responses` (Python), with `everytoken.AsyncClient`", "responses-async", OURS, KEY, ASYNC
    ),
    Client("`openai` `responses` (Node.js)", "responses-node", Node(JS), KEY),
    Client("`openai` `responses` (Node.js), with `everytoken.fetch`", "responses-node", Node(JS), KEY, FETCH),
    Client("`openai` `responses.stream` (Python)", "responses-helper", OURS, KEY),
    Client("`@anthropic-ai/sdk`", "anthropic-node", Node(SDKS), KEY),
    Client("`@ai-sdk/openai`", "ai-sdk-openai", Node(SDKS), KEY),
    Client("`@ai-sdk/anthropic`", "ai-sdk-anthropic", Node(SDKS), KEY),
    Client("OpenAI Agents SDK (Node.js)", "openai-agents-node", Node(SDKS), KEY),
    Client("OpenAI Agents SDK (Python)", "openai-agents", WITH_FRAMEWORKS, KEY),
    Client("Pydantic AI, chat", "pydantic-ai-chat", WITH_FRAMEWORKS, KEY),
    Client("Pydantic AI, Responses", "pydantic-ai-chat", WITH_FRAMEWORKS, KEY, RESPONSES),
    Client("Pydantic AI, Anthropic", "pydantic-ai-anthropic", WITH_FRAMEWORKS, KEY),
    Client("LangChain, Responses", "langchain-responses", OURS, KEY),
    Client("LangChain, `ChatAnthropic`", "langchain-anthropic", WITH_FRAMEWORKS, KEY),
    Client("LiteLLM, `anthropic/…`", "litellm", THEIRS, KEY, LITELLM_MESSAGES),
    Client("LiteLLM, `openai/responses/…`", "litellm", THEIRS, KEY, LITELLM_RESPONSES),
]


class Model(Spoken):
    """One that has patience: some libraries take their time to be imported."""

    async def attempt(self, number: int = 0) -> ManualAttempt:
        while len(self.attempts) <= number:
            self._arrived.clear()
            await self._arrived.wait()
        return self.attempts[number]


class Case:
    """One client on its way to one answer, with a proxy on the way."""

    def __init__(self, client: Client, proxy: CuttingProxy, model: Any) -> None:
        self.client = client
        self.proxy = proxy
        self.model = model
        self.known = {URL: f"http://127.0.0.1:{proxy.port}"}
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self, program: str) -> Run:
        """Start a program of the document."""
        run = Run()

        async def until_it_ends() -> None:
            try:
                await self.client.way.run(run, self.client.code(program, self.known), self.known[URL])
            finally:
                run.end()

        self.tasks.add(asyncio.create_task(until_it_ends()))
        return run

    async def over(self) -> None:
        """Wait until the programs have ended."""
        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*self.tasks)
        self.tasks.clear()

    async def asked(self) -> None:
        """Have somebody else ask, where the client only reads."""
        if "/ID" not in PROGRAMS[self.client.program]:
            return
        async with Wire.to(self.proxy.port) as wire:
            wire.send("POST", "/v1/chat/completions", HELLO)
            if not isinstance(self.model, Broken):
                await self.begin()
            answer = await wire.head()
            if isinstance(self.model, Broken):
                await wire.rest(answer)
        self.known["/ID"] = "/" + answer.headers["location"].rpartition("/")[2]

    async def begin(self, number: int = 0) -> None:
        """Let the model say its first words, once it is asked."""
        async with asyncio.timeout(LIMIT):
            attempt = await self.model.attempt(number)
        if not getattr(attempt, "begun", False):
            attempt.begun = True
            attempt.accept()
            attempt.send(FIRST)

    async def finish(self, number: int = 0) -> None:
        attempt = await self.model.attempt(number)
        attempt.send(*OTHERS)
        attempt.finish()


@asynccontextmanager
async def case(client: Client, *, breaks: bool = False) -> AsyncIterator[Case]:
    """Serve what the client is pointed at: the gateway over a model that is moved by hand, or breaks in the middle, always."""
    async with AsyncExitStack() as stack:
        model: Any
        if client.edits is AT_ITS_OWN:
            model = await stack.enter_async_context(anthropic_server())
            port = model.port
        else:
            model = Broken(FIRST) if breaks else Model()
            served = await stack.enter_async_context(serving(model, grace=-1.0, policy=Policy(backoff=0.0)))
            port = served.port
        one = Case(client, await stack.enter_async_context(cutting(port)), model)
        try:
            yield one
        finally:
            for task in one.tasks:
                task.cancel()
            await asyncio.gather(*one.tasks, return_exceptions=True)


def seen(run: Run) -> str:
    """Say what a program has seen of the end."""
    reason = ", with the reason" if "attempts failed" in run.said else ""
    if event := ERROR.search(run.text):
        return f"`error` of the hook{reason}" if event[1] == "error" else f"`error` event, `{event[1]}`"
    if run.error is not None:
        told = run.error if run.error.startswith("exit status") else f"`{run.error}`"
        return told + (f", `{run.code}`" if run.code else reason)
    return GOES_ON if run.text == TEXT else SILENT


async def lost(client: Client, how: str) -> dict[str, str]:
    """Cut the connection in the middle of an answer, and go on with the answer."""
    async with case(client) as one:
        await one.asked()
        run = one.start(client.program)
        await one.begin()
        streams = await run.shows(FIRST)
        one.proxy.cut(how)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        await one.finish()
        if client.edits is AT_ITS_OWN:  # no gateway in between: the client asks again itself
            await one.begin(1)
            await one.finish(1)
        await one.over()
        assert TEXT.startswith(ERROR.sub("", run.text)), (run.text, run.said)
        cells = {"streams": "yes" if streams else "no", how: seen(run), "rest": NOTHING}
        if cells[how] != GOES_ON:
            cells["rest"] = await rest(one, run)
        return cells


async def rest(one: Case, run: Run) -> str:
    """Get what the client did not: by its program for that, or by the same one again."""
    client = one.client
    if "location:" in run.printed:
        one.known["/ID"] = "/" + re.findall(r"location: \S+/(\S+)", run.printed)[0]
        one.known["OFFSET"] = re.findall(r"^id: (\d+)", run.printed, re.MULTILINE)[-1]
    program = f"{client.program}-rest"
    again = one.start(program if program in PROGRAMS else client.program)
    if client.rest is None:
        await one.begin(1)
        await one.finish(1)
    await one.over()
    assert len(one.model.attempts) == (2 if client.rest is None else 1)
    if client.rest is None:
        assert again.text == TEXT, again.said
        return "ask again"
    if again.text == TEXT:
        return f"{client.rest}: from its start"
    assert run.text + again.text == TEXT, again.said
    return f"{client.rest}: the rest, exactly"


async def interrupted(client: Client) -> str:
    """Let the answer break for good in the middle."""
    async with case(client, breaks=True) as one:
        await one.asked()
        run = one.start(client.program)
        failing = asyncio.create_task(fail_each(one)) if client.edits is AT_ITS_OWN else None
        await one.over()
        if failing is not None:
            failing.cancel()
            await asyncio.gather(failing, return_exceptions=True)
        text = ERROR.sub("", run.text)
        assert text, run.said
        assert TEXT.startswith(text)
        assert text != TEXT
        return seen(run)


async def fail_each(one: Case) -> None:
    """Let each attempt end in an error after its first words."""
    for number in itertools.count():
        await one.begin(number)
        (await one.model.attempt(number)).fail()


async def row(client: Client) -> tuple[str, ...]:
    """Run a client in every situation; return the cells of its row."""
    client.way.ready()
    reset = await lost(client, "rst")
    ended = await lost(client, "fin")
    assert reset["streams"] == ended["streams"]
    rests = sorted({reset["rest"], ended["rest"]} - {NOTHING}) or [NOTHING]
    assert len(rests) == 1
    return (client.name, reset["streams"], reset["rst"], ended["fin"], rests[0], await interrupted(client))


def versions() -> str:
    """Say what is run, from the files that lock it."""
    found = []
    for file, names in LOCKED.items():
        text = (ROOT / file).read_text("utf-8")
        for name in names:
            locked = re.search(
                rf'^{name}==([\w.]+)|"node_modules/{name}": {{\s+"version": "([\w.]+)"', text, re.MULTILINE
            )
            assert locked is not None, name
            whose = f" ({NOT_OURS[file]})" if file in NOT_OURS and name in {"openai", "anthropic"} else ""
            found.append(f"`{name}` {locked[1] or locked[2]}{whose}")
    return f"Run with {', '.join(found)}.\n"


def render(rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in [COLUMNS, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(COLUMNS), *lines[1:], "", versions()])


def documented() -> str:
    """Return what the document has of it."""
    found = TABLE.search(DOCUMENT.read_text("utf-8"))
    assert found is not None
    return found[0]


def main() -> None:
    text = DOCUMENT.read_text("utf-8")
    rows = [asyncio.run(row(client)) for client in CLIENTS]
    DOCUMENT.write_text(TABLE.sub(lambda _: render(rows), text), "utf-8")


if __name__ == "__main__":
    main()
