"""`GET /v1/models`: what the upstreams offer, under the names callers use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from everytoken.errors import EverytokenError, StatusError
from everytoken.gateway.http import answer_json
from everytoken.redaction import redacted

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services

__all__ = ["list_models"]


async def list_models(gateway: Services, request: Request) -> None:
    """Answer with the models of all upstreams; one that does not answer now is left out, unless none does."""
    gateway.keys.owner(request)
    listed = await asyncio.gather(*(_models(gateway, name) for name in gateway.upstreams))
    failed = [result for result in listed if isinstance(result, EverytokenError)]
    if failed and len(failed) == len(listed):
        raise failed[0]
    models: dict[str, dict[str, Any]] = {}
    for result in listed:
        if not isinstance(result, EverytokenError):
            for model in result:
                models.setdefault(model["id"], model)
    await answer_json(request, 200, {"object": "list", "data": list(models.values())})


async def _models(gateway: Services, name: str) -> list[dict[str, Any]] | EverytokenError:
    configured = gateway.aliases(name)
    if configured:
        return [{"id": alias, "object": "model", "created": 0, "owned_by": name} for alias in configured]
    try:
        listed = await gateway.upstreams[name].models()
        # In a thread: it may be megabytes of text.
        shown: list[dict[str, Any]] = await asyncio.to_thread(redacted, listed, gateway.relays.redact)
    except StatusError as error:
        # Several servers have no such route, and serve their one model under any name.
        return [] if error.upstream_status in {404, 405, 501} else error
    except EverytokenError as error:
        return error
    return shown
