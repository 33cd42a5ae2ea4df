"""The short path of a chunk of text, in C, where it was built: see `short_path.c`, and docs/decisions/0038."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Parts", "ShortPath", "parts"]


class ShortPath(Protocol):
    """The short path of one attempt."""

    def learn(self, data: bytes, records: list[bytes], /) -> ShortPath | None:
        """Look at a piece of a body that Python has taken, and at its records; return itself if it can take the next."""


class Parts:
    """What there is in C; each is None where it was not built, and the Python code then does everything.

    `mover` takes a `Follower`, whether its events have ids and whether they are those of Messages, and returns what does as its
    `moved`. `receiver` takes an
    `HttpProtocol` and a clock, and returns what to give the transport in its place. `short_path` takes an `AttemptSink`, the
    writer of its stream, and how many bytes a transcript may have and may wait to be stored. The first and the last return None where it
    does not fit. `begin` and `commit` do as those of the `Stream` that they take, `part` as that of `PackedRecords`.
    """

    mover: Callable[[Any, bool, bool], Callable[[], None] | None] | None = None
    receiver: Callable[[Any, Callable[[], float]], Any] | None = None
    short_path: Callable[[Any, Any, int, int], ShortPath | None] | None = None
    begin: Callable[[Any], None] | None = None
    commit: Callable[[Any], None] | None = None
    part: Callable[[Any, int], Any] | None = None

    def use(self, *, wanted: bool) -> bool:
        """Switch it on or off for what begins from now on; return whether it is on."""
        self.mover = self.receiver = self.short_path = self.begin = self.commit = self.part = None
        if wanted:
            try:
                built = importlib.import_module("everytoken.native._short_path")
            except ImportError:
                return False
            self.mover, self.receiver, self.short_path = built.mover, built.receiver, built.short_path
            self.begin, self.commit, self.part = built.begin, built.commit, built.part
        return wanted


parts = Parts()
"""Those of this process. `EVERYTOKEN_NATIVE=0` in its environment switches them off."""
parts.use(wanted=os.environ.get("EVERYTOKEN_NATIVE") != "0")
