"""What a driver asks its shell to do, and the results: values, the same for both shells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

__all__ = ["Close", "Deliver", "Effect", "Head", "Open", "Opened", "Read", "Result", "Sleep"]


class Open(msgspec.Struct, frozen=True):
    """Send `request` and wait for the head of the response, until `deadline` at most.

    The shell calls `sent` when it is connected and the request goes out; that returns the deadline from then on. The
    result is `Opened`, or the `httpx2.TransportError` that was raised.
    """

    request: httpx2.Request
    deadline: float
    sent: Callable[[], float]


class Read(msgspec.Struct, frozen=True):
    """Read more of the open response. The result is bytes, b"" at the proper end, or the error that was raised."""

    deadline: float


class Close(msgspec.Struct, frozen=True):
    """Close the open response; its connection may be kept only if `reusable`. The result is None."""

    reusable: bool


class Sleep(msgspec.Struct, frozen=True):
    """Wait until then. The result is None."""

    until: float


class Head(msgspec.Struct, frozen=True):
    """Hand the caller the head of the response; its body follows. The result is None."""

    status: int
    headers: list[tuple[bytes, bytes]]
    extensions: dict[str, Any]


class Deliver(msgspec.Struct, frozen=True):
    """Hand the caller a part of the body. The result is None, when the caller wants more."""

    data: bytes


class Opened(msgspec.Struct, frozen=True):
    """The head of a response; header names are in lower case."""

    status: int
    headers: list[tuple[bytes, bytes]]
    extensions: dict[str, Any]


Effect = Open | Read | Close | Sleep | Head | Deliver
Result = Any
"""`Opened | bytes | httpx2.TransportError | None`, as the effect says."""
