"""What a journal refuses, or cannot do."""

from __future__ import annotations

from everytoken.errors.base import EverytokenError

__all__ = [
    "ContentTypeMismatchError",
    "FencedError",
    "JournalError",
    "JournalFullError",
    "JournalUnavailableError",
    "NotStorableError",
    "OffsetExpiredError",
    "OffsetInvalidError",
    "ProducerGapError",
    "ProducerStaleError",
    "QuotaExceededError",
    "SequenceConflictError",
    "StreamClosedError",
    "StreamExistsError",
    "StreamFullError",
    "StreamNotFoundError",
]


class JournalError(EverytokenError):
    """The journal refused."""

    code = "journal-error"


class NotStorableError(JournalError):
    """Storing this failed, and would fail again; only this stream is affected."""

    code = "not-storable"


class StreamFullError(JournalError):
    """The stream has as many bytes or producers as it may have."""

    code = "stream-full"


class QuotaExceededError(JournalError):
    """The streams of this key take all that they may take."""

    code = "quota-exceeded"


class JournalFullError(JournalError):
    """Open streams and responses take all the room of the journal (`max_journal`), or streams their half of it."""

    code = "journal-full"


class StreamNotFoundError(JournalError):
    """No such stream, or not yours."""

    code = "stream-not-found"


class StreamExistsError(JournalError):
    """The stream exists with another configuration."""

    code = "stream-exists"


class StreamClosedError(JournalError):
    """The stream has ended; nothing can be appended."""

    code = "stream-closed"


class ContentTypeMismatchError(JournalError):
    """The append's content type is not the stream's."""

    code = "content-type-mismatch"


class SequenceConflictError(JournalError):
    """The append's sequence does not come after the last one."""

    code = "sequence-conflict"


class ProducerGapError(JournalError):
    """An idempotent producer left numbers out; `expected` is the one that is due, `received` the one that came."""

    code = "producer-gap"

    def __init__(self, message: str, *, expected: int, received: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.received = received


class ProducerStaleError(JournalError):
    """An idempotent producer with a higher epoch has taken over; `epoch` is that one's."""

    code = "producer-stale"

    def __init__(self, message: str, *, epoch: int) -> None:
        super().__init__(message)
        self.epoch = epoch


class OffsetExpiredError(StreamNotFoundError):
    """Old, and no longer kept: neither the records at this offset nor the stream."""

    code = "offset-expired"


class OffsetInvalidError(JournalError):
    """Not an offset of this stream: malformed, or past its tail."""

    code = "offset-invalid"


class FencedError(JournalError):
    """A writer with a higher epoch has taken over."""

    code = "fenced"


class JournalUnavailableError(JournalError):
    """The journal cannot be reached or cannot store; nothing was acknowledged."""

    code = "journal-unavailable"
