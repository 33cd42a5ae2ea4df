"""What is raised at the steps of a journal, and where."""

from __future__ import annotations

import inspect
import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.native import parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    import pytest


class OddError(Exception):
    """None that anybody expects."""


EXCEPTIONS = [
    AssertionError("odd"),
    KeyError("odd"),
    MemoryError(),
    msgspec.MsgspecError("odd"),
    OddError("odd"),
    OSError(28, "No space left on device"),
    OverflowError("odd"),
    RecursionError("odd"),
    sqlite3.DataError("string or blob too big"),
    sqlite3.IntegrityError("odd"),
    sqlite3.InterfaceError("odd"),
    sqlite3.OperationalError("odd"),
    TypeError("odd"),
    UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates not allowed"),
    ValueError("odd"),
]


def raise_at(
    patch: pytest.MonkeyPatch, owner: type | ModuleType, name: str, at: int, error: Exception
) -> Callable[[], bool]:
    """Have the call number `at` of a function raise; return a function that tells whether it did.

    A coroutine function raises when its coroutine runs, which may be in a task of its own.
    """
    for part in ("begin", "commit", "part"):  # in C they would not call it
        patch.setattr(parts, part, None)
    real = getattr(owner, name)
    calls = 0

    def raising(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != at:
            return real(*args, **kwargs)
        if inspect.iscoroutinefunction(real):
            return fail()
        raise error

    async def fail() -> None:
        raise error

    patch.setattr(owner, name, raising)
    return lambda: calls >= at
