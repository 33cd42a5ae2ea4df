"""Names of responses: they cannot be guessed, and they say when they were given.

So an old one that is not found can be told from one that never was, without a note kept of every response that has
been removed. See docs/decisions/0008.
"""

from __future__ import annotations

import os
import re

from everytoken.errors import OffsetExpiredError, StreamNotFoundError

__all__ = ["given_at", "missing", "new_stream_id"]

# No command line takes it for an option, and it is no hash in hexadecimal, which people may name their streams by.
_OURS = re.compile(r"r([0-9a-f]{8})[0-9a-f]{32}")


def new_stream_id(now: float) -> str:
    """Return a name given at `now`, in seconds since 1970: behind the time there are 128 random bits."""
    return f"r{int(now) & 0xFFFFFFFF:08x}{os.urandom(16).hex()}"


def given_at(stream_id: str) -> int | None:
    """Return when a response was given its name, in whole seconds since 1970; None for a name that is not ours."""
    found = _OURS.fullmatch(stream_id)
    return None if found is None else int(found[1], 16)


def missing(stream_id: str, *, removed: float) -> StreamNotFoundError:
    """Return what is to be said of a stream that is not there: `OffsetExpiredError` if its time may be over.

    `removed`: what had ended up to then (seconds since 1970) may have been removed because it was old.
    """
    given = given_at(stream_id)
    if given is not None and given < removed:
        return OffsetExpiredError("a response of that age is no longer kept")
    return StreamNotFoundError("there is no such stream")
