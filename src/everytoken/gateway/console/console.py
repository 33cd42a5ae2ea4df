"""`/admin/overview` and `/admin/live`: what the console shows."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from importlib.metadata import version
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import InvalidRequestError, MethodNotAllowedError
from everytoken.gateway.console.live import Live, in_flight
from everytoken.gateway.console.overview import Overview
from everytoken.gateway.console.tally import Step
from everytoken.gateway.http import answer_json
from everytoken.gateway.requestlog.query import moment, number
from everytoken.gateway.siblings import asked, sum_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.gateway.http import Request
    from everytoken.gateway.keys.key import Key
    from everytoken.gateway.services import Services

__all__ = ["CONSOLE", "Console"]

CONSOLE: Final = ("/admin/overview", "/admin/live")

_MOST_STEPS: Final = 500
_SHORTEST: Final = 1.0  # seconds of a step
_LONGEST: Final = 86_400.0
_NAMES: Final = 100  # models and keys that are named, those with the most responses
_KEYS: Final = 1000  # whose spend is looked up
_NO_STORE: Final = [(b"cache-control", b"no-store")]
_STOPPED: Final = "cancelled"  # the cause of an attempt that nobody wanted any more
_FIRST_API: Final = "openai-chat"


class Console:
    """Answers what the console asks; nothing happens before it does."""

    def __init__(self, gateway: Services) -> None:
        self._gateway = gateway
        kept = gateway.request_log.kept
        self._overview = None if kept is None else Overview(kept)
        self.live = Live(gateway)
        self._version = ""

    async def serve(self, request: Request) -> None:
        """Serve an administrator. Raises `AuthenticationError`, `InvalidRequestError`, `JournalError`."""
        self._gateway.keys.administrator(request)
        live = request.path == "/admin/live"
        allowed = ("GET",) if live else ("GET", "HEAD")
        if request.method not in allowed:
            raise MethodNotAllowedError(f"{request.path} allows only {' or '.join(allowed)}", allow=allowed)
        if live:
            await self.live.serve(request)
        else:
            await answer_json(request, 200, await self.overview(request.query()), _NO_STORE)

    async def overview(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Return the numbers of a while, by steps and in all. Raises `InvalidRequestError`, `JournalError`."""
        gateway, now = self._gateway, time.time()
        unknown = parameters.keys() - {"since", "step"}
        if unknown:
            raise InvalidRequestError(f"unknown parameter {min(unknown)[:100]!r}", param=min(unknown))
        seconds = number(parameters, "step", 60.0)
        if not _SHORTEST <= seconds <= _LONGEST:
            raise InvalidRequestError("'step' must be 1 to 86400 seconds", param="step")
        since = moment(parameters, "since", now - 3600.0, now)
        since = min(max(since, now - max(gateway.config.keep_log, seconds)), now)
        first, last = int(since // seconds), int(now // seconds)
        if last - first >= _MOST_STEPS:
            least = math.ceil((now - since) / (_MOST_STEPS - 1))
            raise InvalidRequestError(
                f"that is over {_MOST_STEPS} steps: make 'step' {least} or more", param="step"
            )
        steps: dict[int, Step] = {}
        if self._overview is not None:
            steps = await self._overview.steps(first, last, seconds)
        others = await asked(gateway.siblings, "now", [first, last, seconds])
        all_now = [self.now_here(first, last, seconds), *others.values()]
        for at, begun in [one for some in all_now for one in some["begun"]]:
            if self._overview is not None:
                steps.setdefault(at, Step()).begun += begun
        total, shown = await asyncio.to_thread(_counted, steps, first, last, seconds)
        return {
            "at": round(now, 3),
            "since": first * seconds,
            "step": seconds,
            "steps": shown,
            "totals": total.shown(),
            "errors": [
                {"error": code, "count": one.count} for code, one in total.by("error").items() if code
            ],
            "upstreams": self._upstreams(total, all_now),
            "models": _named("model", total),
            "keys": await self._keys(total),
            "now": {
                "running": sum(one["running"] for one in all_now),
                "waiting": sum(one["waiting"] for one in all_now),
            },
            "log": {"kept": self._overview is not None, "days": gateway.config.keep_log / 86_400},
            "journal": {
                "kind": type(gateway.journal).__name__.removesuffix("Journal").lower(),
                "durable": gateway.journal.durable,
            },
            "version": await self._own_version(),
            "uptime": round(time.monotonic() - gateway.made, 1),
        }

    def now_here(self, first: int, last: int, seconds: float) -> dict[str, Any]:
        """Return what is so now at this worker; of what runs, in which of the steps it began."""
        relays = self._gateway.relays
        running = [relay for relay in map(relays.get, relays.running()) if relay is not None]
        began = Counter(int(relay.log.info.created // seconds) for relay in running)
        return {
            "running": len(running),
            "waiting": self._gateway.gate.waiting,
            "begun": [(at, count) for at, count in began.items() if first <= at <= last],
            "in_flight": in_flight(running),
            "set_aside": [(*circuit, left) for circuit, left in relays.set_aside().items()],
        }

    async def _own_version(self) -> str:
        if not self._version:
            self._version = await asyncio.to_thread(version, "everytoken")  # it reads a file
        return self._version

    def _upstreams(self, total: Step, all_now: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        gateway = self._gateway
        flying = sum_of([one["in_flight"] for one in all_now])
        longest: dict[tuple[str, str], float] = {}  # each worker finds out for itself
        for name, model, seconds in [circuit for one in all_now for circuit in one["set_aside"]]:
            longest[name, model] = max(seconds, longest.get((name, model), 0.0))
        aside: dict[str, list[dict[str, Any]]] = {}
        for (name, model), seconds in longest.items():
            aside.setdefault(name, []).append({"model": model, "seconds": round(seconds, 1)})
        names = dict.fromkeys([*gateway.upstreams, *(name for name, _ in total.attempts if name)])
        return [
            {
                "upstream": name,
                "configured": name in gateway.upstreams,
                "state": "set aside" if name in aside else "ready",
                "set_aside": aside.get(name, [])[:_NAMES],
                "in_flight": flying.get(name, 0),
                "latency": self._latency(name),
                **_attempts(total.attempts, name),
            }
            for name in names
        ]

    def _latency(self, name: str) -> list[dict[str, Any]]:
        """Return what is measured of an upstream, by model: seconds to the first token, and tokens a second after it."""
        found = []
        for (upstream, model), learned in self._gateway.relays.learned.all().items():
            named, _, api = upstream.removesuffix(")").partition(" (")
            if named == name and learned.first_token is not None:
                found.append(
                    {
                        "model": model,
                        "api": api or _FIRST_API,
                        "first_token": round(learned.first_token, 4),
                        "rate": None if learned.rate is None else round(learned.rate, 1),
                    }
                )
        return found[:_NAMES]

    async def _keys(self, total: Step) -> list[dict[str, Any]]:
        """Return what each key has used, and spent of its budget."""
        gateway = self._gateway
        keys: dict[str, Key] = {key.name: key for key in gateway.keys.active()}
        looked = list(keys.values())[:_KEYS]
        amounts = zip(looked, await gateway.meter.spent_by(looked), strict=True)
        spent = {key.name: amount for key, amount in amounts}
        used = {one["key"]: one for one in _named("key", total)}
        found = []
        for name in dict.fromkeys([*used, *spent]):
            one = used.get(name) or {"key": name, "responses": 0, "completed": 0, "tokens": 0, "cost": 0.0}
            key = keys.get(name)
            rates = gateway.meter.rates_of(key)
            found.append(
                {
                    **one,
                    "id": None if key is None else key.id,
                    "admin": key is not None and key.admin,
                    "state": "gone" if key is None and name else "active",
                    "spent": spent.get(name),
                    "limits": {"usd_per_day": rates.usd_per_day, "usd_per_month": rates.usd_per_month},
                }
            )
        return found


def _counted(
    steps: dict[int, Step], first: int, last: int, seconds: float
) -> tuple[Step, list[dict[str, Any]]]:
    """Return the sum of steps, and each of them as JSON has it."""
    total = Step()
    for step in steps.values():
        total.add(step)
    empty = Step().shown()
    shown = [
        {"at": at * seconds, **(steps[at].shown() if at in steps else empty)} for at in range(first, last + 1)
    ]
    return total, shown


def _attempts(attempts: Counter[tuple[str, str | None]], name: str) -> dict[str, Any]:
    ours = {code: count for (upstream, code), count in attempts.most_common() if upstream == name}
    causes = {code: count for code, count in ours.items() if code not in (None, _STOPPED)}
    return {"attempts": sum(ours.values()), "failed": sum(causes.values()), "causes": causes}


def _named(field: str, total: Step) -> list[dict[str, Any]]:
    completed = total.completed(field)
    return [
        {
            field: name,
            "responses": one.count,
            "completed": completed[name],
            "tokens": one.input + one.output,
            "cost": round(one.cost, 9),
        }
        for name, one in islice(total.by(field).items(), _NAMES)
    ]
