"""Model servers we call. An upstream is one module, with a `connect()` whose connections report to a `Sink`.

Chunks are passed on by plain calls, from the socket's `data_received` to the sink.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.errors import EverytokenError

__all__ = ["Connection", "Sink", "Upstream"]


class Sink(Protocol):
    """Receives the events of one attempt's connection. `on_non_streaming`, `on_eof` or `on_error` is the last one.

    A sink may have a method `on_head(status, headers)` too. It is told of the head of a response, before anything else
    of it; `headers` are pairs of bytes, the names in lower case.
    """

    def on_connected(self) -> None:
        """The connection is open and the request has been sent."""

    def on_accepted(self) -> None:
        """The upstream has responded with success; the body follows."""

    def on_data(self, data: bytes) -> object:
        """Some bytes of an event stream. What is returned may take the next ones, if they are like these."""

    def on_non_streaming(self, body: bytes) -> None:
        """The complete body of a response that is not streamed."""

    def on_eof(self) -> None:
        """The bytes of the event stream have ended, properly in terms of HTTP."""

    def on_error(self, error: EverytokenError) -> None:
        """The attempt has failed: no connection, an error status, a broken connection, or a protocol error."""


class Connection(Protocol):
    """One attempt's connection."""

    def release(self, *, reusable: bool) -> None:
        """Release it: nothing more is reported. It is closed at once, unless it may be `reusable`."""

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
        implementation without this argument is not given any. Never raises for network errors.
        """

    def redact(self, text: str) -> str:
        """Return `text`, which this upstream has sent, without its secrets."""

    async def models(self) -> list[dict[str, Any]]:
        """Return the OpenAI model objects this upstream offers. Raises `UpstreamError`."""

    async def start(self) -> None:
        """Start. Raises `ConfigurationError`."""

    async def stop(self) -> None:
        """Stop, and release everything."""
