"""Hundreds of readers of one long response stop reading (a thousand in a soak): nobody else notices, and later they get the rest."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from bench.measure import memory_kib

from processes import gateway
from sampling import SOAK

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.blocking_allowed("processes are waited for, and no loop runs here"),
    pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc"),
]

MB = 1024 * 1024
PROCESSES = 4
READERS = 250 if SOAK else 100  # in each
CHUNKS = 2_500 if SOAK else 1_500
SIZE = 4_000  # characters in each
FIRST = 250  # chunks of a response before, so that what any response needs is there
EARLY = 20  # chunks sent before the readers are stopped
LIMIT = 64 * MB
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
PROGRAM = Path(__file__).with_name("stopped_readers.py")
TEXT = random.Random(4).choices("abcdefghijklmnopqrstuvwxyz0123456789 ", k=SIZE * 8)


def content(number: int) -> str:
    """Return a chunk's text: no two have much in common."""
    start = number * 7 % (SIZE * 7)
    return f"{number:05} " + "".join(TEXT[start : start + SIZE - 6])


def event(delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    data = b"data: %b\n\n" % json.dumps(chunk).encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


@contextlib.contextmanager
def upstream() -> Iterator[tuple[str, threading.Event]]:
    """Serve two responses: a short one, and the long one, of which the most waits until the event is set."""
    go = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for chunks, early in ((FIRST, FIRST), (CHUNKS, EARLY)):
                client, _ = listening.accept()
                with client:
                    client.recv(65536)
                    client.sendall(HEAD)
                    for number in range(chunks):
                        if number == early:
                            go.wait(60)
                        client.sendall(event({"content": content(number)}))
                    client.sendall(event({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", go
        finally:
            go.set()
            thread.join(10)


class Asker:
    """Asks for the response and keeps up with it."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        messages = [{"role": "user", "content": "At length, please."}]
        body = json.dumps({"model": "m", "stream": True, "messages": messages}).encode()
        self._socket = socket.create_connection((target.hostname, target.port), 30)
        self._file = self._socket.makefile("rb")
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)
        assert self._file.readline().startswith(b"HTTP/1.1 200 ")
        fields = {}
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            fields[name.lower()] = value.strip()
        self.location = url + fields["location"]

    def body(self) -> Iterator[bytes]:
        while size := int(self._file.readline(), 16):
            yield self._file.read(size + 2)[:-2]

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@contextlib.contextmanager
def readers(location: str, expected: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Have the readers begin, and wait until every one of them has got something."""
    command = [sys.executable, str(PROGRAM), f"{location}/events", str(READERS), str(expected)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    try:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "reading\n"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def assert_whole(body: bytes, chunks: int) -> None:
    """Check that every record is there once, in order, and the end."""
    *events, done, rest = body.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    assert len(events) == chunks + 1
    for number, one in enumerate(events):
        data, offset = one.split(b"\n")
        assert int(offset.removeprefix(b"id: ")) == number + 1
        said = json.loads(data.removeprefix(b"data: "))["choices"][0]["delta"].get("content")
        assert said == (content(number) if number < chunks else None)


@pytest.mark.slow
def test_hundreds_of_stopped_readers_of_megabytes_cost_less_than_64_mb_and_go_on_later(tmp_path):
    expected = tmp_path / "expected"
    journal = f"sqlite:///{tmp_path}/journal.sqlite"
    with upstream() as (url, go), gateway("--upstream", url, "--journal", journal) as (at, pid):
        with contextlib.closing(Asker(at)) as first:
            assert_whole(b"".join(first.body()), FIRST)
        asker = Asker(at)
        with contextlib.closing(asker), readers(asker.location, expected) as stopped:
            for process in stopped:
                os.kill(process.pid, signal.SIGSTOP)
            before = most = memory_kib(pid) * 1024
            began = time.monotonic()
            go.set()
            parts: list[bytes] = []
            for part in asker.body():
                parts.append(part)
                if len(parts) % 100 == 0:
                    most = max(most, memory_kib(pid) * 1024)
            body = b"".join(parts)
            kept_up = time.monotonic() - began
            most = max(most, memory_kib(pid) * 1024)
            assert_whole(body, CHUNKS)
            expected.write_bytes(body)  # they are stopped: nobody sees half of it
            began = time.monotonic()
            for process in stopped:
                os.kill(process.pid, signal.SIGCONT)
            said = [process.communicate(timeout=90)[0] for process in stopped]
            late = time.monotonic() - began
            after = memory_kib(pid) * 1024
        grown, later = (most - before) / MB, (after - before) / MB
        print(f"grown {grown:.0f} MB in {kept_up:.1f} s, when all had read {later:.0f} MB after {late:.1f} s")  # noqa: T201
    assert said == ["exact\n"] * PROCESSES
    assert most - before < LIMIT
