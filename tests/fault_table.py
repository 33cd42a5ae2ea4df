"""Every fault over real sockets: scripted upstream -> HTTP -> relay -> journal, and what became of the answer.

`python tests/fault_table.py` writes docs/faults.md.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from everytoken.dialects.openai_chat import Accumulator, ChatRequest
from everytoken.journal.memory import MemoryJournal
from everytoken.recovery import Policy, Target
from everytoken.relay import Relays
from everytoken.testing import (
    FAULTS,
    Answer,
    Fault,
    FaultRule,
    Kind,
    ScriptedUpstream,
    VirtualTimeLoop,
    huge_event,
)
from everytoken.upstream.http import HttpUpstream

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest has it
    import api_faults

DOCUMENT = Path(__file__).parents[1] / "docs" / "faults.md"
ANSWER = Answer("Streaming 流式 👨‍👩‍👧 ha ha ha: repeated tokens are text.\n\nDone.")
POLICY = Policy(connect=3.0, first_content=5.0, content_gap=5.0, thinking=5.0, give_up=10.0)
PATIENT = Policy(first_content=30.0, content_gap=2.0)
REPORTED_SIZE = 50_000_000
MOST_SECONDS = 120.0  # of virtual time: three attempts, with back-off

# What each kind of upstream can do, and what it is asked for: it continues a prefill and never repeats itself, or it
# repeats itself under a seed and refuses a prefill.
UPSTREAMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "continues": ({}, {"prefill": "yes"}),
    "repeats": ({"prefill": "refuse", "needs_seed": True}, {}),
}
When = Literal["first", "always", "second"]
"""The first attempt breaks; every attempt does; every one at the first of two upstreams does, and the second is healthy."""

COLUMNS: dict[When, str] = {
    "first": "first attempt only",
    "always": "every attempt",
    "second": "every attempt at the first of two",
}

_CLOSING = 2.0  # seconds of the virtual clock


@dataclass(frozen=True)
class Result:
    """What became of one response. `truths` are the whole texts that its attempts were to give."""

    outcome: str
    code: str | None
    text: str
    truths: frozenset[str]
    records: tuple[bytes, ...]
    attempts: tuple[dict[str, Any], ...]
    requests: int
    elsewhere: int  # of these, at the second upstream
    error: bytes | None

    @property
    def exact(self) -> bool:
        return self.outcome == "completed" and self.text in self.truths

    def __str__(self) -> str:
        return "exact" if self.exact else f"{self.outcome}: `{self.code}`"


async def respond(
    answer: Answer,
    faults: list[FaultRule],
    *,
    policy: Policy = POLICY,
    request: dict[str, Any] | None = None,
    second: bool = False,
    **target: Any,
) -> Result:
    """Let one response run to its end over real sockets; with `second` there is another upstream, which is healthy."""
    async with AsyncExitStack() as stack:
        scripted = [await stack.enter_async_context(ScriptedUpstream(answer, faults=faults))]
        if second:
            scripted.append(await stack.enter_async_context(ScriptedUpstream(answer)))
        urls = [url for one in scripted for url in one.base_urls]
        upstreams = {f"u{n}": HttpUpstream(f"u{n}", url) for n, url in enumerate(urls)}
        for upstream in upstreams.values():
            stack.push_async_callback(upstream.stop)
        journal = MemoryJournal()
        await journal.start()
        stack.push_async_callback(journal.stop)
        targets = [Target(name=name, policy=policy, **target) for name in upstreams]
        relays = Relays(upstreams, lambda _: targets, journal, jitter=lambda: 0.5)
        body = {"model": "m", "messages": [{"role": "user", "content": "Explain."}], "stream": True}
        relay = await relays.begin(ChatRequest({**body, **(request or {})}), grace=None)
        ended = asyncio.Event()
        relay.log.subscribe(lambda: ended.set() if relay.log.closed else None)
        if not relay.log.closed:
            async with asyncio.timeout(MOST_SECONDS):
                await ended.wait()
        assert len(relays) == 0
        await _quiet(scripted)
        return _result(scripted, relay)


async def _quiet(scripted: list[ScriptedUpstream]) -> None:
    """Give connections that are being closed the time to be; one kept for the next response stays."""
    await asyncio.sleep(_CLOSING)
    assert all(len(one.open_connections) <= 1 for one in scripted), "a connection was left behind"


def _result(scripted: list[ScriptedUpstream], relay: Any) -> Result:
    records = list(relay.log.take(0, sys.maxsize))
    result = relay.log.info.result
    error = None
    if result["outcome"] != "completed":
        error = records.pop()
    joined = Accumulator()
    for record in records:
        joined.add(record)
    choices = joined.message()["choices"]
    return Result(
        outcome=result["outcome"],
        code=(result.get("error") or {}).get("code"),
        text=(choices[0]["message"]["content"] or "") if choices else "",
        truths=frozenset(attempt.text for one in scripted for attempt in one.attempts),
        records=tuple(records),
        attempts=tuple(result["attempts"]),
        requests=sum(len(one.attempts) for one in scripted),
        elsewhere=sum(len(one.attempts) for one in scripted[1:]),
        error=error,
    )


def places(fault: Fault) -> tuple[str, ...]:
    """Return where a fault is tried; 50 MB are sent in the middle only."""
    return ("middle",) if fault.name == "huge-event" else fault.positions


def fault_named(name: str) -> Fault:
    return huge_event(REPORTED_SIZE) if name == "huge-event" else FAULTS[name]


async def cell(fault: Fault, position: str, when: When, kind: str) -> Result:
    """Run one cell of the table."""
    behaviour, target = UPSTREAMS[kind]
    answer = Answer(ANSWER.content, **behaviour)
    rule: FaultRule = (0 if when == "first" else "always", fault, position)
    policy = PATIENT if fault.kind is Kind.HEALTHY else POLICY
    return await respond(answer, [rule], policy=policy, second=when == "second", **target)


Row = dict[tuple[str, When, str], Result]


async def row(fault: Fault) -> Row:
    """Run everything the table says about one fault."""
    modes: tuple[When, ...] = ("always", "second") if fault.kind is Kind.HEALTHY else tuple(COLUMNS)
    return {
        (position, when, kind): await cell(fault, position, when, kind)
        for position in places(fault)
        for when in modes
        for kind in UPSTREAMS
    }


def render(rows: dict[str, Row]) -> str:
    """Return docs/faults.md."""
    lines = [HEAD]
    for kind, title in KINDS.items():
        lines += [f"\n## {title}\n", f"| fault | {' | '.join(COLUMNS.values())} |", "|---|---|---|---|"]
        for name, results in rows.items():
            fault = FAULTS[name]
            if fault.kind is kind:
                told = " | ".join(_told(results, when) for when in COLUMNS)
                lines.append(f"| `{name}`: {fault.description} | {told} |")
    cells = [result for results in rows.values() for result in results.values()]
    exact = sum(result.exact for result in cells)
    lines.append(f"\n{len(cells)} responses: {exact} exact, {len(cells) - exact} with an explicit error.")
    return "\n".join(lines) + "\n"


def _told(results: Row, when: When) -> str:
    """Say what became of the responses of one column, as shortly as they allow."""
    found = {key: str(result) for key, result in results.items() if key[1] == when}
    if not found:
        return ""
    told = []
    for outcome in dict.fromkeys(found.values()):
        keys = [key for key, value in found.items() if value == outcome]
        told.append(outcome + _where(keys, list(found)))
    return "; ".join(told)


def _where(keys: list[tuple[str, When, str]], every: list[tuple[str, When, str]]) -> str:
    if len(keys) == len(every):
        return ""
    positions = list(dict.fromkeys(position for position, _, _ in every))
    parts = []
    for kinds in (tuple(UPSTREAMS), *((kind,) for kind in UPSTREAMS)):
        here = [
            place
            for place in positions
            if {kind for position, _, kind in keys if position == place} == set(kinds)
        ]
        who = "" if len(kinds) > 1 else f" where it {kinds[0]}"
        if here:
            parts.append((f"at {', '.join(here)}" if len(here) < len(positions) else "") + who)
    return f" ({'; '.join(part.strip() for part in parts)})"


KINDS = {
    Kind.BROKEN: "Broken responses",
    Kind.REFUSED: "Refusals",
    Kind.HEALTHY: "Unusual, but complete",
}
HEAD = """# What happens after every fault

