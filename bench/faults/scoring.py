"""Ask one contender in one case, and score what the caller gets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import openai

from bench.faults.cases import BACK, OUTAGE, Case, healthy
from bench.faults.provider import TEXT, USAGE, Call, Provider

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Contender = Callable[[str, str], AbstractAsyncContextManager[openai.AsyncOpenAI]]

Verdict = Literal["pass", "partial", "safe", "fail"]
LIMIT = 90.0  # seconds for one answer
SPREAD = 0.2  # seconds that lie between the first and the last token of an answer that is streamed


@dataclass
class Got:
    """What the caller got for one request."""

    text: str = ""
    times: list[float] = field(default_factory=list)
    usages: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False
    error: str | None = None
    code: str | None = None
    hung: bool = False


@dataclass
class Result:
    """The verdict on a case, why, and how often each upstream was asked."""

    verdict: Verdict
    why: str
    calls: tuple[int, int]

    def __str__(self) -> str:
        """Return the cell of the table."""
        return f"{self.verdict} ({self.calls[0]}+{self.calls[1]})" + (f": {self.why}" if self.why else "")


async def ask(client: openai.AsyncOpenAI) -> Got:
    """Ask as a caller does, and keep all that comes."""
    got = Got()
    try:
        async with asyncio.timeout(LIMIT):
            stream = await client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "Say it."}],
                stream=True,
                stream_options={"include_usage": True},
            )
            async for chunk in stream:
                if chunk.usage:
                    got.usages.append(chunk.usage.model_dump(exclude_none=True))
                for choice in chunk.choices:
                    if choice.delta.content:
                        got.text += choice.delta.content
                        got.times.append(asyncio.get_running_loop().time())
                    got.finished |= choice.finish_reason is not None
    except TimeoutError:
        got.hung = True
    except openai.APIError as error:
        got.error, got.code = type(error).__name__, error.code
    except Exception as error:  # noqa: BLE001  # whatever a library raises reaches the caller
        got.error = type(error).__name__
    return got


async def run(case: Case, contender: Contender) -> Result:
    """Run one case against one contender, with a primary and a fallback of its own."""
    async with Provider(case.behave) as primary, Provider(healthy) as fallback:
        async with contender(primary.url, fallback.url) as client:
            if case.outage:
                verdict, why = await _outage(client, primary)
            else:
                verdict, why = score(case, await ask(client), primary.calls, fallback.calls)
        return Result(verdict, why, (len(primary.calls), len(fallback.calls)))


def score(case: Case, got: Got, primary: list[Call], fallback: list[Call]) -> tuple[Verdict, str]:
    """Score one answer as its caller would."""
    if got.hung:
        return "fail", "hangs"
    if case.code and got.error and not got.text:
        if got.code != case.code:
            return "partial", "the reason is lost"
        return ("pass", "") if len(primary + fallback) == 1 else ("partial", "asked again")
    if got.error:
        return ("safe", got.error) if TEXT.startswith(got.text) else ("fail", "wrong text, then an error")
    if got.text != TEXT:
        return "fail", "truncated without an error" if TEXT.startswith(got.text) else "wrong text"
    if case.code or not got.finished:
        return "partial", "a refusal was answered" if case.code else "no finish reason"
    short = []
    if len(primary) > case.calls or len(fallback) > 1:
        short.append("too many calls")
    if len(got.times) < 2 or got.times[-1] - got.times[0] < SPREAD:
        short.append("in one piece")
    if not counted(got.usages, sum(call.paid for call in primary + fallback)):
        short.append("usage")
    return ("partial", ", ".join(short)) if short else ("pass", "")


def counted(usages: list[dict[str, Any]], paid: int) -> bool:
    """Tell whether usage came once and is right.

    It is the upstream's own if one call was answered. Otherwise either that of the whole answer, or a sum over the answered
    calls; a cut call never told its usage, so the sum must be marked as estimated.
    """
    if len(usages) != 1:
        return False
    [usage] = usages
    if not usage.get("estimated") and {name: usage.get(name) for name in USAGE} == USAGE:
        return True  # whatever a gateway says beside these numbers
    return (
        paid > 1
        and usage.get("estimated") is True
        and all(USAGE[name] <= usage.get(name, 0) <= paid * USAGE[name] for name in USAGE)
    )


async def _outage(client: openai.AsyncOpenAI, primary: Provider) -> tuple[Verdict, str]:
    """Ask once a second until the primary has answered, or should have."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    errors = 0
    while (passed := loop.time() - started) < OUTAGE + BACK:
        got = await ask(client)
        if got.hung or (not got.error and got.text != TEXT) or not TEXT.startswith(got.text):
            return "fail", "hangs" if got.hung else "wrong text"
        errors += got.error is not None
        if passed > OUTAGE and any(call.at >= OUTAGE for call in primary.calls) and not got.error:
            return ("safe", f"{errors} errors") if errors else ("pass", "")
        await asyncio.sleep(1)
    return "partial", "not back on the primary in time"
