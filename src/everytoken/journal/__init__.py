"""The journal: durable, append-only logs of responses. A record is in it before any reader sees it.

A journal is one module with a class that fits `Journal`. What travels chunk by chunk (`Writer.append`, the callbacks of
`Log.subscribe`, `Log.take`) are plain calls: a journal gathers what moved in one moment, stores it in one group commit,
and then tells the readers. An offset is the number of records before it, written as 16 digits on the wire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from everytoken.errors import OffsetInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.errors import StreamNotFoundError

__all__ = [
    "Append",
    "Appended",
    "Journal",
    "Log",
    "Producer",
    "SharedJournal",
    "StreamInfo",
    "Writer",
    "format_offset",
    "parse_offset",
]


class StreamInfo(msgspec.Struct, kw_only=True):
    """What is known of a stream besides its records.

    `owner`: fingerprint of the API key that made it, "" when keys are not used. `created`: seconds since 1970.
    `meta`: what its maker stored with it (of a response: the request; never credentials). `epoch`: rises with every
    writer. `ttl`: seconds it lives on after it was last used; `expires`: when it ends in any case (seconds since 1970).
    `shared`: written by anybody with `Journal.submit`; otherwise by one writer, whose node has it on lease.
    `result`: what it was closed with.
    """

    id: str
    content_type: str
    owner: str = ""
    created: float = 0.0
    meta: dict[str, Any] = {}
    epoch: int = 0
    ttl: int | None = None
    expires: float | None = None
    shared: bool = False
    result: dict[str, Any] | None = None


class Producer(msgspec.Struct, frozen=True):
    """An idempotent producer's mark on an append (Durable Streams section 5.2.1)."""

    id: str
    epoch: int
    seq: int


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """An append by anybody entitled to, checked and stored in one step: records, or closing, or both.

    `sequence` must rise bytewise from append to append (`Stream-Seq`).
    """

    records: list[bytes] = []
    close: bool = False
    sequence: str | None = None
    producer: Producer | None = None
    result: dict[str, Any] | None = None


class Appended(msgspec.Struct, frozen=True):
    """What became of an append: the tail after it, and whether it had been there already.

    `seq`: the highest number that its producer has had accepted; None without a producer.
    """

    tail: int
    closed: bool
    duplicate: bool = False
    seq: int | None = None


class Log(Protocol):
    """The committed records of one stream, for readers."""

    @property
    def info(self) -> StreamInfo:
        """What is known of the stream."""

    @property
    def tail(self) -> int:
        """The offset after the last committed record."""

    @property
    def closed(self) -> bool:
        """Whether no record can follow `tail`."""

    @property
    def deleted(self) -> bool:
        """Whether the stream is gone: deleted or expired. Readers are told by their `moved`."""

    def take(self, offset: int, limit: int) -> Sequence[bytes] | None:
        """Return committed records from `offset` on, about `limit` bytes of them, at least one if there is one.

        None when they are not in memory any more: `fetch` them. Raises `OffsetInvalidError` past the tail.
        """

    async def fetch(self, offset: int, limit: int) -> Sequence[bytes]:
        """Like `take`, from storage. Raises `JournalUnavailableError`, and `StreamNotFoundError` if it is gone, too."""

    def subscribe(self, moved: Callable[[], None]) -> None:
        """Call `moved` after every commit to this stream, in the event loop, as a plain call."""

    def unsubscribe(self, moved: Callable[[], None]) -> None:
        """Call it no more."""


class Writer(Protocol):
    """The one writer of a stream in its epoch."""

    @property
    def log(self) -> Log:
        """What has been written so far, as readers see it."""

    @property
    def full(self) -> bool:
        """Whether so much waits to be stored that the writer should pause until the log has moved."""

    def when_fenced(self, told: Callable[[], None]) -> None:
        """Call `told` when another writer takes over, as soon as that is known here."""

    def append(self, records: Sequence[bytes]) -> bool:
        """Append records with the next group commit; return `full`. Returns at once.

        Raises `StreamClosedError`, `FencedError`.
        """

    def close(self, records: Sequence[bytes], result: dict[str, Any]) -> None:
        """Append the last records and close the stream, in one step, with the next group commit."""


class Journal(Protocol):
    """A store of streams. `durable` says whether it outlives the process."""

    durable: bool

    async def start(self) -> None:
        """Get ready. Raises `ConfigurationError`, `JournalUnavailableError`."""

    async def stop(self) -> None:
        """Store what is on its way and let go of everything."""

    async def create(
        self, info: StreamInfo, records: Sequence[bytes] = (), *, closed: bool = False
    ) -> Writer:
        """Begin a stream; it is stored when this returns. Raises `StreamExistsError`, `JournalUnavailableError`."""

    async def open(self, stream_id: str, *, touch: bool = True) -> Log:
        """Return a stream to read. Raises `StreamNotFoundError` as `missing` has it, `JournalUnavailableError`.

        With `touch` its `ttl` starts again.
        """

    async def submit(self, stream_id: str, append: Append) -> Appended:
        """Check an append to a `shared` stream, and store it; what it says is stored when this returns.

        Raises `StreamNotFoundError`, `StreamClosedError`, `SequenceConflictError`, `ProducerGapError`,
        `ProducerStaleError`, `JournalUnavailableError`, `FencedError` if the stream has a writer of its own.
        """

    async def claim(self, stream_id: str) -> Writer:
        """Become the writer of an open stream at the next epoch, fencing off the one before."""

    async def orphans(self) -> list[str]:
        """Return the open streams, not `shared`, whose writer's process is gone, oldest first."""

    async def is_read_elsewhere(self, stream_id: str) -> bool:
        """Whether a stream has readers on other nodes. Raises `JournalUnavailableError`."""

    async def delete(self, stream_id: str) -> None:
        """Forget a stream. Raises `StreamNotFoundError`."""

    async def probe(self) -> None:
        """Store something in the way everything else is stored. Raises `JournalUnavailableError`."""

    def missing(self, stream_id: str) -> StreamNotFoundError:
        """Return the error for a stream that does not exist: `OffsetExpiredError` if it may have expired."""


@runtime_checkable
class SharedJournal(Protocol):
    """What a journal has besides, if several processes can use it at once."""

    node: str
    """The name of this process among those that use the journal."""

    async def bury(self, node: str) -> None:
        """Record that a process is known to be gone: its streams are `orphans` at once, not only when its lease is over.

        Raises `JournalUnavailableError`; the next `orphans` has them all the same.
        """


def format_offset(offset: int) -> str:
    """Return an offset as it is sent: 16 digits, so that the order of bytes is the order of numbers."""
    return f"{offset:016d}"


def parse_offset(text: str, tail: int) -> int:
    """Read an offset of a stream that ends at `tail`; `-1` is the start, `now` the tail.

    Raises `OffsetInvalidError` for anything else, and for one past the tail: waiting for it could lose records.
    """
    if text == "-1":
        return 0
    if text == "now":
        return tail
    if len(text) != 16 or not (text.isascii() and text.isdigit()):
        raise OffsetInvalidError("not a valid offset", param="offset")
    offset = int(text)
    if offset > tail:
        raise OffsetInvalidError("the offset is past the end of the stream", param="offset")
    return offset
