"""`GET /v1/models`: what the upstreams offer, under the names callers use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from everytoken.errors import EverytokenError
from everytoken.gateway.http import answer_json

if TYPE_CHECKING:
    from everytoken.gateway.app import Gateway
    from everytoken.gateway.http import Request

__all__ = ["list_models"]


async def list_models(gateway: Gateway, request: Request) -> None:
    """Answer with the models of all upstreams; one that does not answer now is left out, unless none does."""
    gateway.keys.owner(request)
    listed = await asyncio.gather(
        *(_models(gateway, name) for name in gateway.upstreams), return_exceptions=True
    )
    models: dict[str, dict[str, Any]] = {}
    for result in listed:
        if isinstance(result, list):
            for model in result:
                models.setdefault(model["id"], model)
        elif not isinstance(result, EverytokenError) or len(listed) == 1:
            raise result
    await answer_json(request, 200, {"object": "list", "data": list(models.values())})


async def _models(gateway: Gateway, name: str) -> list[dict[str, Any]]:
    configured = gateway.aliases(name)
    if configured:
        return [{"id": alias, "object": "model", "created": 0, "owned_by": name} for alias in configured]
    return await gateway.upstreams[name].models()
