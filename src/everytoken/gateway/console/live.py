"""What runs now, as a stream of events. They are made for those who read them: while nobody does, they cost nothing.

The first event of a connection is whole. Each later one has what has changed since the one before, so a reader that comes
back with `Last-Event-ID` needs nothing of what it has missed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from heapq import nlargest
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.errors import AuthenticationError
from everytoken.gateway.follow import ReaderConnection
from everytoken.gateway.http import start
from everytoken.gateway.keys.calls import key_api
from everytoken.gateway.model_api import STREAM_HEADERS
from everytoken.gateway.siblings import asked, sum_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services
    from everytoken.relay import Relay

__all__ = ["SHOWN", "Live", "in_flight"]

SHOWN: Final = 100
"""Of what runs, so many are told of, the newest; of the others only their number."""

_PAUSE: Final = 1.0  # seconds between two events
_TURN: Final = 100  # responses that are looked at in one turn of the loop
_FRESH: Final = 0.5  # seconds for which what was seen serves other readers too
_OLD: Final = 5.0  # seconds after which nobody has looked, so that a rate would be of the past
_HEAD: Final = [(b"content-type", b"text/event-stream; charset=utf-8"), *STREAM_HEADERS]


class Seen:
    """What ran at one moment; `responses` by id, the newest first."""

    __slots__ = ("at", "numbers", "responses")

    def __init__(self, at: float, numbers: dict[str, Any], responses: dict[str, dict[str, Any]]) -> None:
        self.at = at
        self.numbers = numbers
        self.responses = responses

    def whole(self) -> dict[str, Any]:
        """Return all of it."""
        return {"type": "snapshot", **self.numbers, "responses": list(self.responses.values())}

    def since(self, before: Seen) -> dict[str, Any]:
        """Return what has changed since another moment."""
        begun, changed = [], []
        for name, now in self.responses.items():
            then = before.responses.get(name)
            if then is None:
                begun.append(now)
            elif then != now:
                moved = {field: value for field, value in now.items() if then.get(field) != value}
                changed.append({"response": name, **moved})
        gone = [name for name in before.responses if name not in self.responses]
        return {"type": "changes", **self.numbers, "begun": begun, "changed": changed, "gone": gone}


class Live:
    """Looks at what runs, once for all readers."""

    def __init__(self, gateway: Services) -> None:
        self._gateway = gateway
        self._seen: Seen | None = None
        self._lock = asyncio.Lock()
        self._tails: dict[Relay, int] = {}

    async def serve(self, request: Request) -> None:
        """Send an event every second until the reader leaves, its key counts no more, or the gateway stops."""
        loop = asyncio.get_running_loop()
        client = ReaderConnection(request)
        try:
            await start(request, 200, _HEAD)
            seen = await self.look()
            value = seen.whole()
            number = _number_of(request.header(b"last-event-id"))
            while not client.gone:
                number += 1
                await client.send(b"id: %d\ndata: %b\n\n" % (number, msgspec.json.encode(value)))
                await client.drain()
                await client.wait(loop.time() + _PAUSE)
                if self._is_over(request):
                    await client.finish()
                    return
                before, seen = seen, await self.look()
                value = seen.since(before)
        finally:
            client.close()

    def _is_over(self, request: Request) -> bool:
        try:
            self._gateway.keys.administrator(request)
        except AuthenticationError:
            return True  # it was revoked
        return self._gateway.relays.draining

    async def look(self) -> Seen:
        """Return what runs now, or ran a moment ago, at all workers."""
        seen, others = await asyncio.gather(self.look_here(), asked(self._gateway.siblings, "live"))
        return _joined(seen, list(others.values())) if others else seen

    async def look_here(self) -> Seen:
        """Return what runs at this one."""
        async with self._lock:
            now, seen = asyncio.get_running_loop().time(), self._seen
            if seen is None or now - seen.at >= _FRESH:
                seen = self._seen = await self._look(now, None if seen is None else now - seen.at)
            return seen

    async def _look(self, now: float, passed: float | None) -> Seen:
        gateway = self._gateway
        found = map(gateway.relays.get, gateway.relays.running())
        relays = [relay for relay in found if relay is not None]
        tails: dict[Relay, int] = {}
        flying: Counter[str] = Counter()
        begun: list[tuple[float, int]] = []
        for first in range(0, len(relays), _TURN):
            some = relays[first : first + _TURN]
            tails.update((relay, relay.log.tail) for relay in some)
            flying.update(in_flight(some))
            begun.extend((relay.log.info.created, number) for number, relay in enumerate(some, first))
            await asyncio.sleep(0)  # the others' turn
        rate: float | None = None
        if passed is not None and passed < _OLD:
            # With what those have written that have ended meanwhile.
            ended = sum(relay.log.tail for relay in self._tails if relay not in tails)
            rate = round((sum(tails.values()) + ended - sum(self._tails.values())) / passed, 1)
        self._tails = tails
        newest = [relays[number] for _, number in nlargest(SHOWN, begun)]
        numbers = {
            "at": round(time.time(), 3),
            "running": len(relays),
            "waiting": gateway.gate.waiting,
            "rate": rate,
            "in_flight": flying,
        }
        return Seen(now, numbers, {relay.stream_id: self._shown(relay) for relay in newest})

    def _shown(self, relay: Relay) -> dict[str, Any]:
        info, recovery = relay.log.info, relay.recovery
        attempts = recovery.attempts
        causes = [attempt.cause.code for attempt in attempts if attempt.cause is not None]
        return {
            "response": info.id,
            "at": round(info.created, 3),
            "key": self._gateway.keys.name_of(info.owner),
            "api": key_api(recovery.request.dialect),
            "model": recovery.request.model,
            "upstream": attempts[-1].upstream if attempts else "",
            "attempts": len(attempts),
            "cause": causes[-1] if causes else None,
            "records": relay.log.tail,
            "readers": relay.readers.count,
        }


def _joined(seen: Seen, others: list[dict[str, Any]]) -> Seen:
    """Return what runs at several workers."""
    all_numbers = [seen.numbers, *(other["numbers"] for other in others)]
    rates = [numbers["rate"] for numbers in all_numbers if numbers["rate"] is not None]
    numbers = {
        **seen.numbers,
        "running": sum(numbers["running"] for numbers in all_numbers),
        "waiting": sum(numbers["waiting"] for numbers in all_numbers),
        "rate": round(sum(rates), 1) if rates else None,
        "in_flight": sum_of([numbers["in_flight"] for numbers in all_numbers]),
    }
    responses = [*seen.responses.values(), *(one for other in others for one in other["responses"])]
    newest = nlargest(SHOWN, responses, key=lambda one: one["at"])
    return Seen(seen.at, numbers, {one["response"]: one for one in newest})


def in_flight(relays: Iterable[Relay]) -> Counter[str]:
    """Return how many attempts are under way, by upstream."""
    found: Counter[str] = Counter()
    for relay in relays:
        for attempt in relay.recovery.attempts:
            if attempt.ended is None:
                found[attempt.upstream] += 1
    return found


def _number_of(last: str | None) -> int:
    """Return the number of the event that a reader has had last, 0 for none."""
    return int(last) if last is not None and last.isascii() and last.isdecimal() and len(last) < 16 else 0
