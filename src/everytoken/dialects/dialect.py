"""What an API of a model server has to be able to do, so that the core can make its responses dependable.

A dialect is a value: it does no I/O, reads no clock, and keeps nothing about a response but what it is handed back.
`everytoken.dialects.openai_chat` is the first one; `docs/extending.md` shows how to add another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.dialects.pieces import Chunk, New
    from everytoken.sse import ServerSentEvent

__all__ = ["Accumulator", "Around", "Decoder", "Dialect", "History", "Request", "Rewriter", "Usage"]

Usage = dict[str, Any]
"""What a response used, as the dialect's upstreams report it."""


Around = tuple[bytes, bytes, bytes]
"""What stands around the text of a record: before it, between it and padding that is different each time (empty without that),
and behind both."""


class Request(Protocol):
    """A request that has been read and checked."""

    stream_id: str
    """The stream that its response is kept in, set before the first attempt; "" where it is kept in none."""

    @property
    def dialect(self) -> str:
        """The dialect's name."""

    @property
    def body(self) -> dict[str, Any]:
        """The caller's JSON object, unknown fields and all."""

    @property
    def model(self) -> str:
        """The model asked for, "" if the caller names none."""

    @property
    def stream(self) -> bool:
        """Whether the caller asked for a stream."""

    @property
    def seed(self) -> int | None:
        """The caller's seed, None if it gave none."""

    @property
    def shows_usage(self) -> bool:
        """Whether the caller asked for the usage inside the stream."""

    @property
    def needs_non_streaming(self) -> bool:
        """Whether an upstream can only answer it in one piece."""

    @property
    def has_tools(self) -> bool:
        """Whether a tool call may come behind any text."""

    @property
    def reasons(self) -> bool:
        """Whether it asks for reasoning, so that a long silence is to be expected."""

    @property
    def has_grammar(self) -> bool:
        """Whether the response is bound to a grammar, which starts again after a prefill."""

    @property
    def obstacle(self) -> str | None:
        """Why no attempt can continue a response to it, None if one can."""


class Decoder(Protocol):
    """Reads the events of one attempt.

    It may also have `around(record, name) -> Around | None`: with any other text there, `read` would do with an event of that
    name what it has done with this record, for which it has returned text. Such events then take the path in C.

    `terminal`: the upstream's own end mark has come. `done`: nothing more is to be read. `usage`: the last that was
    reported. `shown_usage`: whether a reader has been given it.
    """

    terminal: bool
    done: bool
    usage: Usage | None
    shown_usage: bool

    @property
    def holds_half(self) -> bool:
        """Whether half a character is held back."""

    def read(self, event: ServerSentEvent) -> str | Chunk | None:
        """Return what an event brings; None for what is not for readers.

        Text in place of a chunk means: it adds this to the main text and nothing else, and its record is the event's
        data. Only a decoder of a first attempt may say so, which makes the usual case cheap. Raises `ErrorEventError`
        and `MalformedEventError`.
        """

    def receive_eof(self) -> None:
        """Record that the bytes have ended. Raises `TruncatedError` when that is not a true end."""


class History(Protocol):
    """What the dialect has to know of the records delivered so far, to place and number what follows.

    `usage`: the last that was reported in the records that were `read`. `is_closed`: whether nothing that a complete
    response ends with is missing behind them.
    """

    usage: Usage | None

    @property
    def is_closed(self) -> bool:
        """See above."""

    def read(self, record: bytes) -> Chunk:
        """Return a delivered record as a chunk, and count it as delivered."""

    def is_complete(self, request: Any) -> bool:
        """Whether what was read is a whole response to `request`."""


class Rewriter(Protocol):
    """Makes records of a later attempt continue those delivered before: ids, indices, numbers, one beginning."""

    def join(self, chunk: Chunk) -> bytes:
        """Return the record of a chunk that is new as a whole."""

    def cut(self, chunk: Chunk, news: Sequence[New]) -> bytes:
        """Return the record of a chunk of whose pieces only `news` (one for each piece) is to be delivered."""


