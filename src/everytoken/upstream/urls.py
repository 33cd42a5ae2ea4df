"""The upstream of a URL: one line for each scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from everytoken.plugins import load
from everytoken.upstream.http import HttpUpstream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.upstream import Upstream

__all__ = ["UpstreamFactory", "register_upstream", "upstream_at"]


class UpstreamFactory(Protocol):
    """Makes the upstreams of a scheme."""

    def __call__(
        self, name: str, url: str, /, *, api_key: str | None, headers: Mapping[str, str]
    ) -> Upstream:
        """Return an upstream; it connects in its `start`. Raises `ConfigurationError`."""


def _embedded(name: str, url: str, *, api_key: str | None, headers: Mapping[str, str]) -> Upstream:  # noqa: ARG001
    from everytoken.upstream.embedded import EmbeddedUpstream  # noqa: PLC0415  # needs the weights

    return EmbeddedUpstream(name)


_SCHEMES: dict[str, UpstreamFactory] = {"http": HttpUpstream, "https": HttpUpstream, "embedded": _embedded}


def register_upstream(scheme: str, factory: UpstreamFactory) -> None:
    """Make upstreams whose URLs begin with `scheme` and a colon by calling `factory`."""
    _SCHEMES[scheme] = factory


def upstream_at(
    name: str,
    url: str,
    *,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    redirect_hosts: Sequence[str] = (),
    http2: bool = False,
) -> Upstream:
    """Return the upstream for `url`, called `name`: `http://…`, `https://…`, `embedded:`.

    Any other scheme is looked for among the entry points `everytoken.upstreams`; `redirect_hosts` and `http2` mean
    nothing to it.
    Raises `ConfigurationError`.
    """
    scheme, colon, _ = url.partition(":")
    factory: UpstreamFactory | None = None
    if colon:
        factory = _SCHEMES.get(scheme.lower()) or load("everytoken.upstreams", scheme.lower())
    # What has no scheme, or one that nobody knows, is refused there, without the secrets that the URL may hold.
    if factory is None or factory is HttpUpstream:
        return HttpUpstream(
            name, url, api_key=api_key, headers=headers, redirect_hosts=redirect_hosts, http2=http2
        )
    return factory(name, url, api_key=api_key, headers=headers or {})
