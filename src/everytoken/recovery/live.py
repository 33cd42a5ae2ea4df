"""One attempt while it lasts: bytes to events, events to chunks, chunks to the records that are new in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from everytoken.dialects.pieces import MAIN, Chunk, Piece
from everytoken.errors import DivergedError, EventTooLargeError, EverytokenError, TruncatedError
from everytoken.json.bounds import storable
from everytoken.recovery.align import PrefillAligner, aligner_for
from everytoken.recovery.held import Held
from everytoken.recovery.share import Share
from everytoken.recovery.waiting import Waiting
from everytoken.sse import ServerSentEvent, SSEDecoder
from everytoken.translation.stream import StreamBrokenError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.dialects.dialect import Decoder, Dialect, History, Request
    from everytoken.recovery.attempt import Attempt
    from everytoken.recovery.plan import Plan
    from everytoken.recovery.transcript import Transcript
    from everytoken.translation.stream import TranslatedStream

__all__ = ["MAX_QUIET", "LiveAttempt"]

MAX_QUIET = 16 * 1024 * 1024  # bytes without content: a flood, and no keep-alive
_EVENT = 256  # bytes that an event without content counts as besides its own: reading it is the work, however short it is


class LiveAttempt(Waiting):
    """An attempt while it lasts. What it returns has been added to the transcript.

    Attributes, besides those of `Waiting`: `attempt` (what is recorded of it), `number` (its), `plan`, `aligner` (None where
    nothing was delivered before, so that chunks are passed on as they were sent), `began` (when its first content came),
    `error` (why it cannot continue, or None), `wrong` (what is wrong with its end, or None), `content` (whether the last
    read brought any), `quiet` (bytes since then), `share` (what it has in the delivered text).
    """

    __slots__ = (
        "_dialect",
        "_held",
        "_holding",
        "_repeated",
        "_sse",
        "_transcript",
        "aligner",
        "attempt",
        "began",
        "content",
        "counted",
        "decoder",
        "error",
        "history",
        "number",
        "plan",
        "quiet",
        "share",
        "wrong",
    )

    def __init__(
        self, attempt: Attempt, plan: Plan, request: Request, dialect: Dialect, transcript: Transcript
    ) -> None:
        super().__init__()
        self.aligner = aligner_for(plan, dialect, transcript) if attempt.offset else None
        # What came before a first attempt was never delivered.
        self.share = Share(dialect, transcript, plan, attempt, self.aligner)
        self.history: History = transcript.history if self.aligner else dialect.history()
        self.decoder: Decoder = dialect.decoder(
            request,
            self.history,
            first=self.aligner is None,
            # Of several attempts the usage is told together, at the end.
            usage=request.shows_usage and attempt.number == 1,
            # A translated stream has every end that its own API has.
            omits_end=plan.target.omits_finish_reason and plan.target.translation is None,
        )
        self._dialect = dialect
        self._transcript = transcript
        self.plan = plan
        self._sse = self._stream(request)
        self._held = Held()
        self._holding = True
        self._repeated = 0
        self.counted: int | None = None
        self.attempt = attempt
        self.error: EverytokenError | None = None
        self.wrong: EverytokenError | None = None
        self.began = 0.0
        self.number = attempt.number
        self.quiet = 0
        self.content = False

    def _stream(self, request: Request) -> SSEDecoder | TranslatedStream:  # noqa: ARG002  # see `TranslatedAttempt`
        """Return what makes bytes into events."""
        return SSEDecoder()

    def stand_by(self) -> None:
        """Fix the count of its chunks: another attempt runs beside it, and whichever has content next has won."""
        self.counted = self.chunks

    @property
    def chunks(self) -> int:
        """How many chunks with content the attempt has sent."""
        if self.counted is not None and self.aligner is None:
            return self.counted
        return self._repeated if self.aligner is not None else self._transcript.chunks - self.share.before

    @property
    def caught_up(self) -> bool:
        """Whether everything that had been delivered before has come again."""
        return self.aligner is None or self.aligner.caught_up

    @property
    def terminal(self) -> bool:
        """Whether the upstream's own end mark has come."""
        return self.decoder.terminal

    @property
    def complete(self) -> bool:
        """Whether the whole response has come, so that what goes wrong now does not matter."""
        decoder = self.decoder
        return self.terminal and self.caught_up and (decoder.done or not self._transcript.continued)

    def receive_data(self, now: float, data: bytes) -> list[bytes]:
        """Take bytes of a stream; return the records to deliver, in order."""
        broken: EverytokenError | None = None
        self.last_bytes = now
        try:
            events: Sequence[ServerSentEvent] = self._sse.receive_data(data)
        except EventTooLargeError as error:
            events, broken = error.events, error
        except StreamBrokenError as error:
            events, broken = error.events, error.cause
        records: list[bytes] = []
        content = False
        decoder = self.decoder
        try:
            for event in events:
                chunk = decoder.read(event)
                if isinstance(chunk, str):
                    self._transcript.add_text(chunk)
                    content = True
                    if self._holding:
                        self._release(records)
                    records.append(event.data.encode())
                elif chunk is not None:
                    content = self._receive_chunk(chunk, records) or content
                elif decoder.done:
                    break
        except EverytokenError as error:
            self.error = None if self.complete else error
        if broken is not None:
            self.error = None if self.complete else self.error or broken
        if records:
            transcript = self._transcript
            if not transcript.records:
                transcript.first = records[0]
            transcript.records += len(records)
        self.content = content
        if content:
            self.quiet = 0
            if self.steady:
                self.deadline = now + self.gap
        else:
            self.quiet += len(data) + _EVENT * len(events)
        if decoder.terminal or decoder.done or self.error is not None or self.quiet > MAX_QUIET:
            self.steady = False
        return records

    def receive_non_streaming(self, body: bytes) -> list[bytes]:
        """Take a response in one piece; a JSON document that is complete is an end."""
        records: list[bytes] = []
        try:
            records_in = self._records_in(body)
            self._receive_events(
                [ServerSentEvent("message", record.decode()) for record in records_in], records
            )
        except EverytokenError as error:
            self.error = error
        else:
            self.decoder.terminal = True
        return records

    def _records_in(self, body: bytes) -> list[bytes]:
        """Return a response in one piece as the records it would have been."""
        return self._dialect.records_in(body)

    def _receive_events(self, events: Sequence[ServerSentEvent], records: list[bytes]) -> None:
        """Take events of a response that has ended."""
        for event in events:
            chunk = self.decoder.read(event)
            if isinstance(chunk, str):
                chunk = Chunk(event.data, [Piece("text", MAIN, chunk)])
            if chunk is not None:
                self._receive_chunk(chunk, records)

    def finish(self) -> list[bytes]:
        """Return the records that are only told once nothing more is to be read; `wrong` is then what is wrong with them."""
        return []

    def end(self) -> EverytokenError | None:
        """Record that the bytes have ended; return what is wrong with that, or None."""
        try:
            self.decoder.receive_eof()
        except TruncatedError as error:
            return error
        if self.caught_up:
            return None
        return DivergedError("the repeated response is shorter than what was delivered")

    def close(self, now: float, cause: EverytokenError | None) -> Literal["continues", "restarts"] | None:
        """Write down how it ended and what it used; return what it has shown of how its upstream takes a prefill."""
        attempt, decoder = self.attempt, self.decoder
        self.steady = False
        attempt.ended, attempt.cause = now, cause
        attempt.usage = storable(decoder.usage)
        attempt.chunks = self.chunks
        attempt.model = storable(getattr(decoder, "model", "") or attempt.model)
        self.share.close()
        if not attempt.usage:
            attempt.estimate = self._dialect.total_usage([(None, attempt.chunks)])
        self._transcript.halved = self._transcript.halved or decoder.holds_half
        return self.aligner.verdict if isinstance(self.aligner, PrefillAligner) and attempt.streamed else None

    def take_held(self) -> list[bytes]:
        """Return the chunks without content that are still held back: at the end they count."""
        return self._held.release(self._transcript)

    def _receive_chunk(self, chunk: Chunk, records: list[bytes]) -> bool:
        """Take a chunk; return whether it has content, or is a sign of life."""
        lives = (bool(chunk.pieces) and not chunk.frame) or chunk.alive
        transcript = self._transcript
        if self.aligner is None:
            if chunk.frame and self._holding:
                if self._held.has_room:
                    self._held.add(chunk)
                    return False
                lives = True  # a flood of them counts: what says where things belong is never dropped
            transcript.add(chunk)
            if lives or chunk.frame:
                self._release(records)
                records.append(chunk.record.encode())
            else:
                self._pass_empty(chunk, records)
            return lives
        if self.share.reported is None:
            self.share.look_at(chunk)
        self._repeated += bool(chunk.pieces) and not chunk.frame
        for record in self.aligner.feed(chunk):
            transcript.add(self.history.read(record))
            records.append(record)
            self.share.delivers = True
        return lives

    def _pass_empty(self, chunk: Chunk, records: list[bytes]) -> None:
        """Hold a chunk without content back before the first content."""
        if self._holding and not self.decoder.terminal and self._held.has_room:
            self._held.add(chunk)
        elif not (self._holding and self.counted is not None and not self.decoder.terminal):
            # Of an attempt that may yet lose nothing is shown: it would give the response its identity.
            self._release(records)
            records.append(chunk.record.encode())

    def _release(self, records: list[bytes]) -> None:
        """Pass on what was held back."""
        self._holding = False
        records += self._held.release(self._transcript)
