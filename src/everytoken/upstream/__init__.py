"""Model servers we call. An upstream is one module: something with `connect()` that reports to a `Sink`.

Everything that travels chunk by chunk goes through plain calls, from the socket's `data_received` to the sink.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.errors import EverytokenError

__all__ = ["Connection", "Sink", "Upstream"]


class Sink(Protocol):
    """Who is told what happens on one attempt's connection. Nothing more comes after `on_whole`, `on_eof` or `on_error`.

    A sink may have a method `on_head(status, headers)` too. It is told of the head of a response, before anything else
    of it; `headers` are pairs of bytes, the names in lower case.
    """

    def on_connected(self) -> None:
        """The connection stands and the request has been sent."""

    def on_accepted(self) -> None:
        """The upstream has answered with success; its body follows."""

    def on_data(self, data: bytes) -> None:
        """Some bytes of an event stream."""

    def on_whole(self, body: bytes) -> None:
        """A body that is no event stream, whole."""

    def on_eof(self) -> None:
        """The event stream's bytes have ended, properly by the rules of HTTP."""

    def on_error(self, error: EverytokenError) -> None:
        """No connection, a status that is no success, a break, or a broken protocol."""


class Connection(Protocol):
    """One attempt's connection."""

    def release(self, *, reusable: bool) -> None:
        """Let go of it: nothing is reported any more. It is closed at once, unless it may be `reusable`."""

    def pause(self) -> None:
        """Stop reading from it."""

    def resume(self) -> None:
        """Continue reading."""


class Upstream(Protocol):
    """A model server."""

    name: str

    def connect(
        self,
        body: dict[str, Any],
        sink: Sink,
        *,
        streamed: bool,
        path: str = "/chat/completions",
        headers: Mapping[str, str] | None = None,
    ) -> Connection:
        """Begin an attempt at the dialect's `path`: returns at once, reports to `sink`.

        `headers`, names in lower case, are sent where the upstream has no header of its own by that name. An
        implementation without this argument is not given any.
        Never raises for what the network does.
        """

    def redact(self, text: str) -> str:
        """Return `text`, words of this upstream, without its secrets."""

    async def models(self) -> list[dict[str, Any]]:
        """Return the OpenAI model objects this upstream offers. Raises `UpstreamError`."""

    async def start(self) -> None:
        """Get ready. Raises `ConfigurationError`."""

    async def stop(self) -> None:
        """Let go of everything."""
