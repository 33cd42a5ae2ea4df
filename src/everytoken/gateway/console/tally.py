"""Entries of the request log, counted by steps of time."""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["REST", "Step", "Tally"]

REST: Final = "(others)"
"""Stands for the names behind the first so many: callers choose names of models."""

_GROUPS: Final = 2000  # of responses with the same model, key and end, in one step


class _Code(msgspec.Struct, gc=False):
    code: str = ""


class _Attempt(msgspec.Struct, gc=False):
    upstream: str = ""
    cause: _Code | None = None


class _Tokens(msgspec.Struct, gc=False):
    input: int = 0
    output: int = 0


class _Entry(msgspec.Struct, gc=False):
    """What is counted of an entry; the rest is not even decoded."""

    at: float = 0.0
    response: str | None = None
    key: str = ""
    model: str = ""
    outcome: str = ""
    error: str | None = None
    seconds: float = 0.0
    first_content: float | None = None
    gap_longest: float | None = None
    tokens: _Tokens | None = None
    cost: float | None = None
    attempts: list[_Attempt] = []


_decode = msgspec.json.Decoder(_Entry).decode


class Sum:
    """What some responses come to; `unpriced` of them have used tokens at a price that is not known."""

    __slots__ = ("cost", "count", "input", "output", "unpriced")

    def __init__(self) -> None:
        self.count = self.input = self.output = self.unpriced = 0
        self.cost = 0.0

    def add(self, other: Sum) -> None:
        """Add another one to it."""
        self.count += other.count
        self.input += other.input
        self.output += other.output
        self.unpriced += other.unpriced
        self.cost += other.cost


class Of(NamedTuple):
    """What responses that are counted together have in common."""

    outcome: str
    error: str | None
    model: str
    key: str


class Step:
    """What has happened in one step of time, or in several: responses that began in it, and what has ended in it.

    Times to first content and longest gaps are counted by their first three digits, so that they take the same memory
    for any number of responses.
    """

    __slots__ = ("attempts", "begun", "ended", "first", "gaps")

    def __init__(self) -> None:
        self.begun = 0
        self.ended: dict[tuple[str, str | None, str, str], Sum] = {}
        self.attempts: Counter[tuple[str, str | None]] = (
            Counter()
        )  # by upstream and code of the cause, if any
        self.first: Counter[float] = Counter()
        self.gaps: Counter[float] = Counter()

    def end(self, entry: _Entry) -> None:
        """Count a response that has ended in this step, or a refusal."""
        of = (entry.outcome, entry.error, entry.model, entry.key)
        one = self.ended.get(of) or self._sum(Of(*of))  # equal to a plain tuple, which is made more quickly
        one.count += 1
        if entry.response is None:
            return
        if (tokens := entry.tokens) is not None:
            one.input += tokens.input
            one.output += tokens.output
            if entry.cost is None:
                one.unpriced += 1
            else:
                one.cost += entry.cost
        if entry.first_content is not None:
            self.first[_three_digits(entry.first_content)] += 1
        if entry.gap_longest is not None:
            self.gaps[_three_digits(entry.gap_longest)] += 1
        for attempt in entry.attempts:
            cause = attempt.cause
            self.attempts[attempt.upstream, None if cause is None else cause.code] += 1

    def add(self, other: Step) -> None:
        """Add what has happened in another one."""
        self.begun += other.begun
        for of, one in other.ended.items():
            self._sum(Of(*of)).add(one)
        self.attempts.update(other.attempts)
        self.first.update(other.first)
        self.gaps.update(other.gaps)

    def _sum(self, of: Of) -> Sum:
        found = self.ended.get(of)
        if found is None:
            if len(self.ended) >= _GROUPS:
                of = of._replace(model=REST, key=REST)
            found = self.ended.setdefault(of, Sum())
        return found

    def by(self, field: str) -> dict[Any, Sum]:
        """Return what responses come to by a field of theirs, the most frequent first; refusals are in `error` alone."""
        found: dict[Any, Sum] = {}
        for key, one in self.ended.items():
            of = Of(*key)
            if of.outcome != "refused" or field in ("error", "outcome"):
                found.setdefault(getattr(of, field), Sum()).add(one)
        return dict(sorted(found.items(), key=lambda pair: -pair[1].count))

    def completed(self, field: str) -> Counter[str]:
        """Return how many have completed, by a field of theirs."""
        found: Counter[str] = Counter()
        for key, one in self.ended.items():
            of = Of(*key)
            if of.outcome == "completed":
                found[getattr(of, field)] += one.count
        return found

    def shown(self) -> dict[str, Any]:
        """Return its numbers as JSON has them."""
        total = Sum()
        for one in self.ended.values():
            total.add(one)
        outcomes = {name: one.count for name, one in self.by("outcome").items()}
        return {
            "begun": self.begun,
            "ended": total.count - outcomes.get("refused", 0),
            "outcomes": outcomes,
            "first_content": _percentiles(self.first),
            "gap_longest": _percentiles(self.gaps),
            "tokens": {"input": total.input, "output": total.output},
            "cost": round(total.cost, 9),
            "unpriced": total.unpriced,
        }


class Tally:
    """Steps of `seconds`, by their number since 1970."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.steps: dict[int, Step] = {}

    def add(self, records: Iterable[bytes]) -> None:
        """Count entries. What is none is left out."""
        seconds, steps = self._seconds, self.steps
        for record in records:
            try:
                entry = _decode(record)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # of a version with other fields
            ended = int((entry.at + entry.seconds) // seconds)
            if (step := steps.get(ended)) is None:
                step = self.step(ended)
            step.end(entry)
            if entry.response is not None:
                begun = int(entry.at // seconds)
                (step if begun == ended else self.step(begun)).begun += 1

    def step(self, number: int) -> Step:
        """Return a step, to be counted in."""
        found = self.steps.get(number)
        if found is None:
            found = self.steps[number] = Step()
        return found


@lru_cache(maxsize=65_536)
def _three_digits(value: float) -> float:
    if value <= 0:
        return 0.0
    return round(value, 2 - math.floor(math.log10(value)))


def _percentiles(values: Counter[float]) -> dict[str, float | None]:
    wanted = {"p50": 0.5, "p95": 0.95}
    found = _at_ranks(values, list(wanted.values()))
    return dict(zip(wanted, found, strict=True))


def _at_ranks(values: Counter[float], shares: Sequence[float]) -> list[float | None]:
    """Return the values at the nearest ranks, in the order of the shares, which rise."""
    total = values.total()
    if not total:
        return [None for _ in shares]
    found: list[float | None] = []
    passed = 0
    ordered = iter(sorted(values.items()))
    value = 0.0
    for share in shares:
        while passed < math.ceil(share * total):
            value, count = next(ordered)
            passed += count
        found.append(value)
    return found
