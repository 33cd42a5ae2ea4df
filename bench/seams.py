"""Recovery as a reader sees it: the gap at the seam of an answer that was cut, and what a recovered answer costs.

The gateway runs in a process of its own on its defaults. Its upstreams are scripted ones of `everytoken.testing`, over
sockets, and every first call of a response is cut in the middle. The same answer without a cut is the peer in the same run.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from bench.stats import quantile
from everytoken.sse import SSEDecoder
from everytoken.testing import Answer, ScriptedUpstream

if TYPE_CHECKING:
    from everytoken.testing import FaultRule

RESPONSES = 200  # of each kind
LANES = 4  # responses at a time, each kind of them at an upstream of its own
CHUNKS = 64
PACE = 0.01  # seconds between two chunks of the upstream
CUT = CHUNKS // 2
TITLE = "## Recovery"

_ANSWER = Answer.of_chunks(CHUNKS)


@dataclass(frozen=True)
class Kind:
    """One way to go on. `prefill`: what is declared of its first upstream. `spare`: whether there is a healthy second."""

    name: str
    what: str
    calls: int | None  # of the first upstream, of which the first is cut; None: all of them are; 0: none
    prefill: str = "no"
    spare: bool = False


KINDS = (
    Kind("no cut", "the peer: the same answer, whole", 0),
    Kind("prefill", "the same upstream continues the text", 2, prefill="yes"),
    Kind("replay", "the same upstream repeats the text, which is compared", 2),
    Kind("failover", "the first upstream always cuts; the second repeats the text", None, spare=True),
)


@dataclass
class Found:
    """What was measured of one kind: the gaps at the cut in ms, the calls, and the responses that were not exact."""

    gaps: list[float] = field(default_factory=list)
    calls: int = 0
    wrong: int = 0

    @property
    def responses(self) -> int:
        return len(self.gaps) + self.wrong


def _faults(kind: Kind) -> list[FaultRule]:
    if kind.calls is None:
        return [("always", "close", CUT)]
    return [(number, "close", CUT) for number in range(0, kind.calls * RESPONSES, kind.calls or 1)]


class _Lane:
    """One response after the other of each kind, at upstreams of its own."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._upstreams: dict[str, list[ScriptedUpstream]] = {}

    def model(self, kind: Kind) -> str:
        return f"{kind.name.replace(' ', '-')}-{self.number}"

    async def start(self, stack: AsyncExitStack) -> str:
        """Start the upstreams; return their part of the gateway's configuration."""
        tables = []
        for kind in KINDS:
            answer = Answer(
                _ANSWER.content, delay=PACE, prefill="continue" if kind.prefill == "yes" else "refuse"
            )
            several = [ScriptedUpstream(answer, faults=_faults(kind))]
            several += [ScriptedUpstream(answer)] if kind.spare else []
            self._upstreams[kind.name] = several
            for number, upstream in enumerate(several):
                await stack.enter_async_context(upstream)
                tables.append(
                    f'[[upstream]]\nname = "{self.model(kind)}-{number}"\nurl = "{upstream.base_url}"\n'
                    f'models = ["{self.model(kind)}"]\nprefill = "{kind.prefill}"\n'
                )
        return "\n".join(tables)

    async def run(self, client: httpx.AsyncClient, kind: Kind, responses: int, found: Found) -> None:
        for _ in range(responses):
            gap = await _gap(client, self.model(kind))
            if gap is None:
                found.wrong += 1
            else:
                found.gaps.append(gap * 1000)
        found.calls += sum(len(upstream.attempts) for upstream in self._upstreams[kind.name])


async def _gap(client: httpx.AsyncClient, model: str) -> float | None:
    """Ask for one answer; return the seconds between the last piece before the cut and the first one behind it.

    None if the answer is not exact and complete.
    """
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Explain."}]}
    decoder, text, done, gap, last = SSEDecoder(), "", False, 0.0, 0.0
    before = len("".join(_ANSWER.tokens[:CUT]))
    async with client.stream("POST", "/chat/completions", json=body) as response:
        async for read in response.aiter_raw():
            now = time.perf_counter()
            for event in decoder.receive_data(read):
                done = event.data == "[DONE]"
                choices = [] if done else json.loads(event.data).get("choices") or []
                piece = choices[0]["delta"].get("content") if choices and "delta" in choices[0] else None
                if piece:
                    if len(text) <= before < len(text) + len(piece):
                        gap = now - last
                    text, last = text + piece, now
    return gap if done and text == _ANSWER.text else None


async def _measure(responses: int) -> dict[str, Found]:
    found = {kind.name: Found() for kind in KINDS}
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        lanes = [_Lane(number) for number in range(LANES)]
        # Upstreams that are always cut are to be asked first every time.
        tables = ["[breaker]\nfailures = 1000000\n", *[await lane.start(stack) for lane in lanes]]
        config = _written(Path(directory, "everytoken.toml"), "\n".join(tables))
        url = await _gateway(stack, config, directory)
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60, trust_env=False))
        for kind in KINDS:
            await asyncio.gather(
                *(lane.run(client, kind, responses // LANES, found[kind.name]) for lane in lanes)
            )
    return found


def _written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


async def _gateway(stack: AsyncExitStack, config: str, directory: str) -> str:
    """Start `everytoken serve` with a journal as it comes; return the URL for clients."""
    program = str(Path(sys.executable).with_name("everytoken"))
    process = await asyncio.create_subprocess_exec(
        program,
        *("serve", "--port", "0", "--config", config),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | {"XDG_DATA_HOME": directory},
    )

    async def stop() -> None:
        process.terminate()
        await process.wait()

    stack.push_async_callback(stop)
    assert process.stdout
    line = (await process.stdout.readline()).decode()
    url = next((word for word in line.split() if word.startswith("http")), None)
    assert url is not None, "the gateway does not start"
    return url.rstrip("/") + "/v1"


def run(responses: int = RESPONSES) -> dict[str, Found]:
    """Measure every kind of recovery with so many responses."""
    return asyncio.run(_measure(responses))


def markdown(found: dict[str, Found]) -> str:
    """Return the section of the report."""
    how = (
        f"{KINDS[0].name.capitalize()} and three recoveries of the same answer: {CHUNKS} chunks, one every "
        f"{PACE * 1000:.0f} ms, cut behind chunk {CUT}. The gateway runs on its defaults, {LANES} responses at a time."
    )
    gap = (
        "The gap is the time between the last chunk before the cut and the first one behind it, as a reader sees it. It "
        "has a back-off in it, 250 to 500 ms, where the same upstream is asked again, and with a replay the time in which "
        f"the model repeats what it had said: here {CUT * PACE * 1000:.0f} ms. The scripted models begin to answer at "
        "once; a real one's time to the first token comes on top."
    )
    lines = [
        f"{TITLE}\n\n{how}\n\n{gap}\n",
        "| | what happens | responses | exact | gap, median ms | p99 ms | paid calls per answer |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        of = found[kind.name]
        lines.append(
            f"| {kind.name} | {kind.what} | {of.responses} | {len(of.gaps)} | {quantile(of.gaps, 0.5):.0f} | "
            f"{quantile(of.gaps, 0.99):.0f} | {of.calls / max(1, of.responses):.2f} |"
        )
    return "\n".join(lines)
