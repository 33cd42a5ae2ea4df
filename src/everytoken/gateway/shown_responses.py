"""`/admin/responses`: what runs and what has run."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import MethodNotAllowedError, StreamNotFoundError
from everytoken.gateway.http import answer_json
from everytoken.gateway.keys.calls import key_api
from everytoken.gateway.requestlog.query import Query, query_from
from everytoken.gateway.siblings import asked

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services

__all__ = ["PATH", "running_here", "serve"]

PATH: Final = re.compile(r"/admin/responses(?:/([^/]{1,200})(?:/(stop))?)?/?")

_NO_STORE: Final = [(b"cache-control", b"no-store")]


async def serve(gateway: Services, request: Request) -> None:
    """Serve an administrator, who has been let in. Raises `InvalidRequestError`, `StreamNotFoundError`, `JournalError`."""
    found = PATH.fullmatch(request.path)
    assert found is not None
    name, action = found.groups()
    allowed = ("POST",) if action else ("GET", "HEAD")
    if request.method not in allowed:
        raise MethodNotAllowedError(f"{request.path[:200]} allows only {' or '.join(allowed)}", allow=allowed)
    if action:
        await gateway.relays.stop(name)
        await answer_json(request, 200, {"response": name, "stopped": True}, _NO_STORE)
    elif name:
        await answer_json(request, 200, await _one(gateway, name), _NO_STORE)
    else:
        await answer_json(request, 200, {"responses": await _listed(gateway, request.query())}, _NO_STORE)


async def _listed(gateway: Services, parameters: dict[str, str]) -> list[dict[str, Any]]:
    query = query_from(parameters, time.time())
    outcome = query.wanted.get("outcome")
    running: list[dict[str, Any]] = []
    if outcome in (None, "running"):
        found = sorted(await _running(gateway), key=lambda entry: entry["at"], reverse=True)
        running = [entry for entry in found if query.matches(entry)][: query.limit]
    if outcome == "running":
        return running
    ended = await gateway.request_log.find(query)
    known = {entry["response"] for entry in ended}  # one may have ended while they were looked for
    return [*(entry for entry in running if entry["response"] not in known), *ended][: query.limit]


async def _running(gateway: Services) -> list[dict[str, Any]]:
    """Return what is written now by all workers."""
    found = running_here(gateway)
    for others in (await asked(gateway.siblings, "running")).values():
        found += others
    return found


def running_here(gateway: Services) -> list[dict[str, Any]]:
    """Return what is written here now, as far as it has come."""
    now = time.time()
    found = []
    for relay in map(gateway.relays.get, gateway.relays.running()):
        if relay is None:
            continue
        info, recovery = relay.log.info, relay.recovery
        attempts = recovery.attempts
        origin = attempts[0].started if attempts else 0.0
        found.append(
            {
                "at": round(info.created, 3),
                "response": info.id,
                "request": info.meta.get("request_id", ""),
                "key": gateway.keys.name_of(info.owner),
                "api": key_api(recovery.request.dialect),
                "model": recovery.request.model,
                "outcome": "running",
                "upstreams": list(dict.fromkeys(attempt.upstream for attempt in attempts)),
                "seconds": round(max(0.0, now - info.created), 3),
                "records": relay.log.tail,
                "bytes": relay.received,
                "readers": relay.readers.count,
                "attempts": [attempt.describe(origin) for attempt in attempts],
            }
        )
    return found


async def _one(gateway: Services, name: str) -> dict[str, Any]:
    """Return the entry of a response, by its own id or that of the request it answers."""
    for entry in await _running(gateway):
        if name in (entry["response"], entry["request"]):
            return entry
    for field in ("response", "request"):
        found = await gateway.request_log.find(Query(wanted={field: name}, limit=1))
        if found:
            return found[0]
    raise StreamNotFoundError(f"the request log has no response {name!r}")
