"""The items that a response was made from: in front of the next one's, and as a list for who asks."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from everytoken.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["input_of", "page"]

_MOST = 100  # items of one page
_USUAL = 20


def input_of(request: Mapping[str, Any]) -> list[Any]:
    """Return the input of a request as items."""
    given = request.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return list(given) if isinstance(given, list) else []


def page(request: Mapping[str, Any], stream_id: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of the input items, the last one first unless `order=asc`. Raises `InvalidRequestError`."""
    items = [_shown(item, stream_id, number) for number, item in enumerate(input_of(request))]
    order = query.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise InvalidRequestError("'order' must be 'asc' or 'desc'", param="order")
    if order == "desc":
        items.reverse()
    limit = query.get("limit", str(_USUAL))
    if not (limit.isascii() and limit.isdigit() and len(limit) < 5 and 1 <= int(limit) <= _MOST):
        raise InvalidRequestError(f"'limit' must be a number from 1 to {_MOST}", param="limit")
    after = query.get("after")
    if after:
        places = [place for place, item in enumerate(items) if item["id"] == after]
        if not places:
            raise InvalidRequestError("'after' is no item of this response", param="after")
        items = items[places[0] + 1 :]
    shown = items[: int(limit)]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(shown) < len(items),
    }


def _shown(item: Any, stream_id: str, number: int) -> dict[str, Any]:
    """Return an item in its full form: with a type, an id, and content as parts."""
    shown = dict(item) if isinstance(item, dict) else {}
    if "role" in shown:
        shown.setdefault("type", "message")
        if isinstance(shown.get("content"), str):
            kind = "output_text" if shown["role"] == "assistant" else "input_text"
            notes: dict[str, Sequence[Any]] = {"annotations": []} if kind == "output_text" else {}
            shown["content"] = [{"type": kind, "text": shown["content"], **notes}]
    if not isinstance(shown.get("id"), str):
        digest = hashlib.blake2b(f"{stream_id} {number}".encode(), digest_size=16)
        shown["id"] = f"{str(shown.get('type') or 'item')[:3]}_{digest.hexdigest()}"
    return shown
