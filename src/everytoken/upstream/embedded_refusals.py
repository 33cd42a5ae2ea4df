"""What the embedded model cannot do, said in words: llama.cpp ignores some of it, and answers 500 to the rest."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from everytoken.upstream import Sink

__all__ = ["Refused", "ignored", "refusal"]


def _several(value: Any) -> bool:
    return isinstance(value, int) and value > 1


def _spoken(value: Any) -> bool:
    return isinstance(value, list) and any(kind != "text" for kind in value)


# A field of a request, which of its values are refused, and what the model does not do.
_REFUSED: Final[tuple[tuple[str, Callable[[Any], bool], str], ...]] = (
    ("tools", bool, "call tools"),
    ("functions", bool, "call tools"),
    ("web_search_options", lambda value: value is not None, "search the web"),
    ("modalities", _spoken, "answer in anything but text"),
    ("audio", bool, "answer in anything but text"),
    ("n", _several, "give more than one answer to a request"),
    ("best_of", _several, "give more than one answer to a request"),
    ("suffix", bool, "write what comes before a suffix"),
    ("echo", bool, "repeat the prompt"),
)

# Types of the parts of a message, in any API, and what the model does not do with them.
_PARTS: Final = {
    **dict.fromkeys(("image_url", "image", "input_image"), "see images"),
    **dict.fromkeys(("input_audio", "audio"), "hear audio"),
    **dict.fromkeys(("file", "input_file", "document"), "read files"),
    **dict.fromkeys(("video_url", "video", "input_video"), "see videos"),
}

# Hints: an answer without them is still an answer to the request.
_IGNORED: Final = ("reasoning_effort", "reasoning", "thinking", "verbosity", "prediction")


class Refused:
    """A connection to nothing, which reports a refusal."""

    def __init__(self, error: StatusError, sink: Sink) -> None:
        self._told = asyncio.get_running_loop().call_soon(sink.on_error, error)

    def release(self, *, reusable: bool) -> None:
        """Report nothing more."""
        del reusable
        self._told.cancel()

    def pause(self) -> None:
        """There is nothing to read."""

    def resume(self) -> None:
        """There is nothing to read."""


def refusal(body: Mapping[str, Any]) -> StatusError | None:
    """Return the refusal of a request that the model cannot do, None for one that it can.

    Another upstream may well do it, so it is asked if there is one: the code says so (`everytoken.recovery.refusals`).
    """
    for name, is_refused, what in _REFUSED:
        if is_refused(body.get(name)):
            return _refusal(what, name)
    for kind in _kinds(body):
        if kind in _PARTS:
            return _refusal(_PARTS[kind], None)
    return None


def ignored(body: Mapping[str, Any]) -> list[str]:
    """Return the names of the parameters that make no difference to the model, and that one could think do."""
    return [name for name in _IGNORED if body.get(name) is not None]


def _kinds(value: Any) -> Iterator[str]:
    """Yield the types of all parts of the messages of a body."""
    if not isinstance(value, dict):
        return
    for name in ("messages", "input", "content", "output"):
        parts = value.get(name)
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                kind = part.get("type")
                if isinstance(kind, str):
                    yield kind
                yield from _kinds(part)


def _refusal(what: str, field: str | None) -> StatusError:
    message = f"the embedded model does not {what}; configure an upstream that does"
    error = {
        "message": message,
        "type": "invalid_request_error",
        "param": field,
        "code": "model_not_supported",
    }
    return StatusError(message, upstream_status=400, body=json.dumps({"error": error}).encode())
