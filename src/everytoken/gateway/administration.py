"""`/admin`: what an administrator sees and changes, with an admin key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import InvalidRequestError, MethodNotAllowedError, RouteNotFoundError
from everytoken.gateway import shown_responses
from everytoken.gateway.http import answer_json, read_json_object
from everytoken.gateway.inspection.facts import health
from everytoken.gateway.inspection.upstreams import probe_upstream

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services

__all__ = ["PREFIX", "serve"]

PREFIX: Final = "/admin/"

_KEYS: Final = re.compile(r"keys(?:/([^/]{1,100})(?:/(revoke|rotate|limits))?)?/?")
_INSPECTIONS: Final = {"/admin/health": ("GET", "HEAD"), "/admin/probe": ("POST",)}
_MAX_BODY: Final = 64 * 1024
_OVERLAP: Final = 86_400.0  # seconds
_NO_STORE: Final = [(b"cache-control", b"no-store")]


async def serve(gateway: Services, request: Request) -> None:
    """Serve a request of an administrator. Raises `AuthenticationError`, `InvalidRequestError`, `KeyNotFoundError`."""
    gateway.keys.administrator(request)
    if shown_responses.PATH.fullmatch(request.path) is not None:
        await shown_responses.serve(gateway, request)
        return
    if request.path in _INSPECTIONS:
        await _inspect(gateway, request)
        return
    found = _KEYS.fullmatch(request.path, len(PREFIX))
    if found is None:
        raise RouteNotFoundError(f"Unknown path {request.path[:200]}")
    name, action = found.groups()
    allowed = ("POST",) if action else ("GET", "HEAD") if name else ("GET", "HEAD", "POST")
    if request.method not in allowed:
        raise MethodNotAllowedError(f"{request.path[:200]} allows only {' or '.join(allowed)}", allow=allowed)
    keys = gateway.keys
    if request.method != "POST":
        if name:
            key = keys.named(name)
            value = {**keys.shown(key), "spent": await gateway.meter.spent(key)}
        else:
            value = {"keys": keys.all()}
        await answer_json(request, 200, value, _NO_STORE)
        return
    data = await request.body(_MAX_BODY)
    body = read_json_object(data) if data else {}
    if action == "revoke":
        key = await keys.revoke(name, stop=_flag(body, "stop"))
        await answer_json(request, 200, keys.shown(key), _NO_STORE)
        return
    if action == "limits":
        await answer_json(request, 200, keys.shown(await keys.limit(name, body.get("limits"))), _NO_STORE)
        return
    if action == "rotate":
        key, secret = await keys.rotate(name, _seconds(body, "overlap", _OVERLAP))
    else:
        key, secret = await keys.create(body)
    await answer_json(request, 200 if action else 201, {**keys.shown(key), "secret": secret}, _NO_STORE)


async def _inspect(gateway: Services, request: Request) -> None:
    """Answer what `everytoken doctor` asks."""
    allowed = _INSPECTIONS[request.path]
    if request.method not in allowed:
        raise MethodNotAllowedError(f"{request.path} allows only {' or '.join(allowed)}", allow=allowed)
    if request.method != "POST":
        value = await health(gateway)
    else:
        value = await probe_upstream(gateway, read_json_object(await request.body(_MAX_BODY)))
    await answer_json(request, 200, value, _NO_STORE)


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequestError(f"{name!r} must be true or false", param=name)
    return value


def _seconds(body: dict[str, Any], name: str, default: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequestError(f"{name!r} must be a number of seconds", param=name)
    return float(value)
