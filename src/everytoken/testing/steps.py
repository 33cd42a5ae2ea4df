"""What a scripted upstream can do on a connection, one small value per action.

A script is a sequence of steps. The steps on the body (`Send`, `CleanEnd`) keep the framing the `Head` announced;
`SendRaw` writes past it, which is how a script breaks HTTP itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "CleanEnd",
    "Close",
    "Head",
    "Repeat",
    "Reset",
    "Send",
    "SendRaw",
    "Stall",
    "Status",
    "Step",
    "Wait",
]


@dataclass(frozen=True, slots=True)
class Head:
    """Send the status line and the headers.

    `framing` says how the end of the body is marked: a chunked body, a `Content-Length` of `length` bytes, or the end of the
    connection (`"close"`, the only one HTTP/1.0 knows).
    """

    status: int = 200
    content_type: str = "text/event-stream; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    framing: Literal["chunked", "length", "close"] = "chunked"
    length: int = 0
    version: Literal["1.0", "1.1"] = "1.1"


@dataclass(frozen=True, slots=True)
class Send:
    """Send bytes of the body, framed as the head announced; without a head, a plain `Head()` goes first."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SendRaw:
    """Send bytes on the connection as they are: half a head, a wrong chunk size, no HTTP at all."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Do nothing until the client goes away."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection with a TCP RST; it may overtake bytes the client has not read yet."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection with a TCP FIN, even if the framing requires more."""


@dataclass(frozen=True, slots=True)
class CleanEnd:
    """End the body as its framing requires: the last chunk of a chunked body, else the end of the connection."""


@dataclass(frozen=True, slots=True)
class Status:
    """Send a complete response with this status; `retry_after` is seconds or an HTTP date."""

    code: int
    retry_after: float | str | None = None
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Repeat:
    """Do these steps over and over until the client goes away; one of them has to wait."""

    steps: tuple[Step, ...]


Step: TypeAlias = Head | Send | SendRaw | Wait | Stall | Reset | Close | CleanEnd | Status | Repeat
