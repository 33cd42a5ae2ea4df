"""A new configuration for a gateway that is running: what changes at once, and what waits for the next start."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from everytoken.errors import InvalidRequestError
from everytoken.gateway.config import policy_of
from everytoken.gateway.making import configured_upstream
from everytoken.gateway.siblings import asked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from everytoken.gateway.config import Config, UpstreamConfig
    from everytoken.gateway.services import Services
    from everytoken.upstream import Upstream

__all__ = ["Changes", "Reloading", "at_next_start", "reload", "reload_now"]

logger = logging.getLogger("everytoken.gateway")

# What was decided when the server began: where it listens, and where responses are kept.
FIXED = (
    "host",
    "port",
    "workers",
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


class Changes(msgspec.Struct, frozen=True):
    """What a reload has changed, such as `api_keys`, `policy.attempts`, `upstream.NAME`; and what waits for the next start."""

    changed: list[str]
    waiting: list[str]


class Reloading:
    """Reads the configuration of a gateway again, one time after the other; `read` says how."""

    def __init__(self, gateway: Services, read: Callable[[], Awaitable[Config]]) -> None:
        self._gateway = gateway
        self._read = read
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self) -> Changes:
        """Use the configuration as it is now. Raises `ConfigurationError`, with nothing changed then."""
        async with self._one_at_a_time:
            return await reload(self._gateway, await self._read())


async def reload_now(gateway: Services) -> Changes:
    """Reload for an administrator. Raises `ConfigurationError`, and `InvalidRequestError` if there is nothing to read."""
    if gateway.reloading is None:
        raise InvalidRequestError(
            "there is no configuration file to reload; the gateway was started without one"
        )
    changes: Changes = await gateway.reloading()
    for number, problem in (await asked(gateway.siblings, "reload")).items():
        if problem is not None:
            logger.error("worker %d: the configuration stays as it was: %s", number, problem)
    return changes


def at_next_start(old: Config, new: Config) -> tuple[Config, list[str]]:
    """Return `new` with what cannot change as it was, and the names of those settings."""
    changed = [name for name in FIXED if getattr(old, name) != getattr(new, name)]
    return msgspec.structs.replace(new, **{name: getattr(old, name) for name in changed}), changed


async def reload(
    gateway: Services, config: Config, make: Callable[[UpstreamConfig], Upstream] = configured_upstream
) -> Changes:
    """Make `gateway` use `config` from now on; open responses continue with the upstreams they have.

    `make` is called in a thread: it may have to load an upstream that another package adds.
    Raises `ConfigurationError`, with nothing changed then.
    """
    config, waiting = at_next_start(gateway.config, config)
    changes = Changes(changed=_changed(gateway.config, config), waiting=waiting)
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
    return changes


def _changed(old: Config, new: Config) -> list[str]:
    names = [name for name in new.__struct_fields__ if getattr(old, name) != getattr(new, name)]
    found = [name for name in names if name not in {"policy", "upstream"}]
    if "policy" in names:
        fields = new.policy.__struct_fields__
        found += [
            f"policy.{name}" for name in fields if getattr(old.policy, name) != getattr(new.policy, name)
        ]
    if "upstream" in names:
        before, after = ({one.name: one for one in config.upstream} for config in (old, new))
        differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        found += [f"upstream.{name}" for name in differing] or ["upstream"]  # or only their order
    return found


async def _let_go(gateway: Services, upstreams: list[Upstream]) -> None:
    """Stop upstreams that were replaced, once the responses that use them have ended."""
    using = gateway.relays.running()
    try:
        while using & gateway.relays.running():  # noqa: ASYNC110  # nobody waits for it
            await asyncio.sleep(_LOOK)
    finally:
        await asyncio.gather(*(upstream.stop() for upstream in upstreams))
