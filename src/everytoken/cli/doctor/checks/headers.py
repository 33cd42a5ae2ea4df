"""What is lost on the way: `id:` lines, headers of the response, headers of the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from everytoken.cli.doctor.advice import changes
from everytoken.cli.doctor.findings import Change, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.cli.doctor.measured import Measured, Stream

__all__ = ["SENT", "headers"]

SENT: Final = {
    "last-event-id": "0",
    "idempotency-key": "everytoken-doctor",
    "everytoken-disconnect": "continue",
}
"""The headers of a request that callers use and a probe sends, to see whether they arrive."""

# What is lost without each; nginx keeps X-Accel-Buffering to itself, as it should.
_NEEDED: Final = {
    "location": "clients do not learn where to resume a response",
    "stream-next-offset": "clients do not learn from which offset to resume",
    "x-request-id": "an answer cannot be found in the gateway's log",
    "content-type": "clients do not know that it is an event stream",
    "cache-control": "caches and compressors on the way may hold the stream back",
}
_HAS: Final = {"cache-control": "no-transform", "content-type": "text/event-stream"}
_ASKED: Final = {
    "last-event-id": "clients resume from the beginning",
    "idempotency-key": "a call that is sent again is paid for again",
    "everytoken-disconnect": "callers cannot say what happens when they leave",
    "x-request-id": "the caller's id of a request is not the one in the gateway's log",
}


def headers(measured: Measured) -> Iterator[Finding]:
    """Say which headers and `id:` lines do not arrive."""
    streams = [
        stream for stream in [measured.greeting, *measured.paced] if stream is not None and stream.seen
    ]
    if not streams:
        return
    yield from _lost(measured, streams)
    yield from _location(measured, streams[0])
    yield from _not_passed(measured, streams)
    wrong = [stream for stream in streams if any(event.id != str(event.number) for event in stream.events)]
    if wrong:
        without = sum(event.id != str(event.number) for event in wrong[0].events)
        yield Finding(
            "ids-lost",
            "error",
            "The `id:` lines of events do not arrive.",
            "Without them a client cannot resume where it was cut.",
            changes("ids", measured.products),
            f"{without} of {len(wrong[0].events)} events came without their id",
        )
    host = str(streams[0].seen.get("headers", {}).get("host", ""))
    if measured.own_host and host and host != measured.own_host and measured.products != ("nextjs",):
        yield Finding(
            "host-changed",
            "warning",
            f"The Host header is changed on the way, from {measured.own_host} to {host}.",
            "Web pages of the public name count as pages of another origin, and may be refused.",
            changes("host", measured.products),
            f"the gateway was asked for {host}",
        )


def _lost(measured: Measured, streams: list[Stream]) -> Iterator[Finding]:
    lost: dict[str, str] = {}
    for stream in streams:
        for name, value in stream.seen.get("sent", {}).items():
            got = stream.headers.get(name)
            if name not in _NEEDED:
                continue
            if got is None:
                lost[name] = "missing"
            elif _HAS.get(name, "") not in got:
                lost[name] = f"changed to {got[:60]!r}"
            elif name in {"stream-next-offset", "x-request-id"} and got != value:
                lost[name] = f"changed from {value[:60]!r} to {got[:60]!r}"
    if lost:
        yield Finding(
            "headers-lost",
            "error",
            f"Headers of the response are lost on the way: {', '.join(map(_title, lost))}.",
            f"{'; '.join(_NEEDED[name] for name in lost).capitalize()}.",
            changes("headers", measured.products),
            "; ".join(f"{_title(name)}: {how}" for name, how in lost.items()),
        )


def _location(measured: Measured, stream: Stream) -> Iterator[Finding]:
    """Say that Location leads to where the gateway is not, as clients see it."""
    location, prefix = stream.headers.get("location", ""), urlsplit(measured.url).path
    try:
        there = urlsplit(location)
    except ValueError:
        return
    if not location or (there.path.startswith(f"{prefix}/v1/") and there.netloc in {"", measured.own_host}):
        return
    lines = changes("location", measured.products)
    yield Finding(
        "location-elsewhere",
        "error",
        "The Location of a response leads elsewhere.",
        "Clients that resume a response by it do not find it.",
        tuple(Change(one.where, one.line.replace("PREFIX", prefix)) for one in lines),
        f"Location: {location[:200]}; the gateway is at {measured.url}",
    )


def _not_passed(measured: Measured, streams: list[Stream]) -> Iterator[Finding]:
    wanted = {**SENT, "x-request-id": measured.request_id}
    got = streams[0].seen.get("headers", {})
    lost = [name for name, value in wanted.items() if value and got.get(name) != value]
    if lost:
        only_id = lost == ["x-request-id"]
        yield Finding(
            "request-headers-lost",
            "note" if only_id else "error",
            f"Headers of the request do not reach the gateway: {', '.join(map(_title, lost))}.",
            f"{'; '.join(_ASKED[name] for name in lost).capitalize()}.",
            changes("request-headers", measured.products),
        )


def _title(name: str) -> str:
    return "x-request-id" if name == "x-request-id" else name.title()
