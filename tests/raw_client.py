"""A client for the scripted upstream that shares no code with it: bytes in, what they say out."""

from __future__ import annotations

import asyncio
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

DEADLINE = 60.0  # seconds of virtual time


@dataclass
class Seen:
    """What came over the wire."""

    end: str
    """How the connection ended: fin, rst, or open (it did not)."""
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False
    """Whether the body ended as its framing says."""
    chunks: list[dict[str, Any]] = field(default_factory=list)
    """The JSON of every complete event."""
    malformed: int = 0
    """Events that hold no JSON."""
    done: bool = False

    @property
    def text(self) -> str:
        return "".join(self.contents)

    @property
    def contents(self) -> list[str]:
        return [c["delta"]["content"] for c in self.choices if c["index"] == 0 and c["delta"].get("content")]

    @property
    def choices(self) -> list[dict[str, Any]]:
        return [choice for chunk in self.chunks for choice in chunk.get("choices", ())]

    @property
    def finish(self) -> str | None:
        return next((c["finish_reason"] for c in self.choices if c["finish_reason"]), None)


async def exchange(host: str, port: int, **body: Any) -> Seen:
    """Send one request and read until the connection ends, or nothing more is to come."""
    reader, writer = await asyncio.open_connection(host, port)
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    got, end = bytearray(), "open"
    try:
        async with asyncio.timeout(DEADLINE):
            while more := await reader.read(1 << 20):
                got += more
                if got.endswith((b"0\r\n\r\n", b"}", b">\n")) and _parse(bytes(got), "open").complete:
                    break
            else:
                end = "fin"
    except TimeoutError:
        pass
    except ConnectionResetError:
        end = "rst"
    writer.close()
    try:
        await writer.wait_closed()
    except ConnectionError:
        end = "rst"
    return _parse(bytes(got), end)


def _parse(got: bytes, end: str) -> Seen:
    head, found, rest = got.partition(b"\r\n\r\n")
    if not found or not head.startswith(b"HTTP/1."):
        return Seen(end, body=got)
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body, complete = rest, len(rest) == int(headers.get("content-length", -1))
    if headers.get("transfer-encoding") == "chunked":
        body, complete = _dechunk(rest)
    if headers.get("content-encoding") == "gzip":
        body = zlib.decompressobj(31).decompress(body)
    seen = Seen(end, int(first.split()[1]), headers, body, complete)
    if headers["content-type"].startswith("text/event-stream"):
        _read_events(seen)
    return seen


def _dechunk(rest: bytes) -> tuple[bytes, bool]:
    body, position = bytearray(), 0
    while (line_end := rest.find(b"\r\n", position)) >= 0:
        try:
            size = int(rest[position:line_end], 16)
        except ValueError:
            return bytes(body), False
        if size == 0:
            return bytes(body), True
        position = line_end + 2
        body += rest[position : position + size]
        position += size + 2
    return bytes(body), False


def _read_events(seen: Seen) -> None:
    text = seen.body.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
    for block in text.split("\n\n")[:-1]:
        data = "\n".join(line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:"))
        if data == "[DONE]":
            seen.done = True
            return
        try:
            seen.chunks += [json.loads(data)] if data else []
        except ValueError:
            seen.malformed += 1
