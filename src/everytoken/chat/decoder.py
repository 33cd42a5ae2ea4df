"""Read the chunks of one attempt's stream, and know a true end from a cut.

Sources: the OpenAI API reference ("Chat Completions: streaming"), and what the servers in the field really send.
Each chunk is decoded once, typed, and only as far as we act on it; the bytes themselves travel on as they came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.errors import ErrorEventError, MalformedEventError, TruncatedError

if TYPE_CHECKING:
    from everytoken.sse import ServerSentEvent

__all__ = ["DONE", "ChatDecoder", "Choice", "Chunk", "Delta", "FunctionDelta", "ToolCallDelta"]

DONE: Final = "[DONE]"


class FunctionDelta(msgspec.Struct):
    """A fragment of a function call: the name normally comes whole, the arguments in pieces."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(msgspec.Struct):
    """A fragment of one tool call. Some servers leave `index` out; `position` then counts by `id`."""

    index: int | None = None
    id: str | None = None
    function: FunctionDelta | None = None


class Delta(msgspec.Struct):
    """The increment inside a chunk."""

    role: str | None = None
    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    function_call: FunctionDelta | None = None

    @property
    def has_content(self) -> bool:
        """Whether a reader gets anything of the answer: text, reasoning, a refusal or a piece of a call."""
        return bool(
            self.content
            or self.reasoning_content
            or self.reasoning
            or self.tool_calls
            or self.refusal
            or self.function_call
        )


class Choice(msgspec.Struct):
    """One choice of a chunk. An empty `finish_reason` means the same as none: some servers send it so."""

    index: int | None = None
    delta: Delta | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw(b"null")


class Chunk(msgspec.Struct):
    """What we read of one `chat.completion.chunk`; fields we do not act on stay in its bytes only."""

    id: str | None = None
    choices: list[Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    object: str | None = None
    type: str | None = None

    @property
    def has_content(self) -> bool:
        """Whether any choice carries content."""
        return any(choice.delta is not None and choice.delta.has_content for choice in self.choices or ())

    @property
    def presentable(self) -> bool:
        """Whether `chunk.choices[0].delta.content` works on it: at least one choice, and no null delta."""
        if not self.choices:
            return False
        return all(choice.delta is not None for choice in self.choices)


_decode_chunk = msgspec.json.Decoder(Chunk, strict=False).decode
_decode_any = msgspec.json.Decoder().decode


class ChatDecoder:
    """The events of one attempt, read as a chat completion stream; knows whether its end is a true one.

    `choices` is the number of choices asked for (`n`). `reasonless` says that this upstream is known never to send
    a `finish_reason`, so that its `[DONE]` alone is an end.

    Attributes: `terminal` (the upstream's own end mark has come), `done` (`[DONE]` has come), `usage` (the last usage
    object, or None).
    """

    __slots__ = ("_choices", "_finished", "_reasonless", "done", "terminal", "usage")

    def __init__(self, *, choices: int = 1, reasonless: bool = False) -> None:
        self._choices = choices
        self._finished: set[int] = set()
        self._reasonless = reasonless
        self.terminal = False
        self.done = False
        self.usage: dict[str, Any] | None = None

    def receive_event(self, event: ServerSentEvent) -> Chunk | None:
        """Return the chunk in `event`; None for `[DONE]`, for what follows it, and for events that are no chunk.

        Raises `ErrorEventError` for an error of any shape, `MalformedEventError` for data that is not a JSON object.
        """
        data = event.data
        if data == DONE or self.done:
            self.done = True
            if self._reasonless:
                self.terminal = True
            return None
        try:
            chunk = _decode_chunk(data)
        except msgspec.DecodeError as error:
            if data.strip() == DONE:
                return self.receive_event(event._replace(data=DONE))
            # A strange type in a field we read: an error object may still be in there.
            raise _in_band_error(event) or MalformedEventError(
                f"an event of the stream is not a chunk: {error}"
            ) from error
        if (
            chunk.error is not None
            or event.event == "error"
            or chunk.object == "error"
            or chunk.type == "error"
        ):
            raise _in_band_error(event) or MalformedEventError("an error event without an error object")
        if chunk.usage is not None:
            self.usage = chunk.usage
        choices = chunk.choices
        if choices is None:
            return None
        for choice in choices:
            if choice.finish_reason:
                if choice.finish_reason == "error":
                    raise ErrorEventError("the upstream ended with finish_reason 'error'", error=None)
                self._finished.add(choice.index or 0)
                if len(self._finished) >= self._choices:
                    self.terminal = True
        return chunk

    def receive_eof(self) -> None:
        """Take note that the stream has ended; raises `TruncatedError` when that is not a true end."""
        if self.terminal:
            return
        if self.done:
            raise TruncatedError("[DONE] came without a finish_reason")
        raise TruncatedError("the stream ended without a finish_reason")


def _in_band_error(event: ServerSentEvent) -> ErrorEventError | None:
    """Return the error in an event of any of the shapes in the field, or None when there is none."""
    try:
        value = _decode_any(event.data)
    except msgspec.DecodeError:
        return ErrorEventError(event.data[:500], error=event.data) if event.event == "error" else None
    if not isinstance(value, dict):
        return ErrorEventError(str(value)[:500], error=value) if event.event == "error" else None
    error = value.get("error")
    if error is None:
        if not (event.event == "error" or value.get("object") == "error" or value.get("type") == "error"):
            return None
        error = value
    return ErrorEventError(_error_message(error), error=error)


def _error_message(error: Any) -> str:
    """Return the human part of an error object, whatever its shape."""
    if isinstance(error, dict):
        nested = error.get("error")
        message = error.get("message") or (_error_message(nested) if nested else None) or error.get("detail")
        return str(message or error.get("code") or "the upstream reported an error without a message")
    return str(error)
