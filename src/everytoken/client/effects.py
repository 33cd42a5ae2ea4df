"""What the driver asks of a shell, and what the shell answers: values, the same for both shells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

__all__ = ["Close", "Deliver", "Effect", "Head", "Open", "Opened", "Read", "Result", "Sleep"]


class Open(msgspec.Struct, frozen=True):
    """Send `request` and wait for the head of its answer, until `deadline` at most.

    `sent` is to be called when the connection stands and the request goes out; it returns the deadline from then on.
    Answered with `Opened`, or with the `httpx2.TransportError` that came instead.
    """

    request: httpx2.Request
    deadline: float
    sent: Callable[[], float]


class Read(msgspec.Struct, frozen=True):
    """Read on in the open answer. Answered with bytes, b"" at the proper end, or the error that came instead."""

    deadline: float


class Close(msgspec.Struct, frozen=True):
    """Let go of the open answer; its connection may be kept only if `reusable`. Answered with None."""

    reusable: bool


class Sleep(msgspec.Struct, frozen=True):
    """Do nothing until then. Answered with None."""

    until: float


class Head(msgspec.Struct, frozen=True):
    """Hand the caller the head of the response; its body follows. Answered with None."""

    status: int
    headers: list[tuple[bytes, bytes]]
    extensions: dict[str, Any]


class Deliver(msgspec.Struct, frozen=True):
    """Hand the caller a part of the body. Answered with None when the caller wants more."""

    data: bytes


class Opened(msgspec.Struct, frozen=True):
    """The head of an answer; header names are in lower case."""

    status: int
    headers: list[tuple[bytes, bytes]]
    extensions: dict[str, Any]


Effect = Open | Read | Close | Sleep | Head | Deliver
Result = Any
"""`Opened | bytes | httpx2.TransportError | None`, as the effect says."""
