"""Whether the gateway can be reached, by this name and with this key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from everytoken.cli.doctor.advice import changes, setting
from everytoken.cli.doctor.findings import Change, Finding
from everytoken.cli.doctor.products import named, subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.cli.doctor.measured import Measured, Stream

__all__ = ["access"]

_NO_GATEWAY: Final = frozenset({502, 503, 504, *range(520, 528), 530})  # from 520 on: Cloudflare's
_NEEDED: Final = "an API key is needed"


def access(measured: Measured) -> Iterator[Finding]:
    """Say why a probe is refused."""
    stream = measured.greeting
    if stream is None or stream.seen or not stream.status:
        return
    said = f"status {stream.status}: {_message(stream)}"
    if stream.from_gateway:
        yield from _refused_by_gateway(measured, stream, said)
        return
    hop, products = named(measured.products), measured.products
    if 300 <= stream.status < 400:
        where = stream.headers.get("location", "elsewhere")[:200].partition("?")[0].removesuffix("/v1/probe")
        what = f"{subject(products)} sends callers on to {where}."
        why = "Clients lose their key or the body of a request on the way, or do not follow."
        yield Finding("redirected", "error", what, why, (Change("clients", f"use {where}"),), said)
    elif stream.status in _NO_GATEWAY:
        what, change = f"{subject(products)} does not reach the gateway.", changes("unreachable", products)
        yield Finding(
            "gateway-unreachable", "error", what, "No request arrives at the gateway.", change, said
        )
    elif stream.status in {401, 403, 407}:
        what = f"{subject(products)} asks for credentials of its own before the gateway is asked."
        why = "Clients send their API key in the header that it reads, so they cannot call."
        yield Finding("proxy-refuses", "error", what, why, (Change(hop, "let /v1/ and /api/ through"),), said)
    else:
        what = (
            f"{subject(products)} does not pass /v1/ to the gateway, or the gateway is too old to be probed."
        )
        why = "What is not passed on cannot be called."
        yield Finding("path-not-passed", "error", what, why, changes("path", products), said)


def _refused_by_gateway(measured: Measured, stream: Stream, said: str) -> Iterator[Finding]:
    message = _message(stream)
    if stream.status == 401 and _NEEDED in message:
        if measured.has_key:
            what = (
                f"The API key is lost on the way: {named(measured.products)} does not pass on Authorization."
            )
            change = changes("request-headers", measured.products)
        else:
            what = "The gateway needs an API key, and none was given."
            change = (Change("the caller", "everytoken doctor --key KEY, or EVERYTOKEN_API_KEY=KEY"),)
        yield Finding("key-missing", "error", what, "Calls without a key are refused.", change, said)
    elif stream.status in {401, 429}:
        what = f"The gateway does not accept this API key: {message}."
        change = (
            Change("the gateway's machine", "everytoken keys list  # and: everytoken keys create NAME"),
        )
        yield Finding("key-refused", "error", what, "Calls with this key are refused.", change, said)
    elif stream.status == 421:
        what = f"The gateway does not answer to the name {measured.own_host}."
        why = "A gateway on loopback accepts loopback names and those in hosts only."
        yield Finding(
            "host-refused", "error", what, why, setting(f'hosts = ["{_name(measured.own_host)}"]'), said
        )
    elif stream.status == 404:
        what = "The gateway is too old to be probed, or something changes the path on the way."
        change = changes("path", measured.products)
        yield Finding("no-probe", "error", what, "Nothing else can be measured.", change, said)
    else:
        what = f"The gateway refuses the probe: {message}."
        yield Finding("probe-refused", "error", what, "Nothing else can be measured.", (), said)


def _message(stream: Stream) -> str:
    try:
        value = json.loads(stream.body)
        return str(value["error"]["message"]).rstrip(".")[:300]
    except (ValueError, LookupError, TypeError):
        return stream.problem or " ".join(stream.body.split())[:100] or "no words"


def _name(host: str) -> str:
    return host if host.endswith("]") else host.partition(":")[0]
