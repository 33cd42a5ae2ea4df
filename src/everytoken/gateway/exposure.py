"""Who can reach a gateway, and what would be open to them: a gateway that is open without a decision is refused."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from everytoken.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["check_open", "is_loopback", "open_problems", "plain_text_keys"]

_SHORTEST_KEY = 16  # characters; 64 bits in hexadecimal


class _Named(Protocol):
    """An upstream's table."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str | None: ...
    @property
    def key_env(self) -> str | None: ...


class _Settings(Protocol):
    """The configuration, which is made with this module."""

    @property
    def host(self) -> str: ...
    @property
    def api_keys(self) -> Sequence[str]: ...
    @property
    def admin_keys(self) -> Sequence[str]: ...
    @property
    def require_key(self) -> bool: ...
    @property
    def no_auth(self) -> bool: ...
    @property
    def upstream(self) -> Sequence[_Named]: ...


def check_open(config: _Settings, *, loopback: bool) -> None:
    """Raise `ConfigurationError` for keys that guard nothing, and for a gateway that is open without a decision.

    `loopback`: whether it can be reached from this machine only.
    """
    for _, message in open_problems(config, loopback=loopback):
        raise ConfigurationError(message)


def open_problems(config: _Settings, *, loopback: bool) -> Iterator[tuple[str, str]]:
    """Yield each setting that `check_open` refuses (`api_keys.0` for the first key), and why."""
    named_keys = [("api_keys", *pair) for pair in enumerate(config.api_keys, 1)]
    named_keys += [("admin_keys", *pair) for pair in enumerate(config.admin_keys, 1)]
    for setting, number, key in named_keys:
        if len(key) < _SHORTEST_KEY or not key.isprintable() or any(char.isspace() for char in key):
            yield (
                f"{setting}.{number - 1}",
                (
                    f"{setting}: key {number} is too short or has spaces in it; use {_SHORTEST_KEY} characters or more, "
                    "such as those of: openssl rand -hex 24"
                ),
            )
    if not (config.api_keys or config.require_key or loopback or config.no_auth):
        yield (
            "host",
            (
                f"without API keys, anyone who can reach {config.host} can use your upstreams: set EVERYTOKEN_API_KEYS, "
                "or EVERYTOKEN_REQUIRE_KEY=true and make keys with `everytoken keys create`, "
                "or pass --no-auth if that is what you want"
            ),
        )


def plain_text_keys(config: _Settings, environ: Mapping[str, str]) -> list[str]:
    """Return a warning for each upstream whose key would go over the network unencrypted."""
    warnings = []
    for upstream in config.upstream:
        parts = urlsplit(upstream.url)
        host = parts.hostname or ""
        secret = upstream.key or (upstream.key_env and environ.get(upstream.key_env)) or parts.password
        if parts.scheme == "http" and secret and not is_loopback(host):
            warnings.append(f"upstream {upstream.name!r}: its key goes to {host} over plain http; use https")
    return warnings


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own and nobody else's."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
