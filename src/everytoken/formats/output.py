"""What an output format is: a value that turns records into bytes, for one reader, without I/O and without a clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["BATCH", "Ending", "OutputFormat", "Source"]

BATCH = 16 * 1024
"""Bytes of records that most formats take at once: what a reader that has stopped may cost."""


class Ending(NamedTuple):
    """How a body ends.

    `writes` are sent first, each on its own. `last` is sent once the reader's host has acknowledged what came before
    it, where the route waits for that. A body that is not `clean` is then aborted, so that nobody takes it for complete.
    """

    writes: Sequence[bytes] = ()
    last: bytes = b""
    clean: bool = True


class Source(Protocol):
    """What a format may ask about the stream it shows."""

    @property
    def tail(self) -> int:
        """The offset after the last committed record."""

    @property
    def closed(self) -> bool:
        """Whether no record can follow `tail`."""


class OutputFormat(Protocol):
    """Turns the records of one stream into a body for one reader.

    An exception breaks the body off. Inherit from it, and only `push` and `end` are left to write.
    """

    media_type: bytes = b"text/event-stream; charset=utf-8"
    """What a reader is told that it gets, where the route leaves that to the format."""

    keep_alive: bytes = b""
    """Sent to a reader that has been sent nothing for 15 s; nothing if it is empty."""

    batch: int = BATCH
    """About how many bytes of records `push` is given at once. A single record may be larger."""

    due: float | None = None
    """When to call `tick`, in seconds on the clock that `tick` is given; None for not at all."""

    def begin(self) -> bytes:
        """Return what a reader is sent that has to wait for the first record: nothing, by default."""
        return b""

    def push(self, records: Sequence[bytes], offset: int) -> bytes:
        """Return what is sent for `records`; `offset` is the number of records before the first of them.

        It is called once for each record, in order. A part of what it is given may be held back for `tick` or `end`.
        """
        raise NotImplementedError

    def tick(self, now: float) -> bytes:  # noqa: ARG002  # for those that hold something back
        """Return what is due at `now`; nothing, by default."""
        return b""

    def end(self, result: Mapping[str, Any]) -> Ending:
        """Return how the body ends: the stream was closed with `result`, and every record has been pushed."""
        raise NotImplementedError
