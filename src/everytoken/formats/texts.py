"""The text in the records of a response, by the API that they are written in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.openai_chat import decode_chunk
from everytoken.json import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["text_reader"]

_RESPONSE_TEXTS = frozenset({"response.output_text.delta", "response.refusal.delta"})


def text_reader(dialect: str | None = None) -> Callable[[Sequence[bytes]], str]:
    """Return what reads the text of some records: that of the first choice, or of all blocks or items of text, in order.

    What a refusal says is text too. Records of a dialect that is not known here are read as chat completions are.
    """
    read = _READERS.get(dialect or "")
    if read is None:
        return _chat
    return lambda records: "".join(text for record in records if isinstance(text := read(loads(record)), str))


def _chat(records: Sequence[bytes]) -> str:
    pieces: list[str] = []
    for record in records:
        for choice in decode_chunk(record).choices or ():
            if not choice.index and choice.delta is not None:
                pieces.append(choice.delta.text)
                pieces.append(choice.delta.refusal or "")
    return "".join(pieces)


def _completion(value: Any) -> str:
    choices = value.get("choices") or () if isinstance(value, dict) else ()
    return "".join(choice.get("text") or "" for choice in choices if not choice.get("index"))


def _message(value: Any) -> Any:
    """Return the text of an event of Messages: a block may begin with some already."""
    kind = value.get("type") if isinstance(value, dict) else None
    name = {"content_block_start": "content_block", "content_block_delta": "delta"}.get(str(kind), "")
    part = value.get(name) if name else None
    return part.get("text") if isinstance(part, dict) and part.get("type") in ("text", "text_delta") else ""


def _response(value: Any) -> Any:
    return value.get("delta") if isinstance(value, dict) and value.get("type") in _RESPONSE_TEXTS else ""


_READERS: dict[str, Callable[[Any], Any]] = {
    "anthropic-messages": _message,
    "openai-responses": _response,
    "openai-completions": _completion,
}
