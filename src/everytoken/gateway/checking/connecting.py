"""Whether what a configuration names answers: its upstreams and its journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from everytoken.errors import EverytokenError, StatusError
from everytoken.gateway.checking.problem import Problem
from everytoken.gateway.config import named, with_key
from everytoken.gateway.making import configured_journal, configured_upstream

if TYPE_CHECKING:
    from everytoken.gateway.config import Config, UpstreamConfig
    from everytoken.upstream import Upstream

__all__ = ["connect"]

_NO_SUCH_ROUTE: Final = frozenset({404, 405, 501})


async def connect(config: Config, seconds: float = 10.0) -> list[Problem]:
    """Ask every upstream for its models, and open the journal; return what does not answer within `seconds`."""
    upstreams = [with_key(one) for one in named(config.upstream)]
    found = await asyncio.gather(
        _journal(config, seconds), *(_upstream(number, one, seconds) for number, one in enumerate(upstreams))
    )
    return [problem for problem in found if problem is not None]


async def _upstream(number: int, config: UpstreamConfig, seconds: float) -> Problem | None:
    setting = f"upstream[{number}]"
    upstream: Upstream | None = None
    message = suggestion = ""
    try:
        upstream = await asyncio.to_thread(configured_upstream, config)
        async with asyncio.timeout(seconds):
            await upstream.start()
            listed = {str(model.get("id")) for model in await upstream.models()}
    except StatusError as error:
        if error.upstream_status in _NO_SUCH_ROUTE:
            return None
        message = error.message
        suggestion = "check its key" if error.upstream_status in {401, 403} else ""
    except EverytokenError as error:
        message = error.message
    except TimeoutError:
        message = f"upstream {config.name!r} did not answer within {seconds:g} seconds"
    else:
        lacking = sorted(set(config.names.values()) - listed) if listed else []
        if not lacking:
            return None
        return Problem(
            level="warning",
            setting=f"{setting}.models",
            message=f"upstream {config.name!r} does not list {', '.join(map(repr, lacking))}",
        )
    finally:
        if upstream is not None:
            await upstream.stop()
    return Problem(level="error", setting=setting, message=message, suggestion=suggestion)


async def _journal(config: Config, seconds: float) -> Problem | None:
    """Open the journal and close it. One that a running gateway has open is in order."""
    try:
        journal = configured_journal(config, port=config.port)
        async with asyncio.timeout(seconds):
            await journal.start()
    except EverytokenError as error:
        in_use = "use" in error.message and config.journal.partition(":")[0] in {"", "sqlite"}
        level = "warning" if in_use else "error"
        return msgspec.convert({"level": level, "setting": "journal", "message": error.message}, Problem)
    except TimeoutError:
        message = f"the journal did not answer within {seconds:g} seconds"
        return Problem(level="error", setting="journal", message=message)
    await journal.stop()
    return None
