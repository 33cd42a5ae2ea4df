"""The probes that run at this node, and how the last ones have ended."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from everytoken.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Probes"]

_AT_ONCE: Final = 64  # probes that run at the same time
_KEPT: Final = 256  # probes whose end is remembered


class Probes:
    """The probes that run, and how the last ones have ended: `running`, `ended`, or `left` by the client."""

    def __init__(self) -> None:
        self._running = 0
        self._states: OrderedDict[str, str] = OrderedDict()

    @contextmanager
    def begin(self) -> Iterator[str]:
        """Count a probe while it runs; give its id. Raises `OverloadedError` when there are too many."""
        if self._running >= _AT_ONCE:
            raise OverloadedError("too many probes are running; try again")
        self._running += 1
        probe_id = secrets.token_hex(12)
        self._states[probe_id] = "running"
        while len(self._states) > _KEPT:
            self._states.popitem(last=False)
        try:
            yield probe_id
        finally:
            self._running -= 1
            if self._states.get(probe_id) == "running":
                self._states[probe_id] = "left"

    def ended(self, probe_id: str) -> None:
        """Record that a probe was written to its end."""
        if probe_id in self._states:
            self._states[probe_id] = "ended"

    def state(self, probe_id: str) -> str | None:
        """Return how a probe is, None for one that is not known here."""
        return self._states.get(probe_id)
