"""How callers of one API are served by an upstream of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.dialects.registry import dialect_named
from everytoken.translation.in_one_piece import translated_answer
from everytoken.translation.sparing import SPARED, spare
from everytoken.translation.stream import TranslatedStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.dialects.dialect import Request
    from everytoken.translation.api import TranslatedApi

__all__ = ["Translation"]


class Translation:
    """From the API of a `caller` to that of an `upstream`, and back. A value: what it makes belongs to one response.

    `dialect` is the upstream's: requests that were translated are made into attempts by it.
    """

    def __init__(self, caller: TranslatedApi, upstream: TranslatedApi) -> None:
        self._caller = caller
        self._upstream = upstream
        self._callers_dialect = dialect_named(caller.name)
        self.dialect = dialect_named(upstream.name)

    @property
    def spared(self) -> Sequence[str]:
        """The paths of fields that a request may do without where an upstream refuses them."""
        return SPARED[self.dialect.name]

    def request(self, request: Request, *, without: Sequence[str] = ()) -> Request:
        """Return a caller's request as one of the upstream's API, `without` some of the fields that may be left out.

        Raises `InvalidRequestError`, which names the field.
        """
        # As it would be sent to an upstream of the caller's API: without what is ours to do.
        body = self._callers_dialect.body(request, model=None, seed=None, usage=False, extra={})
        body["stream"] = request.stream
        translated = self._upstream.write_request(self._caller.read_request(body))
        return self.dialect.request(spare(translated, without))

    def stream(self, request: Request, *, omits_end: bool = False, created: int = 0) -> TranslatedStream:
        """Return what reads the stream of one attempt at a caller's `request`.

        `omits_end`: this upstream is known to leave out what tells a true end from a cut. `created`: when the response
        began, in seconds since 1970, for an upstream that does not say.
        """
        reader = self._upstream.reader(omits_end=omits_end)
        return TranslatedStream(reader, self._caller.writer(request.body, created=created))

    def records_in(self, body: bytes, request: Request, *, created: int = 0) -> list[bytes]:
        """Return an answer in one piece to a caller's `request` as the records it would have been; the rest as for `stream`.

        Raises `NotAnEventStreamError`, `ErrorEventError`, `UntranslatableError`.
        """
        reader = self._upstream.reader(omits_end=True)  # a JSON document that is complete is an end
        return translated_answer(
            body, self.dialect, reader, self._caller.writer(request.body, created=created)
        )
