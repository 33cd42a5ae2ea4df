"""Read the chunks of one attempt's stream, and know a true end from a cut.

Sources: the OpenAI API reference ("Chat Completions: streaming"), and what the servers in the field really send.
Each chunk is decoded once, typed, and only as far as we act on it; the bytes themselves travel on as they came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.dialects.openai_chat.chunk import Choice, Chunk, Delta, FunctionDelta, ToolCallDelta
from everytoken.dialects.openai_chat.heartbeats import is_heartbeat
from everytoken.dialects.openai_chat.inband import FAILED_REASONS, in_band_error
from everytoken.dialects.openai_chat.lenient import lenient_chunk
from everytoken.errors import ErrorEventError, MalformedEventError, TruncatedError
from everytoken.json import join_surrogates, loads
from everytoken.json.bounds import MAX_UPSTREAM_DEPTH, MAX_VALUES, excess_in

if TYPE_CHECKING:
    from everytoken.sse import ServerSentEvent

__all__ = [
    "CHUNK_OBJECT",
    "DONE",
    "MAX_CHOICES",
    "NO_CHOICES",
    "SMALL",
    "ChatDecoder",
    "Choice",
    "Chunk",
    "Delta",
    "FunctionDelta",
    "ToolCallDelta",
    "calls_on",
    "check_large",
    "decode_chunk",
    "decode_typed",
]

DONE: Final = "[DONE]"

MAX_CHOICES: Final = 128
"""The largest `n` that a request may have; some servers count from 1."""

NO_CHOICES: Final[frozenset[int]] = frozenset()  # each call would make another one

SMALL: Final = 512  # characters: not enough for more than 256 levels, which do no harm
CHUNK_OBJECT: Final = "chat.completion.chunk"

# strict=False: a number sent as a string is still that number.
decode_typed = msgspec.json.Decoder(Chunk, strict=False).decode


def decode_chunk(data: str | bytes) -> Chunk:
    """Return one chunk, such as a record of the journal. Raises `MalformedEventError` if `data` is none."""
    try:
        return decode_typed(data)
    except (msgspec.DecodeError, RecursionError):
        value = loads(data)
        if not isinstance(value, dict):
            raise MalformedEventError("a chunk is not an object") from None
        return lenient_chunk(value)


def check_large(data: str) -> None:
    """Refuse an event that would hurt to decode. A small one cannot be nested deep enough for that."""
    # The brackets tell of nearly every large event, which is text, that it is harmless.
    if data.count("[") + data.count("{") <= MAX_UPSTREAM_DEPTH and len(data) <= MAX_VALUES:
        return
    excess = excess_in(data.encode("utf-8", "surrogatepass"))
    if excess is not None:
        raise MalformedEventError(f"an event of the stream cannot be read: {excess}")


def calls_on(choice: Choice) -> bool:
    """Whether a choice brings a piece of a tool call, so that a finish_reason before it was not its end."""
    return choice.delta is not None and bool(choice.delta.tool_calls or choice.delta.function_call)


class Progress:
    """What is known of a response over all its attempts; `continued`: more of it has come behind a finish_reason."""

    __slots__ = ("continued",)

    def __init__(self) -> None:
        self.continued = False


class ChatDecoder:
    """The events of one attempt, read as a chat completion stream; knows whether its end is a true one.

    Some servers send a finish_reason with every part of the response, so what follows one still counts. Text behind it
    leaves the response complete; a tool call behind it has to get a finish_reason, or `[DONE]`, of its own, because half a
    call must never be run. Where something has followed one, no finish_reason is proof that the response is whole: an
    error or a broken connection behind it is one.

    `choices` is the number of choices asked for (`n`). `omits_finish_reason` says that this upstream is known never to send
    a `finish_reason`, so that its `[DONE]` alone is an end. `progress` is shared by the attempts of a response.

    Attributes: `terminal` (the upstream's own end mark has come), `done` (`[DONE]` has come), `usage` (the last usage
    object, or None), `model` (its own name for the model, "" until the end).
    """

    __slots__ = (
        "_choices",
        "_finished",
        "_halves",
        "_omits_finish_reason",
        "_progress",
        "_reopened",
        "_seen",
        "_special",
        "done",
        "model",
        "terminal",
        "usage",
    )

    def __init__(
        self, *, choices: int = 1, omits_finish_reason: bool = False, progress: Progress | None = None
    ) -> None:
        self._choices = choices
        self._progress = progress or Progress()
        # Frozen, because the empty one is shared by all: many responses are open at a time.
        self._finished: frozenset[int] = NO_CHOICES
        self._seen: frozenset[int] = NO_CHOICES
        # Choices that have begun a tool call behind their finish_reason.
        self._reopened: frozenset[int] = NO_CHOICES
        # Of each choice: the first half of a surrogate pair that ended its last chunk.
        self._halves: dict[int, str] = {}
        self._omits_finish_reason = omits_finish_reason
        # What makes it necessary to look at every chunk: several choices, a half, a finish_reason, [DONE].
        self._special = choices > 1
        self.terminal = False
        self.done = False
        self.usage: dict[str, Any] | None = None
        self.model = ""

    def receive_event(self, event: ServerSentEvent) -> Chunk | None:
        """Return the chunk in `event`; None for `[DONE]`, for what follows it, and for events that are no chunk.

        Raises `ErrorEventError` for an error of any shape, and `MalformedEventError` for data that is not a JSON
        object or that no client could read as a chunk. Once the response is complete neither can make it incomplete
        again, so both are passed over then.
        """
        if len(event.data) > SMALL:
            check_large(event.data)
        try:
            chunk = decode_typed(event.data)
        except (msgspec.DecodeError, RecursionError):
            return self.receive_odd(event)
        return self.receive_typed(event, chunk)

    def receive_typed(self, event: ServerSentEvent, chunk: Chunk) -> Chunk | None:
        """Take an event that has been decoded; see `receive_event`."""
        # Nearly every chunk leaves here: nothing about it but its content.
        if (
            chunk.choices
            and not self._special
            and chunk.object == CHUNK_OBJECT
            and chunk.usage is None
            and chunk.error is None
            and event.event == "message"
        ):
            for choice in chunk.choices:
                if choice.finish_reason or choice.delta is None or choice.error is not None:
                    break
            else:
                return chunk
        if self._halves:
            self._join_halves(chunk)
        if chunk.object != CHUNK_OBJECT or chunk.error or event.event != "message":
            return self._receive_unusual(event, chunk)
        return self._receive_chunk(event, chunk)

    @property
    def holds_half(self) -> bool:
        """Whether the last chunk ended inside a surrogate pair, so that half a character is held back."""
        return bool(self._halves)

    @property
    def over(self) -> bool:
        """Whether the response is whole, so that nothing that goes wrong now makes it less so."""
        return self.done or (self.terminal and not self._progress.continued)

    def receive_eof(self) -> None:
        """Record that the stream has ended; raises `TruncatedError` when that is not a true end."""
        if self.terminal:
            return
        if self.done:
            raise TruncatedError("[DONE] came without a finish_reason")
        raise TruncatedError("the stream ended without a finish_reason")

    def _receive_chunk(self, event: ServerSentEvent, chunk: Chunk) -> Chunk | None:
        """Record what a chunk says about the end."""
        if self.done:
            return None
        if chunk.usage:
            self.usage = chunk.usage
        choices = chunk.choices
        if choices is None:
            return chunk if chunk.others or chunk.alive else None
        for choice in choices:
            if (
                choice.finish_reason
                or choice.delta is None
                or choice.error
                or self._choices > 1
                or self._finished
            ):
                self._receive_choice(event, choice, choices)
        if self.terminal and not self.model:
            raw = bytes(chunk.model)
            model = msgspec.json.decode(raw) if raw else None
            self.model = model if isinstance(model, str) else ""
        return chunk

    def _receive_choice(self, event: ServerSentEvent, choice: Choice, choices: list[Choice]) -> None:
        """Look closer at a choice which ends, has no delta, or is one of several."""
        if choice.error and not self.over:
            raise in_band_error(event.event, loads(event.data)) or ErrorEventError(
                "a choice has an error", error=choice.error
            )
        if choice.delta is None and (choice.message or choice.text) and not self.over:
            raise MalformedEventError("a chunk has a whole message in place of a delta")
        index = choice.index
        if index is None:
            index = next(position for position, item in enumerate(choices) if item is choice)
        elif not 0 <= index <= MAX_CHOICES:
            raise MalformedEventError(f"a choice has an index that is not from 0 to {MAX_CHOICES}")
        self._seen |= {index}
        reason = choice.finish_reason
        if reason == "null":  # DashScope writes it so
            reason = choice.finish_reason = None
        if index in self._finished and choice.delta is not None and choice.delta.has_content:
            self._progress.continued = True
        if not reason:
            if index in self._finished and (self._choices > 1 or not index) and calls_on(choice):
                self._reopened |= {index}
                self.terminal = self.terminal and self.done
            return
        if reason in FAILED_REASONS and not self.over:
            raise in_band_error(event.event, loads(event.data)) or ErrorEventError(
                f"the upstream broke off with finish_reason {reason!r}"
            )
        self._finished |= {index}
        self._reopened -= {index}
        self._special = True  # it may go on all the same
        if len(self._finished) >= self._choices and not self._reopened:
            self.terminal = True

    def _receive_done(self) -> None:
        """Take `[DONE]`: an end for the choices that came, if each has ended, even if fewer than asked for.

        It is that also for a choice that continued behind its finish_reason and got no second one.
        """
        self.done = self._special = True
        if self._omits_finish_reason or (self._finished and self._finished >= self._seen):
            self.terminal = True

    def _receive_unusual(self, event: ServerSentEvent, chunk: Chunk) -> Chunk | None:
        """Take what may be an error, a chunk of a server that names its objects differently, or neither."""
        looks_wrong = (
            chunk.error
            or chunk.choices is None
            or event.event == "error"
            or chunk.object == "error"
            or chunk.type == "error"
        )
        if looks_wrong and not self.over:
            error = in_band_error(event.event, loads(event.data))
            if error is not None:
                raise error
        return self._receive_chunk(event, chunk)

    def receive_odd(self, event: ServerSentEvent) -> Chunk | None:
        """Take what is no chunk as documented: `[DONE]`, looser JSON, an error as plain text, a heartbeat, or garbage."""
        if event.data.strip() == DONE:
            self._receive_done()
            return None
        if self.over:
            return self._receive_odd_after_end(event)
        try:
            value = loads(event.data)
        except MalformedEventError:
            if is_heartbeat(event.event, event.data):
                return None
            if event.event != "error":
                raise
            value = event.data
        if not isinstance(value, dict) and is_heartbeat(event.event, event.data):
            return None
        error = in_band_error(event.event, value)
        if error is not None:
            raise error
        if not isinstance(value, dict):
            raise MalformedEventError("an event of the stream is not a JSON object")
        chunk = lenient_chunk(value)
        self._join_halves(chunk)
        return self._receive_chunk(event, chunk)

    def _receive_odd_after_end(self, event: ServerSentEvent) -> Chunk | None:
        """Take an odd event behind the end mark: it may still tell the usage, and can do no harm."""
        try:
            chunk = decode_chunk(event.data)
            self._join_halves(chunk)
            return self._receive_chunk(event, chunk)
        except MalformedEventError:
            return None

    def _join_halves(self, chunk: Chunk) -> None:
        """Join surrogate pairs that were split over two chunks, as servers do that cut UTF-16 strings.

        The first half is held back (it is no character yet) and put in front of the second.
        """
        for choice in chunk.choices or ():
            delta = choice.delta
            if delta is None or not isinstance(delta.content, str):
                continue
            index = choice.index or 0
            text = self._halves.pop(index, "") + delta.content
            if text and "\ud800" <= text[-1] <= "\udbff":
                self._halves[index] = text[-1]
                self._special = True
                text = text[:-1]
            delta.content = join_surrogates(text)
