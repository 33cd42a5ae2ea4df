"""The limits that can be set for a key, for a model, and for everything together."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import msgspec

from everytoken.journal.ledger import Demand

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MICRO", "LimitsConfig", "Rates", "counters_of_money", "demands_of"]

MICRO: Final = 1_000_000
"""Money is counted in millionths of a US dollar."""


class Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one key, of one model, or of all. 0: none.

    `requests_per_minute`, `tokens_per_minute`: over the last 60 seconds; tokens of input and output together. `running`:
    responses at once. `usd_per_day`, `usd_per_month`: by UTC. `max_tokens`, `max_n`: what one request may ask for.
    """

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    running: int = 0
    usd_per_day: float = 0.0
    usd_per_month: float = 0.0
    max_tokens: int = 0
    max_n: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name in self.__struct_fields__:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a finite number, 0 or more")

    @property
    def counts_money(self) -> bool:
        """Whether a price is needed."""
        return bool(self.usd_per_day or self.usd_per_month)


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[limits]` table: of `all` together, of `each_key` that has none of its own, and of `models` by name."""

    all: Rates = Rates()
    each_key: Rates = Rates()
    models: dict[str, Rates] = {}


class Expected(msgspec.Struct, frozen=True):
    """What a request will probably take. `cost`: in millionths of a dollar."""

    tokens: int
    cost: int


def demands_of(scope: str, rates: Rates, expected: Expected, now: float) -> Iterator[Demand]:
    """Return what a request takes of the counters of a scope, such as `key:ID`."""
    if rates.requests_per_minute:
        yield Demand(f"{scope}:requests", "window", 1, rates.requests_per_minute)
    if rates.tokens_per_minute:
        yield Demand(f"{scope}:tokens", "window", expected.tokens, rates.tokens_per_minute)
    if rates.running:
        yield Demand(f"{scope}:running", "running", 1, rates.running)
    day, month = counters_of_money(scope, now)
    if rates.usd_per_day:
        yield Demand(day, "total", expected.cost, round(rates.usd_per_day * MICRO))
    if rates.usd_per_month:
        yield Demand(month, "total", expected.cost, round(rates.usd_per_month * MICRO))


def counters_of_money(scope: str, now: float) -> tuple[str, str]:
    """Return the counters of a scope's money, of the day and of the month."""
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    return f"{scope}:usd:{day}", f"{scope}:usd:{day[:7]}"


def taken_of(demand: Demand, expected: Mapping[str, int]) -> int:
    """Return what was really taken of a counter; `expected` has `tokens` and `cost`."""
    if demand.kind == "running" or demand.counter.endswith(":requests"):
        return demand.amount
    return expected["cost" if demand.kind == "total" else "tokens"]