Generated by `python tests/fault_table.py` and checked by `make test`, and at greater length by `make soak`. Each fault of
[`everytoken.testing`](testing.md) is run over real sockets against the gateway's upstream side, at each place where it makes
sense: `start` (before the first content), `one` (after one chunk), `middle`, `last` (one chunk before the end), `end` (after
all content, before the finish reason).
It happens on the first attempt only; on every attempt; and on every attempt at the first of two upstreams, of which the
second is healthy and would give the same answer.

Each is run with an upstream that *continues* a prefill (and is declared to) and with one that *repeats* itself under a seed (and
refuses a prefill). **exact** means: completed, and every byte of the text is the upstream's. Anything else is the outcome and
the code of the error that every reader gets; the text before it is a true beginning of the answer. A fault that
affects only streaming is often survived even when it happens every time: the last attempt does without streaming."""


async def _rows() -> dict[str, Row]:
    return {name: await row(fault_named(name)) for name in FAULTS}


async def _results() -> dict[api_faults.Cell, str]:
    return {cell: await api_faults.result_of(cell) for cell in api_faults.cells()}


if __name__ == "__main__":
    logging.disable()
    # Its journals have threads and servers of their own, to which virtual time means nothing.
    results = asyncio.run(_results())
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        rows = runner.run(_rows())
    DOCUMENT.write_text(f"{render(rows)}\n{api_faults.tables(results)}", encoding="utf-8")
