"""From the events of a response to one entry of the request log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.gateway.keys.calls import key_api
from everytoken.gateway.prices import tokens_in
from everytoken.observer import (
    AttemptAccepted,
    Event,
    FirstContent,
    ResponseBegun,
    ResponseEnded,
    ResponseHandedOver,
    Seam,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from everytoken.gateway.prices import Prices
    from everytoken.translation.events import Usage

__all__ = ["Entries"]


class _Open:
    """What is known of a response under way."""

    __slots__ = ("accepted", "begun", "first", "seams")

    def __init__(self, begun: ResponseBegun) -> None:
        self.begun = begun
        self.accepted: dict[int, float] = {}
        self.first: dict[int, float] = {}
        self.seams: list[Seam] = []


class Entries:
    """An observer that makes an entry of each response that has ended, and gives it to `add`.

    `name_of`: from the id of a key to its name. `urls`: of upstreams, by name.
    """

    wants_commits = False

    def __init__(
        self,
        add: Callable[[dict[str, Any]], None],
        prices: Prices,
        name_of: Callable[[str], str],
        urls: Callable[[], Mapping[str, str]],
    ) -> None:
        self._add = add
        self._prices = prices
        self._name_of = name_of
        self._urls = urls
        self._open: dict[str, _Open] = {}
        self.handlers: dict[type[Event], Callable[[Any], None]] = {
            ResponseBegun: self._begun,
            AttemptAccepted: self._accepted,
            FirstContent: self._first_content,
            Seam: self._seam,
            ResponseEnded: self._ended,
            ResponseHandedOver: self._handed_over,
        }

    def __call__(self, event: Event) -> None:
        """Take an event."""
        handle = self.handlers.get(type(event))
        if handle is not None:
            handle(event)

    def _begun(self, event: ResponseBegun) -> None:
        self._open[event.response] = _Open(event)

    def _accepted(self, event: AttemptAccepted) -> None:
        if (one := self._open.get(event.response)) is not None:
            one.accepted[event.attempt] = event.seconds

    def _first_content(self, event: FirstContent) -> None:
        if (one := self._open.get(event.response)) is not None:
            one.first[event.attempt] = event.seconds

    def _seam(self, event: Seam) -> None:
        if (one := self._open.get(event.response)) is not None:
            one.seams.append(event)

    def _ended(self, event: ResponseEnded) -> None:
        if (one := self._open.pop(event.response, None)) is not None:
            self._add(self._entry(one, event))

    def _handed_over(self, event: ResponseHandedOver) -> None:
        self._open.pop(event.response, None)

    def _beginning(self, begun: ResponseBegun) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "at": round(begun.at, 3),
            "response": begun.response,
            "request": begun.request_id,
            "key": self._name_of(begun.owner),
            "api": key_api(begun.dialect),
            "model": begun.model,
        }
        return entry if begun.offset is None else {**entry, "taken_over": begun.offset}

    def _entry(self, one: _Open, ended: ResponseEnded) -> dict[str, Any]:
        dialect = one.begun.dialect
        attempts = [self._attempt(one, told) for told in ended.told]
        last = attempts[-1] if attempts else {}
        tokens = tokens_in(ended.usage, dialect)
        return {
            **self._beginning(one.begun),
            "outcome": ended.outcome,
            "error": ended.error,
            "message": ended.message,
            "model_used": last.get("model") or one.begun.model,
            "upstreams": list(dict.fromkeys(attempt["upstream"] for attempt in attempts)),
            "seconds": round(ended.seconds, 3),
            "first_content": _rounded(ended.first_content),
            "gap_median": _rounded(ended.gap_median),
            "gap_longest": _rounded(ended.gap_longest),
            "records": ended.records,
            "bytes": ended.received,
            "readers": ended.readers,
            "tokens": None if tokens is None else _counts(tokens),
            "cost": self._prices.of_response(ended.told, dialect, self._urls()),
            "attempts": attempts,
            "seams": [
                {"attempt": seam.attempt, "offset": seam.offset, "gap": round(seam.seconds, 3)}
                for seam in one.seams
            ],
        }

    def _attempt(self, one: _Open, told: dict[str, Any]) -> dict[str, Any]:
        number = told["number"]
        return {
            **told,
            "accepted": _rounded(one.accepted.get(number)),
            "first_content": _rounded(one.first.get(number)),
        }


def _counts(usage: Usage) -> dict[str, int]:
    names = {
        "input": "prompt",
        "output": "answer",
        "cached": "cached",
        "written": "written",
        "reasoning": "reasoning",
    }
    counts = {name: getattr(usage, field) for name, field in names.items()}
    return {name: count for name, count in counts.items() if count is not None}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
