"""What one attempt has in the delivered text, and whether its model may have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.errors import DivergedError
from everytoken.recovery.align import ContinueAligner, PrefillAligner
from everytoken.recovery.authors import Author, is_same, names_of, reported_in, with_author

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Dialect
    from everytoken.dialects.pieces import Chunk
    from everytoken.recovery.align import Aligner
    from everytoken.recovery.attempt import Attempt
    from everytoken.recovery.plan import Plan
    from everytoken.recovery.transcript import Transcript

__all__ = ["Share"]


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
