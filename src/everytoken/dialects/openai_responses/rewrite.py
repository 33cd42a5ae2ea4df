"""Make the events of a later attempt continue those delivered before: one set of ids, one row of numbers.

What is encrypted belongs to the item, and the id, that it was made with; nobody can compare it or make it up. So an item that
was delivered whole keeps its own, whatever a repetition brings; an item that begins in the later attempt has that attempt's,
with that attempt's id; and an item that was delivered in part cannot be finished by another attempt's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.dialects.openai_responses.history import LIFECYCLE, ResponsesHistory, object_in
from everytoken.errors import DivergedError, MalformedEventError
from everytoken.json import dumps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.dialects.openai_responses.decoder import Own
    from everytoken.dialects.openai_responses.history import Item
    from everytoken.dialects.pieces import Chunk, New

__all__ = ["ResponsesRewriter"]

_IDENTITY: Final = ("id", "created_at")
_OF_ONE_ATTEMPT: Final = ("obfuscation",)


class ResponsesRewriter:
    """Gives a later attempt's events the identity of the response, of its items and calls, and their numbers."""

    def __init__(self, history: ResponsesHistory, first: bytes | None) -> None:
        self._history = history
        # Those that begin from now on have the ids of the attempt that begins them.
        self._delivered = dict(history.items)
        self._first = first
        self._identity: dict[str, Any] | None = None

    def join(self, chunk: Chunk) -> bytes:
        """Return the record of a chunk that is new as a whole."""
        own: Own = chunk.own
        value = dict(own.value)
        self._rename(own, value)
        return self._numbered(value)

    def cut(self, chunk: Chunk, news: Sequence[New]) -> bytes:
        """Return the record of a chunk with nothing but `news`: a text may have come in part."""
        own: Own = chunk.own
        value = dict(own.value)
        if "delta" in value and news:
            ((new, _),) = news
            if new != value["delta"]:
                value["delta"] = new
                if "logprobs" in value:
                    value["logprobs"] = []  # they are of tokens that are no longer whole
        self._rename(own, value)
        return self._numbered(value)

    def _numbered(self, value: dict[str, Any]) -> bytes:
        for name in _OF_ONE_ATTEMPT:
            value.pop(name, None)
        value["sequence_number"] = self._history.number
        return dumps(value)

    def _rename(self, own: Own, value: dict[str, Any]) -> None:
        if own.kind in LIFECYCLE:
            value["response"] = self._response(own, value["response"])
            return
        index = value.get("output_index")
        delivered = self._delivered.get(index) if isinstance(index, int) else None
        if delivered is None:
            return
        if "item_id" in value:
            value["item_id"] = delivered.id
        if isinstance(value.get("item"), dict):
            value["item"] = _named(value["item"], delivered)

    def _response(self, own: Own, response: dict[str, Any]) -> dict[str, Any]:
        response = {**response, **self.identity}
        output = response.get("output")
        if isinstance(output, list):
            response["output"] = [self._item(own, item, position) for position, item in enumerate(output)]
        return response

    def _item(self, own: Own, item: Any, position: int) -> Any:
        if not isinstance(item, dict):
            return item
        delivered = self._delivered.get(own.places.index_of(item.get("id"), position))
        return item if delivered is None or delivered.kind != item.get("type") else _named(item, delivered)

    @property
    def identity(self) -> dict[str, Any]:
        """The identity of the response: that in its first event."""
        if self._identity is None:
            response: Any = None
            if self._first is not None:
                try:
                    response = object_in(self._first).get("response")
                except MalformedEventError:
                    response = None
            found = response if isinstance(response, dict) else {}
            self._identity = {name: found[name] for name in _IDENTITY if name in found}
        return self._identity


def _named(item: dict[str, Any], delivered: Item) -> dict[str, Any]:
    """Return an item under the identity it was delivered with. Raises `DivergedError` if it cannot have that."""
    named = dict(item)
    if "encrypted_content" in item or delivered.encrypted is not None:
        if delivered.done:
            named["encrypted_content"] = delivered.encrypted
        elif item.get("encrypted_content") and item.get("id") != delivered.id:
            raise DivergedError(
                "an item with encrypted content was cut, and that of another attempt does not belong to it"
            )
    identity = {"id": delivered.id, "call_id": delivered.call_id}
    return {**named, **{name: value for name, value in identity.items() if value is not None}}
