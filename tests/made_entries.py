"""Entries of a request log as a busy team would make them, for numbers that are known and for pictures.

`python tests/made_entries.py sqlite:////path COUNT SECONDS` puts so many into a journal, over so many seconds until now.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everytoken.gateway.requestlog.kept import Kept
from everytoken.journal.sqlite import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.journal import Journal

UPSTREAMS = ("openai", "vllm-1", "vllm-2")
MODELS = ("gpt-5", "qwen-32b", "qwen-32b", "llama-70b")
KEYS = ("chat-app", "chat-app", "ci", "research")
CAUSES = (
    ("upstream-truncated", "the upstream closed the connection in the middle of an answer"),
    ("upstream-stalled-gap", "no content came for 30 seconds"),
    ("upstream-status", "the upstream answered 503"),
)


def made(count: int, until: float, span: float) -> Iterator[dict[str, Any]]:
    """Yield entries in the order in which their responses have ended; the same ones for the same numbers."""
    chance = random.Random(7)
    for number in range(count):
        ended = until - span + span * (number + 1) / count
        share = number / count
        slow = 1 + 2 * math.exp(-((share - 0.6) ** 2) / 0.004)  # for a while, something was wrong
        first = round(chance.lognormvariate(-1.1, 0.35) * slow, 4)
        seconds = round(first + chance.uniform(1, 9), 3)
        wrong = chance.random() < 0.03 * slow
        model = chance.choice(MODELS)
        name = UPSTREAMS[0] if model == "gpt-5" else chance.choice(UPSTREAMS[1:])
        output = chance.randrange(50, 700)
        told = [attempt(1, name, model, 0.0, seconds, first)]
        seams = []
        gap = round(chance.lognormvariate(-2, 0.5), 4)
        outcome = "completed"
        if wrong:
            cut, (code, message) = round(first + 0.6, 3), chance.choice(CAUSES)
            told[0] |= {"ended": cut, "cause": {"code": code, "message": message}}
            other = attempt(
                2, UPSTREAMS[2] if name != UPSTREAMS[2] else UPSTREAMS[1], model, cut, seconds, 0.4
            )
            if chance.random() < 0.2:
                outcome = "interrupted"
                other["cause"] = {"code": code, "message": message}
            told.append({**other, "strategy": "replay", "offset": 40})
            seams.append({"attempt": 2, "offset": 40, "gap": 0.4})
            gap = max(gap, 0.4)
        elif chance.random() < 0.02:
            outcome = "cancelled"
        yield {
            "at": round(ended - seconds, 3),
            "response": f"r{number:020x}",
            "request": f"req_{number:024x}",
            "key": chance.choice(KEYS),
            "api": "chat",
            "model": model,
            "outcome": outcome,
            "error": {"interrupted": "not-continuable", "cancelled": "cancelled"}.get(outcome),
            "message": "no attempt could continue the answer" if outcome == "interrupted" else None,
            "model_used": model,
            "upstreams": list(dict.fromkeys(one["upstream"] for one in told)),
            "seconds": seconds,
            "first_content": first,
            "gap_median": 0.021,
            "gap_longest": gap,
            "records": output,
            "bytes": output * 210,
            "readers": 1,
            "tokens": {"input": output * 3, "output": output},
            "cost": round(output * 12e-6, 9),
            "attempts": told,
            "seams": seams,
        }


def attempt(number: int, name: str, model: str, started: float, ended: float, first: float) -> dict[str, Any]:
    """Return one attempt as an entry has it."""
    return {
        "number": number,
        "upstream": name,
        "model": model,
        "strategy": "first",
        "streamed": True,
        "offset": 0,
        "started": started,
        "ended": ended,
        "cause": None,
        "usage": None,
        "accepted": round(first / 2, 4),
        "first_content": first,
    }


async def keep(journal: Journal, count: int, until: float, span: float) -> None:
    """Put entries into a journal, each into the hour in which its response has ended."""
    now = until
    kept = Kept(journal, 7 * 86_400.0, lambda: now)
    for _, hour in groupby(made(count, until, span), lambda entry: (entry["at"] + entry["seconds"]) // 3600):
        for number, entry in enumerate(hour):
            now = entry["at"] + entry["seconds"]
            kept.add(entry)
            if number % 5000 == 4999:
                await kept.flush()
        await kept.flush()


async def _main(url: str, count: str, span: str) -> None:
    journal = SqliteJournal(Path(url.removeprefix("sqlite:///")))
    await journal.start()
    await keep(journal, int(count), time.time(), float(span))
    await journal.stop()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
