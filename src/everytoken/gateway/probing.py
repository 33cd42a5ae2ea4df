"""`/v1/probe`: a paced event stream that costs nothing, for finding out what the path to the gateway does to streams."""

from __future__ import annotations

import asyncio
import re
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.errors import InvalidRequestError, RouteNotFoundError
from everytoken.gateway.follow import KEEP_ALIVE, ReaderConnection
from everytoken.gateway.http import answer_json, start
from everytoken.gateway.model_api import STREAM_HEADERS
from everytoken.gateway.siblings import asked
from everytoken.json import dumps

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services

__all__ = ["PATH", "PREFIX", "VERSION", "probe", "show_probe"]

VERSION: Final = version("everytoken")  # here, because it reads files

PATH: Final = "/v1/probe"
PREFIX: Final = "/v1/probe/"

# Seconds between a body and the head, as a model takes them. Go's proxies, such as Caddy, cut a response that begins before
# they have seen the end of the request's body (golang/go issue 40747); a model's response begins later.
_THINKING: Final = 0.1
_LONGEST: Final = 200  # characters of a header that is shown
_PADDING: Final = "x"
_NUMBER: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,3})?")
# What the path may change of a request, and what of it shows who has passed it on. Never a secret.
_SHOWN: Final = (
    "host",
    "via",
    "forwarded",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-request-id",
    "accept",
    "accept-encoding",
    "connection",
    "last-event-id",
    "idempotency-key",
    "everytoken-disconnect",
)
_PRESENT: Final = ("authorization", "x-forwarded-for", "cf-ray")


class _Asked(msgspec.Struct, frozen=True):
    """What a probe is to be. `pause` is in seconds from one event to the next, `idle` those of silence at the end."""

    events: int
    pause: float
    idle: float
    size: int
    hints: bool


async def probe(gateway: Services, request: Request) -> None:
    """Send events at a steady pace, each with the time when it was sent.

    The first says how the request has arrived. Raises `InvalidRequestError`, `OverloadedError`.
    """
    gateway.owner(request)
    asked = _asked(request.query())
    size = len(await request.body(gateway.config.max_body)) if request.method == "POST" else 0
    with gateway.probes.begin() as probe_id:
        client = ReaderConnection(request)
        try:
            head = [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                *(STREAM_HEADERS if asked.hints else ()),
                (b"location", request.url(f"{PREFIX}{probe_id}")),
                (b"stream-next-offset", b"0"),
                (b"access-control-expose-headers", b"Location, Stream-Next-Offset"),
            ]
            seen = {**_seen(request), "body": size, "keep_alive": KEEP_ALIVE, "probe": probe_id}
            seen["sent"] = {name.decode(): value.decode("latin-1") for name, value in [*head, *request.extra]}
            if request.method == "POST":
                await _wait_until(client, asyncio.get_running_loop().time() + _THINKING)
            await start(request, 200, head)
            if await _send_events(client, asked, seen):
                gateway.probes.ended(probe_id)
                await client.finish()
        finally:
            client.close()


async def show_probe(gateway: Services, request: Request, probe_id: str) -> None:
    """Answer with how a probe is. Raises `RouteNotFoundError` for one that is not known here."""
    gateway.owner(request)
    state = gateway.probes.state(probe_id)
    if state is None:
        answers = await asked(gateway.siblings, "probe", probe_id)
        state = next((answer for answer in answers.values() if answer is not None), None)
    if state is None:
        raise RouteNotFoundError("there is no such probe at this node")
    await answer_json(request, 200, {"probe": probe_id, "state": state}, [(b"cache-control", b"no-store")])


async def _send_events(client: ReaderConnection, asked: _Asked, seen: dict[str, Any]) -> bool:
    """Write the events; return whether the client has stayed."""
    loop = asyncio.get_running_loop()
    padding = {"padding": _PADDING * asked.size} if asked.size else {}
    due = loop.time()
    for number in range(asked.events + 1):
        if number:
            due += asked.pause
            await _wait_until(client, due)
        if client.gone:
            return False
        told = {"n": number, "at": time.time(), **(padding if number else seen)}
        await client.send(b"data: %b\nid: %d\n\n" % (dumps(told), number))
    await _wait_until(client, loop.time() + asked.idle)
    if client.gone:
        return False
    last = asked.events + 1
    await client.send(b"data: %b\nid: %d\n\n" % (dumps({"n": last, "at": time.time(), "end": True}), last))
    return not client.gone


async def _wait_until(client: ReaderConnection, due: float) -> None:
    loop = asyncio.get_running_loop()
    while not client.gone and loop.time() < due:
        await client.wait(due)


def _seen(request: Request) -> dict[str, Any]:
    """Return how a request has arrived."""
    named = {name: request.header(name.encode()) for name in _SHOWN}
    return {
        "everytoken": VERSION,
        "http_version": str(request.scope.get("http_version", "")),
        "scheme": str(request.scope.get("scheme", "")),
        "method": request.method,
        "headers": {name: value[:_LONGEST] for name, value in named.items() if value is not None},
        "present": [name for name in _PRESENT if request.header(name.encode()) is not None],
    }


def _asked(query: dict[str, str]) -> _Asked:
    hints = query.get("hints", "yes")
    if hints not in {"yes", "no"}:
        raise InvalidRequestError("'hints' must be 'yes' or 'no'", param="hints")
    return _Asked(
        events=int(_number(query, "events", 5, 0, 100)),
        pause=_number(query, "interval_ms", 200, 0, 5000) / 1000,
        idle=_number(query, "idle_s", 0, 0, 900),
        size=int(_number(query, "size", 0, 0, 16_384)),
        hints=hints == "yes",
    )


def _number(query: dict[str, str], name: str, default: float, lowest: float, highest: float) -> float:
    text = query.get(name)
    if text is None:
        return default
    value = float(text) if _NUMBER.fullmatch(text) else -1
    if not lowest <= value <= highest:
        raise InvalidRequestError(f"{name!r} must be a number from {lowest} to {highest}", param=name)
    return value
