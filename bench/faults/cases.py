"""The sixteen cases: what the primary does, and what a caller may expect."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.faults.provider import PIECES, Call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

OUTAGE = 10.0  # seconds
BACK = 30.0  # seconds after its recovery in which the primary must be in use again
_FOR_EVER = 3600.0
_THIRDS = len(PIECES) * 2 // 3


@dataclass(frozen=True)
class Case:
    """One fault. `calls`: how often the primary may be asked. `code`: of the error that the caller must get."""

    name: str
    what: str
    behave: Callable[[Call], Awaitable[Any]]
    calls: int
    code: str | None = None
    outage: bool = False


async def _limited(call: Call) -> None:
    await (call.refuse(429, "rate_limit", "Retry-After: 1") if call.number == 1 else call.answer())


async def _silent(_: Call) -> None:
    await asyncio.sleep(_FOR_EVER)


async def _slow(call: Call) -> None:
    await asyncio.sleep(20)
    await call.answer()


async def _reset(call: Call) -> None:
    call.reset()


async def _once(call: Call) -> None:
    await (call.refuse(500, "server_error") if call.number == 1 else call.answer())


async def _no_prefill(call: Call) -> None:
    if call.prefill is not None:
        await call.refuse(400, "prefill_not_supported")
    else:
        await call.answer(until=_THIRDS if call.number == 1 else len(PIECES))


async def _outage(call: Call) -> None:
    await (call.refuse(503, "overloaded") if call.at < OUTAGE else call.answer())


CASES = [
    Case("429-retry-after", "429 with `Retry-After: 1`, once", _limited, 2),
    Case("429", "429 without `Retry-After`, always", lambda c: c.refuse(429, "rate_limit"), 2),
    Case("500-once", "500, once", _once, 2),
    Case("503", "503, always", lambda c: c.refuse(503, "overloaded"), 2),
    Case("reset", "the connection is reset before any answer, always", _reset, 2),
    Case("no-answer", "the request is taken and never answered", _silent, 1),
    Case("slow-start", "20 s until the first token", _slow, 1),
    Case("cut", "cut at two thirds, always", lambda c: c.answer(until=_THIRDS), 3),
    Case("stall", "silent for 30 s in the middle", lambda c: c.answer(stall=30), 2),
    Case("malformed", "a chunk in the middle is no JSON, always", lambda c: c.answer(garbled=_THIRDS), 3),
    Case("no-done", "`[DONE]` is missing", lambda c: c.answer(done=False), 1),
    Case(
        "context-length",
        "400, `context_length_exceeded`",
        lambda c: c.refuse(400, "context_length_exceeded"),
        1,
    ),
    Case(
        "content-filter",
        "400, `content_filter`",
        lambda c: c.refuse(400, "content_filter"),
        1,
        code="content_filter",
    ),
    Case("prefill-refused", "cut at two thirds once; a prefill is refused", _no_prefill, 3),
    Case("outage", f"503 for {OUTAGE:.0f} s, then healthy", _outage, 1000, outage=True),
    Case("accounting", "healthy; usage comes a second late", lambda c: c.answer(usage_after=1), 1),
]


async def healthy(call: Call) -> None:
    """Answer well, as the fallback does."""
    await call.answer()
