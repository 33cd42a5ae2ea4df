"""An attempt at an upstream that speaks another API than the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.errors import EverytokenError
from everytoken.recovery.live import LiveAttempt

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Dialect, Request
    from everytoken.recovery.attempt import Attempt
    from everytoken.recovery.plan import Plan
    from everytoken.recovery.response_state import ResponseState
    from everytoken.recovery.transcript import Transcript
    from everytoken.translation.stream import TranslatedStream
    from everytoken.translation.translation import Translation

__all__ = ["TranslatedAttempt", "live_attempt"]


class TranslatedAttempt(LiveAttempt):
    """See `LiveAttempt`. What it reads has been translated into the caller's API, so the rest of recovery sees no difference.

    Only the end is told later: it says in one go what some APIs tell in parts.
    """

    __slots__ = ("_created", "_finished", "_request", "_translated")

    def __init__(
        self,
        attempt: Attempt,
        plan: Plan,
        request: Request,
        dialect: Dialect,
        transcript: Transcript,
        *,
        created: int = 0,
    ) -> None:
        """`created`: when the response began, in seconds since 1970, for an upstream that does not say."""
        self._created = created
        self._request = request
        super().__init__(attempt, plan, request, dialect, transcript)

    def _stream(self, request: Request) -> TranslatedStream:
        target = self.plan.target
        translation: Translation = target.translation
        self._translated = translation.stream(
            request, omits_end=target.omits_finish_reason, created=self._created
        )
        self._finished = False
        return self._translated

    @property
    def terminal(self) -> bool:
        """Whether the upstream's own end mark has come."""
        return self.decoder.terminal or self._translated.terminal

    @property
    def complete(self) -> bool:
        """Whether the whole response has come, so that what goes wrong now does not matter."""
        if self.decoder.terminal:
            return super().complete
        return self._translated.over and self.caught_up and self.wrong is None

    def receive_data(self, now: float, data: bytes) -> list[bytes]:
        """Take bytes of a stream; return the records to deliver, in order."""
        records = super().receive_data(now, data)
        if self._translated.terminal:
            self.steady = False
        return records

    def _records_in(self, body: bytes) -> list[bytes]:
        translation: Translation = self.plan.target.translation
        self._finished = True
        return translation.records_in(body, self._request, created=self._created)

    def finish(self) -> list[bytes]:
        """Return the records of the end, unless they have been returned; `wrong` is then what is wrong with them."""
        records: list[bytes] = []
        if not self._finished:
            self._finished = True
            try:
                self._receive_events(self._translated.receive_eof(), records)
            except EverytokenError as error:
                self.wrong = error
        return records


def live_attempt(attempt: Attempt, plan: Plan, response: ResponseState) -> LiveAttempt:
    """Return an attempt at a response, translated if its upstream speaks another API."""
    request, dialect, transcript = response.request, response.dialect, response.transcript
    if plan.target.translation is None:
        return LiveAttempt(attempt, plan, request, dialect, transcript)
    return TranslatedAttempt(attempt, plan, request, dialect, transcript, created=response.created)
