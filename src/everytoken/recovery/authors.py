"""Which models have written the delivered text, and whether another attempt is of the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from everytoken.errors import DivergedError
from everytoken.recovery.align import ContinueAligner, PrefillAligner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.dialects.dialect import Dialect
    from everytoken.dialects.pieces import Chunk
    from everytoken.recovery.align import Aligner
    from everytoken.recovery.attempt import Attempt
    from everytoken.recovery.plan import Plan
    from everytoken.recovery.transcript import Transcript

__all__ = ["Author", "Share", "is_same", "names_of", "reported_in", "with_author"]


class Author(NamedTuple):
    """A model, by the name that its upstream was asked for, and by the one that the upstream reported.

    `asked` is None where another process asked, `reported` "" where nothing was reported.
    """

    asked: str | None
    reported: str = ""


def with_author(authors: tuple[Author, ...], author: Author, *, continued: bool) -> tuple[Author, ...]:
    """Return whose text it is once `author` has delivered a part of it.

    An attempt that has `continued` the text shares it. Any other has written all of it: what was delivered before came
    again, byte for byte.
    """
    if not continued:
        return (author,)
    known = author in authors or is_same(authors, author)
    return authors if known else (*authors, author)


def is_same(authors: Sequence[Author], author: Author) -> bool:
    """Whether everything delivered is, by all that is known, of the same model as `author`."""
    return bool(authors) and all(_is_same(known, author) for known in authors)


def _is_same(known: Author, other: Author) -> bool:
    if other.asked != known.asked and not (known.reported and other.asked == known.reported):
        return False
    # Some servers report whatever name they were asked for, which says nothing.
    said = known.reported not in {"", known.asked, other.asked}
    says = other.reported not in {"", known.asked, other.asked}
    return not (said and says) or known.reported == other.reported


def names_of(authors: Sequence[Author]) -> str:
    """Return the names of the models that have written a text."""
    return ", ".join(author.reported or author.asked or "unknown" for author in authors) or "unknown"


def reported_in(dialect: Dialect, record: bytes | None) -> str:
    """Return what a record says the model is called; "" where it does not say, or its dialect cannot tell."""
    find = getattr(dialect, "model_in", None)  # dialects of other packages may be older than it
    if record is None or find is None:
        return ""
    found: str = find(record)
    return found


class Share:
    """What an attempt has in the delivered text.

    `reported`: what its first chunk calls the model, None until then; looked at only where something had been delivered
    before. `before`: how many chunks with content these were. `delivers`: whether it has then delivered something new.
    `other_model`: it was asked for the model that has written the text, and has answered with another.
    """

    __slots__ = (
        "_aligner",
        "_attempt",
        "_dialect",
        "_plan",
        "_transcript",
        "before",
        "delivers",
        "other_model",
        "reported",
    )

    def __init__(
        self, dialect: Dialect, transcript: Transcript, plan: Plan, attempt: Attempt, aligner: Aligner | None
    ) -> None:
        self._dialect = dialect
        self._transcript = transcript
        self._plan = plan
        self._attempt = attempt
        self._aligner = aligner
        self.before = transcript.chunks
        self.reported: str | None = None
        self.delivers = False
        self.other_model = False

    def look_at(self, chunk: Chunk) -> None:
        """Learn what the upstream calls its model; raises `DivergedError` where that one may not continue the text."""
        reported = reported_in(self._dialect, chunk.record.encode())
        if not reported and (chunk.frame or not chunk.pieces):
            return  # it may still come
        self.reported = reported
        attempt, plan, authors = self._attempt, self._plan, self._transcript.authors
        if plan.strategy != "prefill" or plan.continues or is_same(authors, Author(attempt.model, reported)):
            return
        self.other_model = True
        written = names_of(authors)
        if plan.overlap is None or plan.target.policy.failover == "exact":
            raise DivergedError(
                f"the continuation is by the model {reported}, the text before it by {written}"
            )
        attempt.continues = written

    def credit(self) -> None:
        """Write down whose text it is, if this attempt has delivered a part of it."""
        transcript, reported = self._transcript, self.reported
        if self._aligner is None:
            if transcript.chunks == self.before:
                return
            reported = reported_in(self._dialect, transcript.first)
        elif not self.delivers:
            return
        author = Author(self._attempt.model, reported or "")
        transcript.authors = with_author(transcript.authors, author, continued=self._continues)

    def close(self) -> None:
        """Take the mark off an attempt of which nothing in the answer is a continuation."""
        if not (self.delivers and self._continues):
            self._attempt.continues = ""

    @property
    def _continues(self) -> bool:
        """Whether it stands behind the delivered text, rather than repeating that first."""
        aligner = self._aligner
        if isinstance(aligner, PrefillAligner):
            return aligner.verdict == "continues"
        return isinstance(aligner, ContinueAligner)
