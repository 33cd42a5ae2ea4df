"""Signs of life between the chunks, in every form that servers and proxies give them.

A comment is how SSE means it; many send an event instead: no data, `ping`, `[PING]`, null, a time, or an event with a
name of that kind. What could have been text, or half a chunk, is none of these.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["is_heartbeat", "is_heartbeat_object"]

_LONGEST: Final = 64  # characters

# Written without blanks, dashes and the like.
_WORDS: Final = frozenset(
    {
        *(
            "ping",
            "pong",
            "keepalive",
            "keepconnection",
            "stayalive",
            "stillalive",
            "alive",
            "heartbeat",
            "beat",
        ),
        *("hb", "noop", "nop", "tick", "idle", "processing", "stillprocessing", "working", "waiting", "wait"),
        *("pending", "queued", "queue", "connected", "comment"),
    }
)
_MARK: Final = re.compile(r"\[[A-Z][A-Z _.-]*\]")  # as `[DONE]` is written
_NOTHING: Final = frozenset({"null", "undefined", "true", "false"})
_NO_LETTER: Final = re.compile(r"[\W_]+")
# Seconds or milliseconds since 1970, or a date: no short number, which a response could consist of.
_TIME: Final = re.compile(r"\d{10,19}(\.\d+)?|\d{4}-\d\d-\d\d[T ][\d:.]+(Z|[+-]\d\d:?\d\d)?")
_JSON: Final = ("{", "[", '"')
_KINDS: Final = ("type", "event", "object", "status")


def is_heartbeat(name: str, data: str) -> bool:
    """Whether an event called `name`, whose data is no JSON object, has nothing to say but that the server lives."""
    if name == "error":
        return False
    data = data.strip()
    if _is_word(name):
        # What begins like JSON under such a name may be a chunk that was garbled.
        return not data.startswith(_JSON) or _is_mark(data)
    return len(data) <= _LONGEST and _is_mark(data)


def _is_mark(data: str) -> bool:
    if not data or data.lower() in _NOTHING or _TIME.fullmatch(data) or _MARK.fullmatch(data):
        return True
    # What is left begins like JSON that was cut.
    whole = not data.startswith(_JSON) or (data[0], data[-1]) in {('"', '"'), ("[", "]")}
    return whole and _is_word(data)


def is_heartbeat_object(value: dict[str, Any]) -> bool:
    """Whether an object without `choices` says by its kind that it is one."""
    return any(isinstance(kind := value.get(name), str) and _is_word(kind) for name in _KINDS)


def _is_word(text: str) -> bool:
    return len(text) <= _LONGEST and _NO_LETTER.sub("", text).lower() in _WORDS
