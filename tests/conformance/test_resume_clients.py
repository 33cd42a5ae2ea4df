"""Other people's clients, cut off at every byte of a stream, cleanly and by a reset: they end with the exact text."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cutting_proxy import CLOSE, CuttingProxy, cutting
from everytoken.gateway.durable import reads
from gateway_serving import HELLO, ManualUpstream, Wire, serving
from node_packages import BROWSER_TESTS, BROWSERS, install
from sampling import sampled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

FOLDER = Path(__file__).parent
DELTAS = ["Hé🌊", "\u2028.\n"]
TEXT = "".join(DELTAS)
ID_LINE = re.compile(
    rb"\nid: \d+\n\Z"
)  # the one place where an id has been read, and its event is not whole yet
HEAD_STEP = 128  # bytes: within the answer's head one place is as good as another


@asynccontextmanager
async def response(*, ends: bool) -> AsyncIterator[tuple[CuttingProxy, str]]:
    """Serve one response, whole or still open; yield the way to it and its path."""
    upstream = ManualUpstream()
    async with serving(upstream, long_poll=0.05, grace=-1.0) as gateway, cutting(gateway.port) as proxy:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", "/v1/chat/completions", HELLO)
            attempt = await upstream.attempt()
            attempt.accept()
            for delta in DELTAS:
                finish = "stop" if ends and delta is DELTAS[-1] else None
                chunk = {"choices": [{"index": 0, "delta": {"content": delta}, "finish_reason": finish}]}
                attempt.sink.on_data(f"data: {json.dumps(chunk)}\n\n".encode())
            if ends:
                attempt.sink.on_data(b"data: [DONE]\n\n")
            path = (await wire.head()).headers["location"]
        yield proxy, path


async def answers(proxy: CuttingProxy, path: str, query: str) -> list[bytes]:
    """Return what a reader is sent that nobody cuts off, answer by answer; of one that goes on, what comes at once."""
    got: list[bytes] = []
    offset = "-1"
    while True:
        async with Wire.to(proxy.port) as wire:
            wire.send("GET", f"{path}?{query}&offset={offset}")
            got.append(b"")
            try:
                async with asyncio.timeout(0.3):
                    while piece := await wire.reader.read(1 << 16):
                        got[-1] += piece
            except TimeoutError:
                return got
        if b"event-stream" in got[-1] or b"stream-up-to-date" in got[-1]:
            return got
        found = re.search(rb"stream-next-offset: (\d+)", got[-1])
        assert found is not None
        offset = found[1].decode()


def places(answers: list[bytes], how: str) -> Iterator[tuple[str, bytes]]:
    """Yield every place to cut, as the proxy wants it said, with what gets through there."""
    for number, answer in enumerate(answers):
        head = answer.index(b"\r\n\r\n") + 4
        skipped = 0 if how == "rst" else len(CLOSE)
        for place in [*range(0, head, HEAD_STEP), *range(head, len(answer))]:
            yield f"{how}-{place + skipped}-{number}", answer[:place]


async def run(
    proxy: CuttingProxy, path: str, client: str, cuts: list[str], *, ends: bool = True, folder: Path = FOLDER
) -> list[Any]:
    """Have a client read through every cut; return those after which its text was not exact."""
    node = shutil.which("node") or pytest.skip("node is not installed")
    await asyncio.to_thread(install, folder)
    job = {"client": client, "url": f"http://127.0.0.1:{proxy.port}{path}", "text": TEXT, "ends": ends}
    process = await asyncio.create_subprocess_exec(
        node,
        "resume.mjs",
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate(json.dumps({**job, "cuts": cuts}).encode())
    except BaseException:
        process.kill()
        raise
    assert process.returncode == 0, errors.decode()
    wrong: list[Any] = json.loads(output.splitlines()[-1])
    return wrong


# client, what is below the stream's path, the query it makes
CLIENTS = [
    ("eventsource", "/events", ""),
    ("eventsource-durable", "?offset=-1&live=sse", "live=sse"),
    ("fetch-event-source", "/events", ""),
    ("fetch-event-source-safe", "/events", ""),
    ("durable-sse", "", "live=sse"),
    ("durable-long-poll", "", "live=long-poll"),
    ("durable-catch-up", "", ""),
]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("client", "below", "query"), CLIENTS, ids=[client for client, *_ in CLIENTS])
async def test_a_reader_cut_off_anywhere_ends_with_the_exact_text(
    client: str, below: str, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "_RECORDS", 1)  # one event, or one answer, for each record
    async with response(ends=True) as (proxy, path):
        sent = await answers(proxy, path + below.partition("?")[0], query)
        cuts = [cut for how in ("fin", "rst") for cut, _ in places(sent, how)]
        if client == "fetch-event-source":
            cuts = [cut for cut, through in places(sent, "rst") if not ID_LINE.search(through)]
        ends = client != "fetch-event-source"  # it does not understand 204
        assert await run(proxy, path + below, client, sampled(cuts, 10), ends=ends) == []


@pytest.mark.slow
@pytest.mark.parametrize(("client", "below", "query"), CLIENTS, ids=[client for client, *_ in CLIENTS])
async def test_a_reader_cut_off_while_the_response_goes_on_stays_exact(
    client: str, below: str, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "_RECORDS", 1)
    async with response(ends=False) as (proxy, path):
        sent = await answers(proxy, path + below.partition("?")[0], query)
        cuts = [cut for cut, through in places(sent, "rst") if not ID_LINE.search(through)]
        assert await run(proxy, path + below, client, cuts[::3], ends=False) == []


BROWSER = any(path and Path(path).exists() for path in BROWSERS)


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no Chromium or Chrome found: set CHROMIUM to its path")
async def test_a_browser_cut_off_anywhere_in_the_body_ends_with_the_exact_text() -> None:
    """Of an answer whose head is cut off properly, Chromium makes one without a content type, and never comes back."""
    async with response(ends=True) as (proxy, path):
        sent = await answers(proxy, f"{path}/events", "")
        told = sent[0].index(b"retry: 10\n\n\r\n") + 13  # until then it waits for three seconds
        cuts = [cut for how in ("fin", "rst") for cut, through in places(sent, how) if len(through) >= told]
        assert await run(proxy, f"{path}/events", "chromium", sampled(cuts, 10), folder=BROWSER_TESTS) == []


@pytest.mark.slow
@pytest.mark.parametrize("live", [False, "long-poll", "sse"])
async def test_the_python_client_cut_off_anywhere_ends_with_the_exact_text(
    live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`iter_events` gives each piece with the offset behind it; what else it has goes ahead of what it has delivered."""
    durable_streams = pytest.importorskip("durable_streams")
    monkeypatch.setattr(reads, "_RECORDS", 1)

    async def read(client: httpx.AsyncClient, url: str) -> str:
        """Take each event together with its offset, and begin anew from there after any failure."""
        text, offset = "", "-1"
        while len(text) < len(TEXT):
            try:
                async with durable_streams.astream(url, offset=offset, live=live, client=client) as answer:
                    async for event in answer.iter_events(mode="json"):
                        chunks = event.data if isinstance(event.data, list) else [event.data]
                        text += "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
                        offset = event.next_offset
                        if len(text) >= len(TEXT):
                            return text
            except (httpx.HTTPError, durable_streams.DurableStreamError):
                continue
        return text

    async with response(ends=True) as (proxy, path), httpx.AsyncClient(verify=False) as client:
        sent = await answers(proxy, path, f"live={live}" if live else "")
        cuts = sampled([cut for how in ("fin", "rst") for cut, _ in places(sent, how)], 3)
        url = f"http://127.0.0.1:{proxy.port}{path}?cut="
        for some in (cuts[first : first + 16] for first in range(0, len(cuts), 16)):
            got = await asyncio.gather(*(read(client, f"{url}{cut}-python") for cut in some))
            assert dict(zip(some, got, strict=True)) == dict.fromkeys(some, TEXT)
