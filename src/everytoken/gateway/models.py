"""`GET /v1/models` and `/v1/models/{id}`: what the upstreams offer, under the names callers use; and the default."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import EverytokenError, InvalidRequestError, ModelNotFoundError, StatusError
from everytoken.gateway.http import answer_json
from everytoken.gateway.keys.calls import check_model
from everytoken.redaction import redacted

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services

__all__ = ["HINT", "PREFIX", "list_models", "show_model", "with_model"]

PREFIX: Final = "/v1/models/"

HINT: Final = "name one, or give the gateway a default: everytoken serve --model NAME, or default_model in its configuration"
_FRESH = 60.0  # seconds for which the one model that is served is not asked for again


async def list_models(gateway: Services, request: Request) -> None:
    """Answer with the models of all upstreams; one that does not answer now is left out, unless none does."""
    gateway.owner(request)
    models, _ = await _listed(gateway)
    shown = [model for name, model in models.items() if request.key is None or request.key.allows(name)]
    await answer_json(request, 200, {"object": "list", "data": shown})


async def show_model(gateway: Services, request: Request, model_id: str) -> None:
    """Answer with one model. Raises `ModelNotFoundError`, or the error of an upstream that might have it."""
    gateway.owner(request)
    check_model(request.key, model_id)
    models, failed = await _listed(gateway)
    if model_id not in models:
        if failed:
            raise failed[0]
        raise ModelNotFoundError(f"no upstream lists the model {model_id[:200]!r}", param="model")
    await answer_json(request, 200, models[model_id])


async def with_model(gateway: Services, body: dict[str, Any], deployment: str = "") -> dict[str, Any]:
    """Return a request with a model: the caller's, `deployment`, the configured default, or the only one served.

    Where the upstreams list none, they may have one for any name: the request stays without. Raises
    `InvalidRequestError` if they have several, and the error of upstreams that all fail.
    """
    if not body.get("model") and deployment:
        return {**body, "model": deployment}
    body = gateway.with_model(body)
    if body.get("model"):
        return body
    now = asyncio.get_running_loop().time()
    only, until = gateway.only_model
    if not only or now >= until:
        models, _ = await _listed(gateway)
        if len(models) > 1:
            raise InvalidRequestError(
                f"the request names no model, and several are served: {HINT}", param="model"
            )
        only = next(iter(models), "")
        gateway.only_model = only, now + _FRESH
    return {**body, "model": only} if only else body


async def _listed(gateway: Services) -> tuple[dict[str, dict[str, Any]], list[EverytokenError]]:
    """Return the models of all upstreams by their ids, and the errors of those that failed.

    Raises the first of these if no upstream has answered.
    """
    listed = await asyncio.gather(*(_models(gateway, name) for name in gateway.upstreams))
    failed = [result for result in listed if isinstance(result, EverytokenError)]
    if failed and len(failed) == len(listed):
        raise failed[0]
    models: dict[str, dict[str, Any]] = {}
    for result in listed:
        if not isinstance(result, EverytokenError):
            for model in result:
                models.setdefault(model["id"], model)
    return models, failed


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
