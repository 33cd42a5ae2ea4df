"""Makes what a configuration names: upstreams, a journal, observers, dialects."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from everytoken.dialects.registry import dialect_named
from everytoken.errors import ConfigurationError, EverytokenError
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.urls import journal_at
from everytoken.plugins import load
from everytoken.upstream.urls import upstream_at

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Dialect
    from everytoken.gateway.config import Config, UpstreamConfig
    from everytoken.journal import Journal
    from everytoken.observer import Observer
    from everytoken.upstream import Upstream

__all__ = [
    "configured_dialect",
    "configured_journal",
    "configured_observer",
    "configured_upstream",
    "is_embedded",
    "mounted_journal",
]

_EMBEDDED = "embedded"


def is_embedded(config: UpstreamConfig) -> bool:
    """Whether an upstream is the embedded model; without a URL its name says so."""
    return (config.url or f"{config.name}:").lower().startswith(f"{_EMBEDDED}:")


def configured_upstream(config: UpstreamConfig) -> Upstream:
    """Return the upstream that a table of the configuration describes. Raises `ConfigurationError`."""
    url = config.url or (f"{_EMBEDDED}:" if is_embedded(config) else "")
    key, header = config.api_key(os.environ), config.header_of_key(url)
    return upstream_at(
        config.name,
        url,
        api_key=None if header else key,
        headers={**({header: key} if header and key else {}), **config.headers},
        redirect_hosts=config.redirect_hosts,
        http2=config.http2,
    )


def configured_journal(config: Config, *, port: int) -> Journal:
    """Return the journal that the configuration names, for the server at `port`. Raises `ConfigurationError`."""
    return journal_at(
        config.journal,
        port=port,
        retention=config.retention,
        max_bytes=config.max_journal,
        durability=config.durability,
        lease=config.lease,
        quota=config.quota,
    )


def mounted_journal(config: Config) -> Journal:
    """Return the journal of a mounted gateway: in memory unless the configuration names one."""
    if config.journal:
        return configured_journal(config, port=config.port)
    return MemoryJournal(retention=config.retention, max_bytes=config.max_journal, quota=config.quota)


def configured_observer(name: str) -> Observer:
    """Return the observer that a package adds under `name`. Raises `ConfigurationError`."""
    make = load("everytoken.observers", name)
    if make is None:
        raise ConfigurationError(f"observers: no installed package adds an observer called {name!r}")
    try:
        observer: Observer = make()
    except Exception as error:
        raise ConfigurationError(
            f"observers: {name!r} cannot be made: {type(error).__name__}: {error}"
        ) from error
    return observer


def configured_dialect(name: str) -> Dialect:
    """Return the dialect that a package adds under `name`. Raises `ConfigurationError`."""
    try:
        return dialect_named(name)
    except ConfigurationError:
        raise
    except EverytokenError as error:
        raise ConfigurationError(f"dialects: no installed package adds a dialect called {name!r}") from error
