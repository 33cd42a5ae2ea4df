"""`POST /admin/probe`: has the gateway try one of its upstreams with a few tokens, in each API it is configured for."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import EverytokenError, InvalidRequestError, StatusError
from everytoken.gateway.inspection.asking import ask
from everytoken.gateway.inspection.facts import server_of
from everytoken.gateway.targets import offered
from everytoken.translation.registry import DIALECTS

if TYPE_CHECKING:
    from everytoken.gateway.config import UpstreamConfig
    from everytoken.gateway.services import Services
    from everytoken.upstream import Upstream

__all__ = ["probe_upstream"]

_PATIENCE: Final = 20.0  # seconds for an answer of a few tokens
_MOST_NAMES: Final = 20  # models that are named in an answer


async def probe_upstream(gateway: Services, body: dict[str, Any]) -> dict[str, Any]:
    """Return what an upstream answers, as facts. `body`: `{"upstream": name, "model": name}`, the model if it matters.

    Raises `InvalidRequestError`.
    """
    name, model = body.get("upstream"), body.get("model", "")
    if not isinstance(model, str):
        raise InvalidRequestError("'model' must be a text", param="model")
    configured = next((one for one in gateway.config.upstream if one.name == name), None)
    upstream = gateway.upstreams.get(name) if isinstance(name, str) else None
    if configured is None or upstream is None:
        known = ", ".join(gateway.upstreams) or "none"
        raise InvalidRequestError(f"there is no upstream {name!r}; there are: {known}", param="upstream")
    told: dict[str, Any] = {"upstream": name, "server": server_of(configured.url), "at": time.time()}
    if not configured.url.startswith(("http://", "https://")):
        return {**told, "skipped": "it is not reached over HTTP"}
    models = await _models(gateway, configured, upstream)
    model = model or _model_of(gateway, configured, models)
    apis = offered(configured)
    tried = tuple(DIALECTS) if apis is None else apis
    answers = await asyncio.gather(*(ask(upstream, api, model, configured.extra, _PATIENCE) for api in tried))
    return {
        **told,
        "model": model,
        "models": models,
        "configured_apis": None if apis is None else list(apis),
        "apis": [
            {**one, "message": gateway.relays.redact(upstream.redact(one.get("message", "")))}
            for one in answers
        ],
    }


async def _models(gateway: Services, configured: UpstreamConfig, upstream: Upstream) -> dict[str, Any]:
    """Return which models it lists, and which of those that are configured it does not."""
    try:
        listed = [model["id"] for model in await upstream.models()]
    except EverytokenError as error:
        status = error.upstream_status if isinstance(error, StatusError) else None
        message = gateway.relays.redact(upstream.redact(error.message))
        return {"code": error.code, "status": status, "message": message}
    wanted = sorted(set(configured.names.values()))
    missing = [name for name in wanted if name not in listed] if listed else []
    return {"count": len(listed), "first": listed[:_MOST_NAMES], "missing": missing[:_MOST_NAMES]}


def _model_of(gateway: Services, configured: UpstreamConfig, models: dict[str, Any]) -> str:
    """Return the model to ask: one that is configured, or one that is listed."""
    missing = models.get("missing", ())
    named = [name for name in configured.names.values() if name not in missing]
    named += configured.names.values()
    if not named and gateway.config.default_model:
        named = [gateway.config.default_model]
    return named[0] if named else next(iter(models.get("first", ())), "") or "default"
