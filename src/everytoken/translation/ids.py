"""The ids of tool calls, made such as an API takes them."""

from __future__ import annotations

import hashlib
import re
from typing import Final

__all__ = ["CallIds"]

_REFUSED: Final = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST: Final = 64  # OpenAI Responses refuses longer ones; nobody's own are


class CallIds:
    """Names each call once, and each result as the call it belongs to.

    Anthropic takes `^[a-zA-Z0-9_-]+$`, and every id once in a conversation. Some servers give the calls of every turn the
    same ids, such as `call_0`: a result belongs to the last call of its id.
    """

    def __init__(self) -> None:
        self._given: dict[str, str] = {}
        self._used: set[str] = set()
        self._next: dict[str, int] = {}

    def call(self, call_id: str) -> str:
        """Return the id to write for a call."""
        name = _REFUSED.sub("_", call_id) or "call"
        if len(name) > _LONGEST:
            name = f"call_{hashlib.sha256(call_id.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
        given = name
        while given in self._used:
            self._next[name] = number = self._next.get(name, 1) + 1
            given = f"{name[: _LONGEST - 12]}_{number}"
        self._used.add(given)
        self._given[call_id] = given
        return given

    def result(self, call_id: str) -> str | None:
        """Return the id to write for a result; None if there is no call before it."""
        return self._given.get(call_id)
