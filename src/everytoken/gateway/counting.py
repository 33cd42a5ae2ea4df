"""`POST /v1/messages/count_tokens`: the upstream's own answer, as it comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from everytoken.dialects.anthropic_messages.dialect import ANTHROPIC_MESSAGES
from everytoken.errors import (
    EverytokenError,
    ModelNotFoundError,
    NotImplementedHereError,
    StalledError,
    StatusError,
)
from everytoken.gateway.http import answer, read_json_object
from everytoken.gateway.keys.calls import check_model
from everytoken.gateway.models import with_model
from everytoken.gateway.passing import passed_up
from everytoken.recovery.refusals import is_only_here
from everytoken.relay.heads import passed_on
from everytoken.upstream.one_piece import OnePiece

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services
    from everytoken.upstream import Upstream

__all__ = ["PATH", "count_tokens"]

PATH: Final = "/v1/messages/count_tokens"

_BELOW: Final = "/messages/count_tokens"
_LIMIT: Final = 60.0  # seconds; nothing is generated


async def count_tokens(gateway: Services, request: Request) -> None:
    """Answer with what the first upstream says that counts tokens.

    Raises `InvalidRequestError`, `ModelNotFoundError`, and the error of the last upstream that was asked.
    """
    gateway.owner(request, "messages")
    body = read_json_object(await request.body(gateway.config.max_body))
    asked = ANTHROPIC_MESSAGES.request(await with_model(gateway, body))
    check_model(request.key, asked.model)
    headers = {**ANTHROPIC_MESSAGES.headers, **passed_up(request.scope["headers"], gateway.config.pass_up)}
    error: EverytokenError = ModelNotFoundError(
        f"no upstream serves the model {asked.model!r}", param="model"
    )
    for target in gateway.targets(asked):
        upstream = gateway.upstreams[target.name]
        # The embedded model counts, though it is asked in another API than Messages.
        if target.translation is not None and not getattr(upstream, "counts_tokens", False):
            error = NotImplementedHereError(
                f"upstream {target.name!r} counts no tokens: it has no Messages API"
            )
            continue
        named = asked.body if target.model is None else {**asked.body, "model": target.model}
        try:
            counted = await _ask(upstream, named, headers)
        except EverytokenError as refused:
            error = refused
            if isinstance(refused, StatusError) and refused.status < 500 and not is_only_here(refused):
                break  # the next one would say the same
        else:
            told = gateway.relays.redact(counted.decode("utf-8", "replace"))
            await answer(request, 200, told.encode(), b"application/json")
            return
    raise error


async def _ask(upstream: Upstream, body: dict[str, Any], headers: dict[str, str]) -> bytes:
    """Return an upstream's answer in one piece. Raises `UpstreamError`."""
    sink = OnePiece(asyncio.get_running_loop().create_future())
    connection = upstream.connect(body, sink, streamed=False, path=_BELOW, **passed_on(upstream, headers))
    try:
        async with asyncio.timeout(_LIMIT):
            return await sink.body
    except TimeoutError as error:
        raise StalledError(
            f"upstream {upstream.name!r} did not count the tokens in time", phase="first-content"
        ) from error
    finally:
        connection.release(reusable=sink.body.done())
