"""Reserves what a request will probably take, before it costs anything, and settles it with what it has taken.

What it has taken is the usage of all attempts, which is in the result of the response's stream. So the process that ends a
response settles it, whichever began it; and what a process that was killed has left open is settled by the one that looks
after it, from the result, or with nothing if there never was a response.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.dialects.registry import dialect_of
from everytoken.errors import (
    EverytokenError,
    InvalidRequestError,
    NotAllowedError,
    RateLimitedError,
    StreamNotFoundError,
)
from everytoken.gateway.prices import used_by
from everytoken.gateway.rates import (
    MICRO,
    Expected,
    LimitsConfig,
    Rates,
    counters_of_money,
    demands_of,
    taken_of,
)
from everytoken.journal.ledger import WINDOW, Demand, Refusal
from everytoken.journal.local_ledger import LocalLedger, ledger_of
from everytoken.observer import Event, ResponseEnded
from everytoken.translation.events import Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from everytoken.dialects.dialect import Request as ModelRequest
    from everytoken.gateway.config import Config
    from everytoken.gateway.keys import Key
    from everytoken.gateway.prices import Prices
    from everytoken.journal import Journal
    from everytoken.observer import Observer
    from everytoken.recovery import Target

    _Taken = Mapping[str, int] | None  # None: as expected

__all__ = ["PASSED", "Meter"]

PASSED: Final = "pass:"
"""How the names of reservations begin that are for no response."""

logger = logging.getLogger("everytoken.gateway")

_encode = msgspec.json.Encoder().encode
_ANSWER: Final = 1024  # tokens that an answer is expected to have, if the request does not say
_BYTES: Final = 4  # of a request, for a token: what texts in European languages have
_LOOK: Final = 60.0  # seconds between two looks for what a dead process has left open
_AGE: Final = 30.0  # seconds after which something open may have been left
_FORGOTTEN: Final = 3600.0  # seconds after which a response may have been there, and gone
_PASSED: Final = "pass-through"  # the dialect of what is passed on
_UNLIMITED: Final = Rates()
_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")


class Meter:
    """Keeps keys, models and all together within their limits; without limits it does nothing.

    `is_running`: whether a response is written here. `observe`: has an observer told of responses that begin from here on. `now`: seconds since 1970.
    """

    def __init__(
        self,
        config: Config,
        journal: Journal,
        prices: Prices,
        is_running: Callable[[str], bool],
        observe: Callable[[Observer], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._prices = prices
        self._is_running = is_running
        self._observe = observe
        self._observes = False
        self._now = now
        self._ledger = ledger_of(journal)
        self._looking: asyncio.Task[None] | None = None
        self._settling: set[asyncio.Task[None]] = set()
        self.handlers = {ResponseEnded: self}
        self.change(config)

    wants_commits = False

    def __call__(self, event: Event) -> None:
        """Settle a response that has ended."""
        if isinstance(event, ResponseEnded):
            self.ended(event.response, event.dialect, event.told)

    def change(self, config: Config) -> None:
        """Use the limits of another configuration."""
        self._limits = config.limits
        self._is_free = config.limits == LimitsConfig()
        self._lasts = config.max_duration + 600.0
        self._urls = {upstream.name: upstream.url for upstream in config.upstream}

    async def start(self) -> None:
        """Count what was used before. Raises `JournalUnavailableError`."""
        if isinstance(self._ledger, LocalLedger):
            await self._ledger.start()
            await self.look(alone=True)
        if not self._is_free or await self._ledger.open_before(self._now()):
            self._watch_ends()  # also of what this process takes over
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_for_ever())

    async def stop(self) -> None:
        """Settle what is to be settled."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
            self._looking = None
        await asyncio.gather(*self._settling, return_exceptions=True)
        if isinstance(self._ledger, LocalLedger):
            await self._ledger.stop()

    # Before

    def rates_of(self, key: Key | None) -> Rates:
        """Return the limits of a key: its own, or those of each."""
        if key is None:
            return _UNLIMITED
        return key.limits or (_UNLIMITED if key.admin else self._limits.each_key)

    def check(self, request: ModelRequest, key: Key | None) -> None:
        """Raise `InvalidRequestError` if a request asks for more than one may."""
        body = request.body
        for rates in self._scopes(request, key).values():
            for name in _LIMITS if rates.max_tokens else ():
                asked = body.get(name)
                if isinstance(asked, int | float) and asked > rates.max_tokens:
                    raise InvalidRequestError(f"{name!r} is over the limit of {rates.max_tokens}", param=name)
            choices = body.get("n")
            if rates.max_n and isinstance(choices, int | float) and choices > rates.max_n:
                raise InvalidRequestError(f"'n' is over the limit of {rates.max_n}", param="n")

    def limits(self, key: Key | None) -> bool:
        """Whether anything may be limited of what is asked with this key."""
        return not self._is_free or (key is not None and key.limits is not None)

    def _scopes(self, request: ModelRequest, key: Key | None) -> dict[str, Rates]:
        if not self.limits(key):
            return {}
        scopes = {"all": self._limits.all}
        if request.model in self._limits.models:
            scopes[f"model:{request.model}"] = self._limits.models[request.model]
        if key is not None:
            scopes[f"key:{key.id}"] = self.rates_of(key)
        return {scope: rates for scope, rates in scopes.items() if rates != _UNLIMITED}

    async def reserve(
        self, name: str, request: ModelRequest, key: Key | None, targets: Sequence[Target], size: int
    ) -> list[tuple[bytes, bytes]]:
        """Reserve for a response with this name; return the headers that say what is left of the key's minute.

        `size`: bytes of the request. Raises `RateLimitedError`, `NotAllowedError` if what it costs is not known,
        `JournalUnavailableError`.
        """
        scopes = self._scopes(request, key)
        if not scopes:
            return []
        needs_price = any(rates.counts_money for rates in scopes.values())
        if needs_price:
            await self._prices.ready()
        now = self._now()
        expected = self._expected(request, targets, size, needs_price=needs_price)
        demands = [
            demand for scope, rates in scopes.items() for demand in demands_of(scope, rates, expected, now)
        ]
        if not demands:
            return []
        self._watch_ends()
        answer = await self._ledger.reserve(name, now, now + self._lasts, demands)
        if isinstance(answer, Refusal):
            demand = demands[answer.demand]
            raise RateLimitedError(_why(demand), retry_after=_wait(demand, answer, now))
        return _headers(demands, answer) if key is not None else []

    def _expected(
        self, request: ModelRequest, targets: Sequence[Target], size: int, *, needs_price: bool
    ) -> Expected:
        asked = next((request.body[name] for name in _LIMITS if request.body.get(name)), _ANSWER)
        answer = int(asked) if isinstance(asked, int | float) and asked > 0 else _ANSWER
        if request.dialect == _PASSED:
            answer = 0
        prompt = _prompt_of(size)
        cost = 0.0
        if needs_price and targets:
            target = targets[0]
            model = target.model or request.model
            found = self._prices.of(
                Usage(prompt=prompt, answer=answer), model, self._urls.get(target.name, "")
            )
            if found is None:
                raise NotAllowedError(
                    f"the price of the model {model[:100]!r} is not known, so no budget can be kept: set it in [prices]",
                    param="model",
                )
            cost = found
        return Expected(prompt + answer, math.ceil(cost * MICRO))

    # Behind

    def release(self, name: str) -> None:
        """Give back what was reserved for a response that was not opened after all."""
        self._in_background(self._settle(name, _nothing()))

    def ended(self, name: str, dialect: str, attempts: Sequence[Mapping[str, Any]]) -> None:
        """Settle a response by its attempts, as its stream was closed with them."""
        self._in_background(self._settle(name, self._taken(name, dialect, attempts)))

    def passed(self, name: str) -> None:
        """Settle what was passed on, whose usage nobody reads: with what was expected."""
        self._in_background(self._settle(name, _as_expected()))

    def _watch_ends(self) -> None:
        if not self._observes:
            self._observes = True
            self._observe(self)

    def _in_background(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, name: str, taking: Awaitable[_Taken]) -> None:
        try:
            taken = await taking
            reservation = await self._ledger.reservation(name)
            if reservation is not None:
                await self._ledger.settle(name, self._now(), _amounts(reservation.demands, taken))
        except EverytokenError as error:
            # It stays open, and is settled later.
            logger.warning("what %s has used could not be settled: %s (%s)", name, error.message, error.code)
        except Exception:  # one failure must not be somebody else's
            logger.exception("what %s has used could not be settled", name)

    async def _taken(self, name: str, dialect: str, attempts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Return tokens and money of all attempts. Raises `JournalError`."""
        used = [
            (one.usage, one.model, one.upstream)
            for one in used_by(attempts, dialect)
            if one.usage is not None
        ]
        # Of the length of a prompt that no attempt has reported, what was expected is all that is known.
        is_known = not used or any(usage.prompt for usage, _, _ in used)
        expected = 0 if is_known else await _expected_prompt(self._journal, name)
        tokens = cost = 0
        for usage, model, upstream in used:
            prompt, answer = usage.prompt or expected, usage.answer or 0
            tokens += prompt + answer
            full = msgspec.structs.replace(usage, prompt=prompt, answer=answer)
            cost += math.ceil((self._prices.of(full, model, self._urls.get(upstream, "")) or 0.0) * MICRO)
        return {"tokens": tokens, "cost": cost}

    async def spent(self, key: Key) -> dict[str, float]:
        """Return what a key has spent of the day and the month, in US dollars, what is reserved included."""
        (spent,) = await self.spent_by([key])
        return spent

    async def spent_by(self, keys: Sequence[Key]) -> list[dict[str, float]]:
        """Return likewise of several, with one look."""
        if not keys:
            return []
        now = self._now()
        totals = await self._ledger.totals(
            [counter for key in keys for counter in counters_of_money(f"key:{key.id}", now)]
        )
        pairs = zip(totals[::2], totals[1::2], strict=True)
        return [{"day": day / MICRO, "month": month / MICRO} for day, month in pairs]

    # What dead processes have left

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            try:
                await self.look()
            except EverytokenError as error:
                logger.warning("what is reserved could not be looked at: %s (%s)", error.message, error.code)
            except Exception:  # one failure must not end it for good
                logger.exception("what is reserved could not be looked at")

    async def look(self, *, alone: bool = False) -> None:
        """Settle what is open though its response is not. `alone`: no other process has anything under way.

        Raises `JournalUnavailableError`.
        """
        for name, reservation in await self._ledger.open_before(self._now() - (0 if alone else _AGE)):
            age = self._now() - reservation.at
            self._watch_ends()
            if self._is_running(name) or (not alone and name.startswith(PASSED) and age < self._lasts):
                continue
            taken: dict[str, int] | None = None  # as expected, of what nobody knows any more
            try:
                log = await self._journal.open(name, touch=False)
            except StreamNotFoundError:
                if age < _FORGOTTEN and not name.startswith(PASSED):
                    taken = {"tokens": 0, "cost": 0}  # it was never opened
            else:
                if not log.closed:
                    continue
                attempts = (log.info.result or {}).get("attempts", ())
                taken = await self._taken(name, dialect_of(log.info.meta).name, attempts)
            await self._ledger.settle(name, self._now(), _amounts(reservation.demands, taken))


def _prompt_of(size: int) -> int:
    """Return how many tokens a request of so many bytes probably has."""
    return max(1, size // _BYTES)


async def _expected_prompt(journal: Journal, name: str) -> int:
    log = await journal.open(name, touch=False)
    return _prompt_of(len(_encode(log.info.meta.get("request"))))


async def _nothing() -> _Taken:
    return {"tokens": 0, "cost": 0}


async def _as_expected() -> _Taken:
    return None


def _amounts(demands: Sequence[Demand], taken: _Taken) -> list[int]:
    return [demand.amount if taken is None else taken_of(demand, taken) for demand in demands]


_NAMES: Final = {
    "requests": "requests per minute",
    "tokens": "tokens per minute",
    "running": "responses at once",
}


def _why(demand: Demand) -> str:
    scope, _, what = (
        demand.counter.partition(":") if demand.counter.startswith("all:") else _parted(demand.counter)
    )
    whose = {"all": "of this gateway", "key": "of this API key", "model": "for this model"}[scope]
    if demand.kind == "total":
        span = "month" if len(what) == len("usd:2026-11") else "day"
        return f"the budget {whose} for the {span} is used up: {demand.limit / MICRO:g} US dollars"
    return f"the limit {whose} is reached ({_NAMES[what]}: {demand.limit})"


def _parted(counter: str) -> tuple[str, str, str]:
    scope, _, rest = counter.partition(":")
    name, _, what = rest.rpartition(":")
    if name.endswith(":usd"):
        name, what = name[: -len(":usd")], f"usd:{what}"
    return scope, name, what


def _wait(demand: Demand, refusal: Refusal, now: float) -> float:
    if demand.kind == "total":
        today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        following = today + timedelta(days=1)
        if demand.counter.count("-") and len(demand.counter.rpartition(":")[2]) == len("2026-11"):
            following = (today.replace(day=28) + timedelta(days=4)).replace(day=1)
        return following.timestamp() - now
    return 60.0 if refusal.retry_after is None else max(refusal.retry_after, 0.001)


def _headers(demands: Sequence[Demand], left: Sequence[int]) -> list[tuple[bytes, bytes]]:
    """Return the headers that SDKs and people look for, of the limits of a minute that the key has."""
    found = []
    for demand, rest in zip(demands, left, strict=True):
        if demand.kind == "window" and demand.counter.startswith("key:"):
            what = demand.counter.rpartition(":")[2].encode()
            found += [
                (b"x-ratelimit-limit-" + what, b"%d" % demand.limit),
                (b"x-ratelimit-remaining-" + what, b"%d" % rest),
                (b"x-ratelimit-reset-" + what, b"%ds" % WINDOW),  # when all of it is over at the latest
            ]
    return found
