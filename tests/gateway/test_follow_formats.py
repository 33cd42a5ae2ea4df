"""An output format from outside the package, through `Follower`: over every journal, live, resumed, and slow."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.journal_backends import BACKENDS, info

from everytoken.formats.output import BATCH, Ending, OutputFormat
from everytoken.gateway.follow import ReaderConnection, follow
from everytoken.gateway.http import Request, start
from everytoken.gateway.server import DirectProtocol
from everytoken.journal import parse_offset
from gateway_serving import Wire, limit, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from everytoken.journal import Journal, Log


class NDJSON(OutputFormat):
    """One line for each record: its offset and what it is. The last line says how it ended."""

    keep_alive = b"\n"

    def push(self, records: Sequence[bytes], offset: int) -> bytes:
        return b"".join(
            [b'{"id":%d,"record":%b}\n' % (at, one) for at, one in enumerate(records, offset + 1)]
        )

    def end(self, result: Mapping[str, Any]) -> Ending:
        return Ending(
            [b'{"end":"%b"}\n' % result["outcome"].encode()], clean=result["outcome"] == "completed"
        )


class Slowly(NDJSON):
    """The same, but for what it holds back for a second."""

    def __init__(self) -> None:
        self._held = b""

    def push(self, records: Sequence[bytes], offset: int) -> bytes:
        self._held += super().push(records, offset)
        self.due = asyncio.get_running_loop().time() + 1.0
        return b""

    def tick(self, now: float) -> bytes:
        if self.due is None or now < self.due:
            return b""
        held, self._held, self.due = self._held, b"", None
        return held

    def end(self, result: Mapping[str, Any]) -> Ending:
        return Ending([self._held, *super().end(result).writes])


@asynccontextmanager
async def serving(log: Log, made: Callable[[], OutputFormat] = NDJSON, **options: Any) -> AsyncIterator[int]:
    """Serve a log in a format, from the offset in the path."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive, send)
        client = ReaderConnection(request)
        try:
            await start(request, 200, [(b"content-type", b"application/x-ndjson")])
            await follow(client, log, made(), parse_offset(request.path[1:], log.tail))
        finally:
            client.close()

    async with served(app, **options) as port:
        yield port


def record(number: int, size: int = 0) -> bytes:
    return b'{"n":%d,"x":"%b"}' % (number, b"x" * size)


def lines(body: bytes) -> list[Any]:
    return [json.loads(line) for line in body.split(b"\n") if line]


def expected(first: int, last: int, outcome: str = "completed") -> list[Any]:
    shown = [{"id": number + 1, "record": {"n": number, "x": ""}} for number in range(first, last)]
    return [*shown, {"end": outcome}]


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    journal = await BACKENDS[request.param](tmp_path).open()
    yield journal
    await journal.stop()


async def test_a_format_from_outside_is_read_live(journal: Journal) -> None:
    writer = await journal.create(info())
    async with serving(writer.log) as port, Wire.to(port) as wire:
        wire.send("GET", "/-1")
        head = await wire.head()
        for number in range(20):
            writer.append([record(number)])
            assert lines(await wire.frame() or b"") == expected(number, number + 1)[:-1]
        writer.close([record(20)], {"outcome": "completed"})
        answer = await wire.rest(head)
    assert answer.complete
    assert lines(answer.body) == expected(20, 21)


async def test_a_format_from_outside_is_resumed_at_every_offset(journal: Journal) -> None:
    writer = await journal.create(info())
    async with serving(writer.log) as port:
        writer.append([record(number) for number in range(10)])
        writer.close([], {"outcome": "completed"})
        for offset in range(11):
            async with Wire.to(port) as wire:
                wire.send("GET", "/-1" if not offset else f"/{offset:016d}")
                answer = await wire.answer()
            assert answer.complete
            assert lines(answer.body) == expected(offset, 10)


async def test_a_body_that_is_not_clean_is_aborted(journal: Journal) -> None:
    writer = await journal.create(info())
    async with serving(writer.log) as port, Wire.to(port) as wire:
        wire.send("GET", "/-1")
        head = await wire.head()
        writer.append([record(0)])
        writer.close([], {"outcome": "failed"})
        answer = await wire.rest(head)
    assert not answer.complete
    assert lines(answer.body) == expected(0, 1, "failed")


async def test_a_slow_reader_costs_an_offset(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    connection_made = DirectProtocol.connection_made

    def noted(self: Any, transport: Any) -> None:
        made.append(transport)
        connection_made(self, transport)

    monkeypatch.setattr(DirectProtocol, "connection_made", noted)
    writer = await journal.create(info())
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    async with serving(writer.log) as port:
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
        reader, sending = await asyncio.open_connection(sock=client, limit=4096)
        wire = Wire(reader, sending)
        wire.send("GET", "/-1")
        head = await wire.head()
        for number in range(4000):
            writer.append([record(number, 1000)])
            if number % 50 == 49:
                async with limit():
                    while writer.log.tail <= number:  # noqa: ASYNC110  # nothing tells of it
                        await asyncio.sleep(0)
        writer.close([], {"outcome": "completed"})
        [transport] = made
        assert transport.get_write_buffer_size() < 4 * BATCH, "of 4 MB"
        answer = await wire.rest(head)
        sending.close()
    assert answer.complete
    assert [line.get("id") for line in lines(answer.body)] == [*range(1, 4001), None]


@pytest.mark.virtual_time
@pytest.mark.parametrize("http", [DirectProtocol, "httptools"])
async def test_what_a_format_holds_back_is_sent_when_it_is_due(tmp_path: Path, http: Any) -> None:
    journal = await BACKENDS["memory"](tmp_path).open()
    writer = await journal.create(info())
    now = asyncio.get_running_loop().time
    async with serving(writer.log, Slowly, http=http) as port, Wire.to(port) as wire:
        wire.send("GET", "/-1")
        head = await wire.head()
        for number in range(3):
            began = now()
            writer.append([record(2 * number)])
            writer.append([record(2 * number + 1)])
            frame = await wire.frame()
            assert lines(frame or b"") == expected(2 * number, 2 * number + 2)[:-1]
            assert now() - began == pytest.approx(1.0, abs=0.01)
        began = now()
        assert await wire.frame() == b"\n"
        assert now() - began == pytest.approx(15.0, abs=0.01)
        writer.append([record(6)])
        writer.close([], {"outcome": "completed"})
        answer = await wire.rest(head)
    await journal.stop()
    assert answer.complete
    assert lines(answer.body) == expected(6, 7)


@pytest.mark.parametrize("http", [DirectProtocol, "httptools"])
async def test_a_format_that_fails_breaks_the_body_off(tmp_path: Path, http: Any) -> None:
    class Failing(NDJSON):
        def push(self, records: Sequence[bytes], offset: int) -> bytes:
            if offset == 1:
                raise ValueError("not this one")
            return super().push(records, offset)

    journal = await BACKENDS["memory"](tmp_path).open()
    writer = await journal.create(info())
    async with serving(writer.log, Failing, http=http) as port, Wire.to(port) as wire:
        wire.send("GET", "/-1")
        head = await wire.head()
        writer.append([record(0)])
        assert lines(await wire.frame() or b"") == expected(0, 1)[:-1]
        writer.append([record(1)])
        writer.append([record(2)])
        answer = await wire.rest(head)
    await journal.stop()
    assert not answer.complete
    assert answer.body == b""
