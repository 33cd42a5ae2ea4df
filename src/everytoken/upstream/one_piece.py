"""A sink for what is asked beside responses: a list of models, a count of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from everytoken.errors import EverytokenError

__all__ = ["OnePiece"]


class OnePiece:
    """Takes one complete body; `body` is done with it, or with the error."""

    def __init__(self, body: asyncio.Future[bytes]) -> None:
        self.body = body

    def on_connected(self) -> None:
        """Nothing to do."""

    def on_accepted(self) -> None:
        """Nothing to do."""

    def on_data(self, data: bytes) -> None:
        """Ignore an event stream, which was not requested."""

    def on_non_streaming(self, body: bytes) -> None:
        """Take the body."""
        if not self.body.done():
            self.body.set_result(body)

    def on_eof(self) -> None:
        """Take an empty body."""
        self.on_non_streaming(b"")

    def on_error(self, error: EverytokenError) -> None:
        """Take the failure."""
        if not self.body.done():
            self.body.set_exception(error)
