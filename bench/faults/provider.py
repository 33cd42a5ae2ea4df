"""A provider over raw sockets: it counts its calls and breaks as its case says."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = "Every token comes once and in order, and the end is never wrong"
PIECES = [f"{word} " for word in WORDS.split(" ")]
TEXT = "".join(PIECES)
PACE = 0.05  # seconds between two chunks
USAGE = {"prompt_tokens": 7, "completion_tokens": len(PIECES), "total_tokens": 7 + len(PIECES)}
_NO_LINGER = struct.pack("ii", 1, 0)  # closing resets the connection


class Call:
    """One request to a provider, and the means to answer it well or badly."""

    def __init__(self, number: int, at: float, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.number = number  # from 1
        self.at = at  # seconds since the first call
        self.body = body
        self.paid = False  # it was answered, perhaps badly
        self._writer = writer

    @property
    def prefill(self) -> str | None:
        """The text to continue, None if the request asks for an answer from its beginning."""
        last = self.body["messages"][-1]
        return str(last["content"]) if last["role"] == "assistant" else None

    async def refuse(self, status: int, code: str, *headers: str) -> None:
        error = {"error": {"message": f"refused: {code}", "type": "invalid_request_error", "code": code}}
        body = json.dumps(error).encode()
        head = [f"HTTP/1.1 {status} Refused", "Content-Type: application/json", *headers]
        await self._write("\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body)

    async def answer(
        self,
        *,
        until: int = len(PIECES),
        stall: float = 0,
        garbled: int | None = None,
        done: bool = True,
        usage_after: float = 0,
    ) -> None:
        """Answer; cut before piece `until`, be silent for `stall` seconds in the middle, garble one piece."""
        self.paid = True
        given = self.prefill or ""
        first = next((n for n in range(len(PIECES) + 1) if "".join(PIECES[:n]).startswith(given)), 0)
        cut = len("".join(PIECES[:first])) - len(given)
        if not self.body.get("stream"):
            await self._whole(TEXT[len(given) :])
            return
        await self._write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        if cut:
            await self._chunk(PIECES[first - 1][-cut:])
        for number in range(first, until):
            if stall and number == len(PIECES) // 2:
                await asyncio.sleep(stall)
            if number == garbled:
                await self._event('{"choices":[{"delta":{"content":"tok')
            else:
                await self._chunk(PIECES[number])
            await asyncio.sleep(PACE)
        if until < len(PIECES):
            return  # closed inside the chunked body
        await self._chunk("", finish="stop")
        if (self.body.get("stream_options") or {}).get("include_usage"):
            await asyncio.sleep(usage_after)
            await self._event(json.dumps({**self._base(), "choices": [], "usage": USAGE}))
        if done:
            await self._event("[DONE]")
        await self._write(b"0\r\n\r\n")

    def reset(self) -> None:
        connection: socket.socket = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._writer.transport.abort()

    async def _whole(self, text: str) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        answer = {**self._base(), "object": "chat.completion", "choices": [choice], "usage": USAGE}
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        await self._write(head.encode() + body)

    def _base(self) -> dict[str, Any]:
        return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": self.body.get("model")}

    async def _chunk(self, content: str, finish: str | None = None) -> None:
        choice = {"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}
        await self._event(json.dumps({**self._base(), "choices": [choice]}))

    async def _event(self, data: str) -> None:
        event = f"data: {data}\n\n".encode()
        await self._write(b"%x\r\n%b\r\n" % (len(event), event))

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class Provider:
    """Serves one behaviour; `calls` are the requests for an answer that it got."""

    def __init__(self, behave: Callable[[Call], Any]) -> None:
        self._behave = behave
        self._tasks: set[asyncio.Task[Any]] = set()
        self.calls: list[Call] = []
        self.url = ""
        self.first_at: float | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = await reader.readexactly(int(fields.get("content-length", 0)))
            if not head.startswith("POST"):
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            now = asyncio.get_running_loop().time()
            self.first_at = now if self.first_at is None else self.first_at
            call = Call(len(self.calls) + 1, now - self.first_at, json.loads(body), writer)
            self.calls.append(call)
            await self._behave(call)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the caller left, or the case is over
        finally:
            self._tasks.discard(task)
            writer.close()