class Accumulator(Protocol):
    """Joins the records of a response into what a caller that does not stream gets."""

    def add(self, record: bytes) -> None:
        """Add the next record."""

    def message(self) -> dict[str, Any]:
        """Return the response as far as it has come."""


class Dialect(Protocol):
    """An API of a model server.

    `name` is stored with every response. `path` is the end of the path that it is asked at. `end_mark` are the bytes
    behind a stream that is complete. `headers`, names in lower case, go up with every request that has none of that name.
    """

    name: str
    path: str
    end_mark: bytes
    headers: Mapping[str, str]

    def request(self, body: Mapping[str, Any]) -> Request:
        """Read a request. Raises `InvalidRequestError`, whose `param` names the field."""

    # Attempts

    def body(
        self, request: Request, *, model: str | None, seed: int | None, usage: bool, extra: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the body of a streamed attempt.

        `model` replaces the caller's. `seed` is for a request without one. With `usage` the upstream is asked for it.
        `extra` adds fields and overrides none of the caller's.
        """

    def prefix(self, request: Request, text: str) -> str:
        """Return as much of the delivered `text` as a `prefill` may end in: all, less, or "" where none is possible.

        What is left out has to come back before the continuation is believed.
        """

    def prefill(
        self,
        body: Mapping[str, Any],
        text: str,
        *,
        extra: Mapping[str, Any],
        message_extra: Mapping[str, Any],
        delivered_tokens: int,
    ) -> dict[str, Any]:
        """Return `body` asking to continue `text`, within what is left of the caller's limit of tokens."""

    def non_streaming(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return `body` asking for the response in one piece."""

    # What comes back

    def history(self) -> History:
        """Return the history of a response of which nothing has been delivered."""

    def decoder(
        self, request: Any, history: Any, *, first: bool, usage: bool = False, omits_end: bool = False
    ) -> Decoder:
        """Return a decoder for an attempt at a request of `request`.

        With `first` nothing has been delivered before, and the decoder counts in `history` what it reads: all of it is
        delivered as soon as there is content. `usage`: whether readers are shown what the upstream reports.
        `omits_end`: this upstream is known to leave out what tells a true end from a cut, and is believed without.
        """

    def rewriter(self, history: Any, first: bytes | None) -> Rewriter:
        """Return what makes later attempts continue `history`; `first` is the first record delivered."""

    def records_in(self, body: bytes) -> list[bytes]:
        """Return a response in one piece as the records it would have been. Raises `NotAnEventStreamError`."""

    # The response

    def total_usage(self, reports: Sequence[tuple[Usage | None, int]]) -> Usage | None:
        """Return what attempts used together: of each what it reported, and how many chunks with content it sent."""

    def closing(
        self,
        request: Request,
        history: Any,
        first: bytes | None,
        *,
        usage: Usage | None,
        attempts: Sequence[Mapping[str, Any]],
    ) -> list[bytes]:
        """Return the records behind the last one of a complete response whose reader was shown no usage yet.

        `history` is that of what was delivered.
        """

    def with_total(self, last: bytes, *, usage: Usage | None, attempts: Sequence[Mapping[str, Any]]) -> bytes:
        """Return `last`, the last record of a complete response of several attempts, whose reader is shown the usage.

        It may tell what the attempts used together, in place of what the last of them did. It has not been delivered.
        """

    def error(self, body: Mapping[str, Any], *, number: int) -> bytes:
        """Return the record that ends a response that did not complete, behind `number` records.

        `body` is the error object in JSON form.
        """

    def refusal(self, body: Mapping[str, Any], *, status: int) -> dict[str, Any]:
        """Return the JSON that answers a request, with the HTTP `status`, in place of a response.

        `body` is the error object in OpenAI's form, or an upstream's own.
        """

    def accumulator(self) -> Accumulator:
        """Return what joins records into a response in one piece."""
