"""What a worker answers when another one asks it; see `everytoken.gateway.siblings`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import EverytokenError
from everytoken.gateway.shown_responses import running_here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from everytoken.gateway.app import Gateway

__all__ = ["answer_to"]


async def answer_to(gateway: Gateway, question: str, about: Any) -> Any:
    """Return this worker's answer to what another one asks; it can be sent as JSON. Raises `KeyError` for no question."""
    return await _ANSWERS[question](gateway, about)


async def _metrics(gateway: Gateway, _: Any) -> Any:
    return await gateway.metrics.families()


async def _running(gateway: Gateway, _: Any) -> Any:
    return running_here(gateway)


async def _live(gateway: Gateway, _: Any) -> Any:
    seen = await gateway.console.live.look_here()
    return {"numbers": seen.numbers, "responses": list(seen.responses.values())}


async def _now(gateway: Gateway, about: Any) -> Any:
    return gateway.console.now_here(*about)


async def _probe(gateway: Gateway, about: Any) -> Any:
    return gateway.probes.state(about)


async def _reload(gateway: Gateway, _: Any) -> Any:
    """Reload, and return what was wrong, None for nothing."""
    if gateway.reloading is None:
        return None
    try:
        await gateway.reloading()
    except EverytokenError as error:
        return error.message
    return None


_ANSWERS: Final[dict[str, Callable[[Gateway, Any], Awaitable[Any]]]] = {
    "metrics": _metrics,
    "running": _running,
    "live": _live,
    "now": _now,
    "probe": _probe,
    "reload": _reload,
}
