"""Many responses, long ones, and readers that stop: with every process a real one."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from bench.chunks import Order, request_body

from everytoken.journal.packed import PackedRecords
from processes import gateway, load, report, resident, upstream
from sampling import SOAK

pytestmark = [
    pytest.mark.blocking_allowed("processes are waited for, and no loop runs here"),
    pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc"),
]

MB = 1024 * 1024
CONTENT = re.compile(rb'"content":"([^"]*)"|$')
CHUNKS = 2000 if SOAK else 500
LONG = 100_000
MARKS = (20_000, 60_000, 100_000)


@pytest.fixture(scope="module")
def upstream_url():
    with upstream() as url:
        yield url


def test_200_responses_at_once_are_all_exact(upstream_url, record_property):
    with gateway("--upstream", upstream_url, "--journal", "memory", "--log-level", "warning") as (url, _):
        seen = report(load(url, 200, CHUNKS))
    record_property("seconds", seen["seconds"])
    assert seen["errors"] == 0, seen["first_errors"]
    assert seen["chunks"] == 200 * CHUNKS


@pytest.mark.parametrize("journal", ["memory", "sqlite"])
def test_a_response_of_100_000_chunks_takes_no_more_than_what_is_stored(
    upstream_url, journal, tmp_path, record_property
):
    where = "memory" if journal == "memory" else f"sqlite:///{tmp_path}/journal.sqlite"
    stored = PackedRecords()
    text = 0
    beyond = {}
    with gateway("--upstream", upstream_url, "--journal", where) as (url, pid):
        report(load(url, 2, 2000))  # what the first responses need is there now
        for record in _records(url, LONG):
            stored.extend([record])
            text += len(CONTENT.search(record)[1] or b"")
            if len(stored) in MARKS:
                # The gateway keeps the delivered text once more, to go on with it should the upstream break.
                kept = text + (stored.nbytes if journal == "memory" else 0)
                beyond[len(stored)] = (resident(pid) - kept) / MB
    record_property("MB beyond what is stored", beyond)
    record_property("MB stored", stored.nbytes / MB)
    print(f"MB stored {stored.nbytes / MB:.1f}, beyond {beyond}")  # noqa: T201
    assert len(stored) >= LONG
    # Where a busy machine lets the reader fall behind, the answer has ended by then and been put into its tables: some
    # copies of what is stored. The chunks themselves would be 20 MB.
    behind = 0 if journal == "memory" else 4 * stored.nbytes / MB
    assert beyond[MARKS[-1]] - beyond[MARKS[0]] < 6 + behind


def _records(url: str, chunks: int):
    """Yield the records of one response as they come."""
    target = urlsplit(url)
    body = request_body(Order(0, chunks, 0, hold=False))
    with socket.create_connection((target.hostname, target.port)) as client:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(
            body
        )
        client.sendall(head + body)
        rest = b""
        while b"data: [DONE]" not in rest:
            received = client.recv(65536)
            assert received, "the answer broke off"
            *lines, rest = (rest + received).split(b"\n")
            for line in lines:
                if line.startswith(b"data: {"):
                    yield line[6:]
                elif line.startswith(b"data: [DONE]"):
                    return


def test_a_client_that_is_stopped_by_a_signal_costs_nothing_and_gets_all_of_it_later(
    upstream_url, record_property
):
    with gateway("--upstream", upstream_url, "--journal", "memory", "--log-level", "warning") as (url, pid):
        report(load(url, 20, 500))
        stopped = load(url, 20, 10_000)
        while not _reads(stopped.pid, url):
            assert stopped.poll() is None
        os.kill(stopped.pid, signal.SIGSTOP)
        try:
            before = resident(pid)
            others = report(load(url, 50, 1000))
            grown = resident(pid) - before
        finally:
            os.kill(stopped.pid, signal.SIGCONT)
        late = report(stopped)
    record_property("MB grown", grown / MB)
    assert others["errors"] == 0, others["first_errors"]
    assert late["errors"] == 0, late["first_errors"]
    assert late["chunks"] == 200_000
    # 250,000 chunks of 260 bytes are 65 MB as they came; stored they are a tenth of it.
    assert grown < 48 * MB


def _reads(pid: int, url: str) -> bool:
    """Tell whether a process has connections to the gateway that are established."""
    port = f":{urlsplit(url).port:04X}"
    table = Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii")
    lines = [line.split() for line in table.splitlines()[1:]]
    return sum(line[2].endswith(port) and line[3] == "01" for line in lines) >= 20
