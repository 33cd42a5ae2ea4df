"""One attempt as it is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Dialect
    from everytoken.errors import EverytokenError
    from everytoken.recovery.policy import Strategy
    from everytoken.recovery.transcript import Transcript

__all__ = ["Attempt", "lost_attempt"]


@dataclass(slots=True)
class Attempt:
    """One upstream connection serving the response.

    `offset` counts the records delivered before it (the seam), `chunks` the chunks with content that it sent. Times are the
    driver's, in seconds. `usage` is what the upstream reported, None when it did not come to that; `estimate` then
    is what it comes to by the chunks. `model` is what the upstream calls the model: the name it was asked for, until its
    answer ends with another. `api` is the dialect that the upstream was asked in, "" for the caller's. `continues` names the
    model that has written the text behind which it was to go on, if that is another one: what it delivers makes the answer
    one of several models.
    """

    number: int
    upstream: str
    strategy: Strategy
    streamed: bool
    offset: int
    started: float
    ended: float | None = None
    cause: EverytokenError | None = None
    usage: dict[str, Any] | None = None
    chunks: int = 0
    estimate: dict[str, Any] | None = None
    model: str = ""
    api: str = ""
    continues: str = ""

    def describe(self, origin: float) -> dict[str, Any]:
        """Return what logs and metadata show of it; times in seconds since `origin`."""
        cause = self.cause
        return {
            "number": self.number,
            "upstream": self.upstream,
            "model": self.model,
            **({"api": self.api} if self.api else {}),
            "strategy": self.strategy,
            **({"continues": self.continues} if self.continues else {}),
            "streamed": self.streamed,
            "offset": self.offset,
            "started": round(self.started - origin, 3),
            "ended": None if self.ended is None else round(self.ended - origin, 3),
            "cause": None if cause is None else {"code": cause.code, "message": cause.message},
            "usage": self.usage or self.estimate,
        }


def lost_attempt(now: float, cause: EverytokenError, dialect: Dialect, transcript: Transcript) -> Attempt:
    """Return what is known of the attempts of a writer that is gone."""
    attempt = Attempt(1, "", "first", streamed=True, offset=0, started=now, ended=now, cause=cause)
    attempt.chunks, attempt.usage = transcript.chunks, transcript.history.usage
    attempt.estimate = dialect.total_usage([(None, attempt.chunks)])
    return attempt
