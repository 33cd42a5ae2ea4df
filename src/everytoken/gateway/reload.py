"""A new configuration for a gateway that is running: what changes at once, and what waits for the next start."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from everytoken.gateway.config import policy_of
from everytoken.gateway.making import configured_upstream

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.gateway.config import Config, UpstreamConfig
    from everytoken.gateway.services import Services
    from everytoken.upstream import Upstream

__all__ = ["at_next_start", "reload"]

logger = logging.getLogger("everytoken.gateway")

# What was decided when the server began: where it listens, and where responses are kept.
FIXED = (
    "host",
    "port",
    "journal",
    "retention",
    "max_journal",
    "durability",
    "lease",
    "max_stream",
    "max_key_bytes",
    "max_key_streams",
    "no_auth",
    "log_format",
    "log_content",
    "keep_log",
    "prices",
    "tls_cert",
    "tls_key",
    "metrics",
    "otel",
    "observers",
    "dialects",
    "breaker",
    "idle_timeout",
)
_LOOK = 1.0  # seconds between two looks whether upstreams that were replaced are still in use


def at_next_start(old: Config, new: Config) -> tuple[Config, list[str]]:
    """Return `new` with what cannot change as it was, and the names of those settings."""
    changed = [name for name in FIXED if getattr(old, name) != getattr(new, name)]
    return msgspec.structs.replace(new, **{name: getattr(old, name) for name in changed}), changed


async def reload(
    gateway: Services, config: Config, make: Callable[[UpstreamConfig], Upstream] = configured_upstream
) -> None:
    """Make `gateway` use `config` from now on; open responses continue with the upstreams they have.

    `make` is called in a thread: it may have to load an upstream that another package adds.
    Raises `ConfigurationError`, with nothing changed then.
    """
    config, waiting = at_next_start(gateway.config, config)
    policies = {upstream.name: policy_of(upstream, config.policy) for upstream in config.upstream}
    before = {upstream.name: upstream for upstream in gateway.config.upstream}
    upstreams: dict[str, Upstream] = {}
    made: list[Upstream] = []
    for upstream in config.upstream:
        if before.get(upstream.name) == upstream:
            upstreams[upstream.name] = gateway.upstreams[upstream.name]
        else:
            upstreams[upstream.name] = await asyncio.to_thread(make, upstream)
            made.append(upstreams[upstream.name])
    try:
        await asyncio.gather(*(upstream.start() for upstream in made))
    except BaseException:
        await asyncio.gather(*(upstream.stop() for upstream in made), return_exceptions=True)
        raise
    replaced = [upstream for upstream in gateway.upstreams.values() if upstream not in upstreams.values()]
    gateway.change(config, policies, upstreams)
    if replaced:
        gateway.in_background(_let_go(gateway, replaced))
    if waiting:
        logger.warning("the configuration was reloaded; %s will change at the next start", ", ".join(waiting))
    else:
        logger.info("the configuration was reloaded")


async def _let_go(gateway: Services, upstreams: list[Upstream]) -> None:
    """Stop upstreams that were replaced, once the responses that use them have ended."""
    using = gateway.relays.running()
    try:
        while using & gateway.relays.running():  # noqa: ASYNC110  # nobody waits for it
            await asyncio.sleep(_LOOK)
    finally:
        await asyncio.gather(*(upstream.stop() for upstream in upstreams))
