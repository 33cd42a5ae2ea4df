"""`GET /v1/stream/{id}/result`: the result of a response, for anyone who may read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.gateway.http import answer_json

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services
    from everytoken.journal import Log

__all__ = ["answer_result"]


async def answer_result(gateway: Services, request: Request, log: Log) -> None:
    """Answer with the outcome of a response, its usage, what it has cost and every attempt; nulls while it is written.

    It is the only place that tells the cost: the usage of a single attempt is passed on as the upstream wrote it, and a
    response that was stopped or broken off has no usage in its stream.
    """
    result = log.info.result or {}
    attempts: list[dict[str, Any]] = result.get("attempts", [])
    told: dict[str, Any] = {
        "id": log.info.id,
        "outcome": result.get("outcome"),
        "error": result.get("error"),
        "usage": result.get("usage"),
        "cost": await _cost(gateway, attempts, log.info.meta.get("dialect", "")),
        "attempts": attempts,
    }
    relay = gateway.relays.get(log.info.id)
    if relay is not None and not result:
        tried = relay.recovery.attempts
        told["running"] = [attempt.describe(tried[0].started) for attempt in tried]
    await answer_json(request, 200, told, [(b"cache-control", b"no-store")])


async def _cost(gateway: Services, attempts: list[dict[str, Any]], dialect: str) -> float | None:
    """Return the US dollars of all attempts together, by today's prices; None if that of one is not known."""
    if not attempts:
        return None
    prices = gateway.request_log.prices
    await prices.ready()
    urls = {upstream.name: upstream.url for upstream in gateway.config.upstream}
    return prices.of_response(attempts, dialect, urls)
