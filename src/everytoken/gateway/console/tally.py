"""Entries of the request log, counted by steps of time."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["REST", "Step", "Tally"]

REST: Final = "(others)"
"""Stands for the names behind the first so many: callers choose names of models."""

_NAMES: Final = 200  # of each kind, in one step


class _Code(msgspec.Struct):
    code: str = ""


class _Attempt(msgspec.Struct):
    upstream: str = ""
    cause: _Code | None = None


class _Tokens(msgspec.Struct):
    input: int = 0
    output: int = 0


class _Entry(msgspec.Struct):
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
    """What responses of one model or key come to."""

    __slots__ = ("completed", "cost", "responses", "tokens")

    def __init__(self) -> None:
        self.responses = self.completed = self.tokens = 0
        self.cost = 0.0

    def add(self, other: Sum) -> None:
        """Add another one to it."""
        self.responses += other.responses
        self.completed += other.completed
        self.tokens += other.tokens
        self.cost += other.cost

    def shown(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "responses": self.responses,
            "completed": self.completed,
            "tokens": self.tokens,
            "cost": round(self.cost, 9),
        }


class Step:
    """What has happened in one step of time, or in several: responses that began in it, and what has ended in it.

    Times to first content and longest gaps are counted by their first three digits, so that they take the same memory
    for any number of responses.
    """

    __slots__ = (
        "begun",
        "causes",
        "cost",
        "errors",
        "first",
        "gaps",
        "input",
        "keys",
        "models",
        "outcomes",
        "output",
        "tries",
        "unpriced",
    )

    def __init__(self) -> None:
        self.begun = self.input = self.output = self.unpriced = 0
        self.cost = 0.0
        self.outcomes: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.tries: Counter[str] = Counter()  # attempts, by upstream
        self.causes: Counter[tuple[str, str]] = Counter()  # of attempts that failed, by upstream and code
        self.first: Counter[float] = Counter()
        self.gaps: Counter[float] = Counter()
        self.models: dict[str, Sum] = {}
        self.keys: dict[str, Sum] = {}

    def end(self, entry: _Entry) -> None:
        """Count a response that has ended in this step, or a refusal."""
        self.outcomes[entry.outcome] += 1
        if entry.error:
            self.errors[entry.error] += 1
        if entry.response is None:
            return
        tokens = 0
        if entry.tokens is not None:
            self.input += entry.tokens.input
            self.output += entry.tokens.output
            tokens = entry.tokens.input + entry.tokens.output
            self.unpriced += entry.cost is None
        self.cost += entry.cost or 0.0
        if entry.first_content is not None:
            self.first[_three_digits(entry.first_content)] += 1
        if entry.gap_longest is not None:
            self.gaps[_three_digits(entry.gap_longest)] += 1
        for attempt in entry.attempts:
            self.tries[attempt.upstream] += 1
            if attempt.cause is not None and attempt.cause.code != "cancelled":
                self.causes[attempt.upstream, attempt.cause.code] += 1
        for sums, name in ((self.models, entry.model), (self.keys, entry.key)):
            one = _sum_of(sums, name)
            one.responses += 1
            one.completed += entry.outcome == "completed"
            one.tokens += tokens
            one.cost += entry.cost or 0.0

    def add(self, other: Step) -> None:
        """Add what has happened in another one."""
        self.begun += other.begun
        self.input += other.input
        self.output += other.output
        self.unpriced += other.unpriced
        self.cost += other.cost
        for name in ("outcomes", "errors", "tries", "causes", "first", "gaps"):
            getattr(self, name).update(getattr(other, name))
        for ours, theirs in ((self.models, other.models), (self.keys, other.keys)):
            for one, added in theirs.items():
                _sum_of(ours, one).add(added)

    def shown(self) -> dict[str, Any]:
        """Return its numbers as JSON has them."""
        return {
            "begun": self.begun,
            "ended": self.outcomes.total() - self.outcomes["refused"],
            "outcomes": {name: count for name, count in self.outcomes.items() if count},
            "first_content": _percentiles(self.first),
            "gap_longest": _percentiles(self.gaps),
            "tokens": {"input": self.input, "output": self.output},
            "cost": round(self.cost, 9),
            "unpriced": self.unpriced,
        }


class Tally:
    """Steps of `seconds`, by their number since 1970."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.steps: dict[int, Step] = {}

    def add(self, records: Iterable[bytes]) -> None:
        """Count entries. What is none is left out."""
        seconds = self._seconds
        for record in records:
            try:
                entry = _decode(record)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # of a version with other fields
            if entry.response is not None:
                self.step(int(entry.at // seconds)).begun += 1
            self.step(int((entry.at + entry.seconds) // seconds)).end(entry)

    def step(self, number: int) -> Step:
        """Return a step, to be counted in."""
        found = self.steps.get(number)
        if found is None:
            found = self.steps[number] = Step()
        return found


def _sum_of(sums: dict[str, Sum], name: str) -> Sum:
    found = sums.get(name)
    if found is None:
        if len(sums) >= _NAMES:
            name = REST
        found = sums.setdefault(name, Sum())
    return found


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
