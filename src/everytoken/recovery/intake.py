"""What one attempt sends: bytes to events, events to chunks, chunks to the records that are new in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.dialects.openai_chat import Delta, decode_chunk
from everytoken.dialects.openai_chat.rewrite import says_more, with_choice, with_deltas
from everytoken.dialects.openai_chat.whole import chunks_in
from everytoken.errors import EventTooLargeError, EverytokenError
from everytoken.sse import ServerSentEvent, SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.dialects.openai_chat import ChatDecoder, Choice, Chunk
    from everytoken.recovery.align import Aligner
    from everytoken.recovery.transcript import Transcript

__all__ = ["Intake"]

_MAX_HELD = 256  # chunks without content kept back before the first content; more are passed on

_MAX_HELD_BYTES = 1024 * 1024
_EMPTY = (b"", b"null", b"[]")


class Intake:
    """Reads one attempt. What it returns has been added to the transcript.

    `aligner`: None on the first attempt of all, whose chunks are passed on as they were sent. `usage`: whether to pass on
    chunks without choices, which is where usage comes. Attributes: `content` (whether the last call brought
    content), `error` (why the attempt cannot go on, or None), `usage_passed`.
    """

    __slots__ = (
        "_aligner",
        "_before",
        "_held",
        "_held_bytes",
        "_holding",
        "_repeated",
        "_sse",
        "_transcript",
        "_usage",
        "chat",
        "content",
        "error",
        "usage_passed",
    )

    def __init__(
        self, transcript: Transcript, chat: ChatDecoder, aligner: Aligner | None, *, usage: bool
    ) -> None:
        self._transcript = transcript
        self._sse = SSEDecoder()
        self._aligner = aligner
        self._usage = usage
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._holding = True
        self._before = transcript.chunks
        self._repeated = 0
        self.chat = chat
        self.content = False
        self.error: EverytokenError | None = None
        self.usage_passed = False

    @property
    def chunks(self) -> int:
        """How many chunks with content the attempt has sent."""
        return self._repeated if self._aligner is not None else self._transcript.chunks - self._before

    @property
    def caught_up(self) -> bool:
        """Whether everything that had been delivered before has come again."""
        return self._aligner is None or self._aligner.caught_up

    @property
    def complete(self) -> bool:
        """Whether the whole answer has come."""
        return self.chat.terminal and self.caught_up

    def receive_data(self, data: bytes) -> list[bytes]:
        """Take bytes of a stream; return the records to deliver, in order."""
        try:
            events: Sequence[ServerSentEvent] = self._sse.receive_data(data)
        except EventTooLargeError as error:
            records = self._receive(error.events)
            self.error = None if self.complete else self.error or error
            return records
        return self._receive(events)

    def receive_whole(self, body: bytes) -> list[bytes]:
        """Take an answer in one piece; a JSON document that is complete is an end."""
        try:
            chunks = chunks_in(body)
        except EverytokenError as error:
            self.error = error
            return []
        records = self._receive([ServerSentEvent("message", chunk.decode()) for chunk in chunks])
        if self.error is None:
            self.chat.terminal = True
        return records

    def take_held(self) -> list[bytes]:
        """Return the chunks without content that are still held back: at the end they count."""
        held, self._held = self._held, []
        return held

    def _receive(self, events: Sequence[ServerSentEvent]) -> list[bytes]:
        records: list[bytes] = []
        chat, transcript = self.chat, self._transcript
        content = False
        try:
            for event in events:
                chunk = chat.receive_event(event)
                if chunk is None:
                    if chat.done:
                        break
                    continue
                choices = chunk.choices
                if not choices:
                    content = self._receive_without_choices(chunk, event.data, records) or content
                elif (
                    self._aligner is not None
                    or len(choices) > 1
                    or choices[0].delta is None
                    or chunk.others
                    or chunk.alive
                ):
                    content = self._receive_slowly(chunk, choices, event.data, records) or content
                elif transcript.add(choices):
                    content = True
                    if self._holding:
                        self._release(records)
                    records.append(event.data.encode())
                else:
                    self._pass_empty(event.data, records)
        except EverytokenError as error:
            self.error = None if self.complete else error
        self.content = content
        return records

    def _receive_slowly(self, chunk: Chunk, choices: list[Choice], raw: str, records: list[bytes]) -> bool:
        """Take a chunk of a continued response, or an odd one; return whether it has content, or is a sign of life."""
        content = chunk.has_content
        first = self._aligner is None
        if not chunk.presentable:
            # A client's `chunk.choices[0].delta.content` would fail on it.
            ends = any(choice.finish_reason for choice in choices)
            if not (content or chunk.alive or ends or (first and says_more(raw))):
                return False
            raw = with_deltas(raw)
            for choice in choices:
                choice.delta = choice.delta or Delta()
        if self._aligner is None:
            if self._transcript.add_chunk(chunk) or chunk.alive:
                self._release(records)
                records.append(raw.encode())
            else:
                self._pass_empty(raw, records)
            return content or chunk.alive
        self._repeated += content
        for record in self._aligner.feed(chunk, raw):
            self._transcript.add_chunk(decode_chunk(record))
            records.append(record)
        return content or chunk.alive

    def _pass_empty(self, raw: str, records: list[bytes]) -> None:
        """Hold a chunk without content back before the first content: a retry has to start from a clean slate."""
        room = len(self._held) < _MAX_HELD and self._held_bytes < _MAX_HELD_BYTES
        if self._holding and not self.chat.terminal and room:
            self._held_bytes += len(raw)
            self._held.append(raw.encode())
        else:
            self._release(records)
            records.append(raw.encode())

    def _receive_without_choices(self, chunk: Chunk, raw: str, records: list[bytes]) -> bool:
        """Take a chunk without choices, which only those see who asked for usage; return whether it has content.

        What else it has is for everybody, so a choice is put into it.
        """
        filtered = bytes(chunk.prompt_filter_results) not in _EMPTY
        if not (chunk.others or chunk.alive or filtered):
            if self._usage:
                self.usage_passed = self.usage_passed or chunk.usage is not None
                self._pass_empty(raw, records)
            return False
        usage = self._usage and chunk.usage is not None
        self.usage_passed = self.usage_passed or usage
        raw = with_choice(raw, usage=usage)
        again = decode_chunk(raw)
        return self._receive_slowly(again, again.choices or [], raw, records)

    def _release(self, records: list[bytes]) -> None:
        """Pass on what was held back."""
        self._holding = False
        records += self._held
        self._held.clear()
