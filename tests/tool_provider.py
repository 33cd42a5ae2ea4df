"""A model server of three APIs that asks for a tool, and breaks the answer that does so."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from everytoken.gateway import UpstreamConfig
from messages_streams import begin, encoded, end, inputs, start, stop, texts
from responses_streams import Script, output_text, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    Answers = Callable[[dict[str, Any], int], tuple[bool, list[bytes]]]
    """Takes a request and how many calls were begun; returns whether this is the call of the tool, and its events."""

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BEFORE = ("Let ", "me ", "look.")
ARGUMENTS = ('{"city":', ' "Par', 'is"}')
AFTER = ("It is ", "sunny.")


class Provider:
    """Breaks the first answers that call a tool: each behind the event with its cut in it, a text; with `always`, all of them."""

    def __init__(self, answers: Mapping[str, Answers], *cuts: str, always: bool = False) -> None:
        self._answers = answers
        self._cuts = [cut.encode() for cut in cuts if cut]
        self._always = always
        self.calls = 0  # answers with the call that were begun
        self.cuts = 0
        self.port = 0

    @property
    def upstream(self) -> UpstreamConfig:
        """The configuration of this server."""
        return UpstreamConfig(name="provider", url=f"http://127.0.0.1:{self.port}/v1")

    def upstream_of(self, api: str) -> UpstreamConfig:
        """Return the configuration of this server as one of an API; one of chat completions is to be found out."""
        return replace(self.upstream, api=None if api == "chat" else api)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Provider]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._answer(reader, writer):
                pass
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(
            (int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0
        )
        body = json.loads(await reader.readexactly(length) or b"null")
        path = head.split(" ", 2)[1].partition("?")[0]
        answers = self._answers.get(path)
        if answers is None or not body.get("stream"):
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}")
            return True
        calls, events = answers(body, self.calls)
        self.calls += calls
        number = 0 if self._always else self.cuts
        cut = self._cuts[number] if calls and number < len(self._cuts) else None
        writer.write(HEAD)
        for event in events:
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            if cut is not None and cut in event:
                self.cuts += 1
                writer.transport.abort()
                return False
        writer.write(b"0\r\n\r\n")
        return True


def _chat(body: dict[str, Any], number: int) -> tuple[bool, list[bytes]]:
    ran = body["messages"][-1]["role"] == "tool"
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": text} for text in (AFTER if ran else BEFORE)]
    if not ran:
        function = {"name": "weather", "arguments": ""}
        call = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
        deltas.append({"tool_calls": [call]})
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in ARGUMENTS]
    choices: list[dict[str, Any]] = [{"index": 0, "delta": d, "finish_reason": None} for d in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop" if ran else "tool_calls"})
    head = {"id": f"c{number}", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunks = [{**head, "choices": [choice]} for choice in choices]
    return not ran, [*(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks), b"data: [DONE]\n\n"]


def _messages(body: dict[str, Any], number: int) -> tuple[bool, list[bytes]]:
    last = body["messages"][-1]["content"]
    ran = isinstance(last, list) and any(part["type"] == "tool_result" for part in last)
    events = [
        start(id=f"msg_{number}"),
        begin(0, "text", text=""),
        *texts(0, *(AFTER if ran else BEFORE)),
        stop(0),
    ]
    if not ran:
        events += [
            begin(1, "tool_use", id=f"toolu_{number}", name="weather", input={}),
            *inputs(1, *ARGUMENTS),
            stop(1),
        ]
    return not ran, encoded([*events, *end("end_turn" if ran else "tool_use")])


def _responses(body: dict[str, Any], number: int) -> tuple[bool, list[bytes]]:
    ran = any(item.get("type") == "function_call_output" for item in body["input"])
    script = Script("abcdef"[number % 6])
    script.message((output_text(), AFTER if ran else BEFORE))
    if not ran:
        script.call("weather", ARGUMENTS)
    return not ran, wire(script.end())


WEATHER: dict[str, Answers] = {
    "/v1/chat/completions": _chat,
    "/v1/messages": _messages,
    "/v1/responses": _responses,
}
"""Asks for the weather in Paris, and says it once it has been told."""
