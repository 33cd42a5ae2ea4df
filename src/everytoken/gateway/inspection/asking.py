"""A small streamed request to an upstream, outside of recovery, and what comes back when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.dialects.registry import dialect_named
from everytoken.errors import StatusError, TruncatedError
from everytoken.recovery.refusals import lacks_path
from everytoken.translation.registry import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from everytoken.errors import EverytokenError
    from everytoken.translation.registry import ApiName
    from everytoken.upstream import Upstream

__all__ = ["ask", "body_for"]

_PROMPT: Final = "Count from 1 to 20, with a space between the numbers, and write nothing else."
_TOKENS: Final = 64  # enough to see the pace
_MOST: Final = 4 * 1024 * 1024  # bytes of an answer that are looked at
_MARKS: Final[dict[str, bytes]] = {
    "chat": b"[DONE]",
    "responses": b"event: response.completed",
    "messages": b"event: message_stop",
}
"""What nothing comes behind; some servers leave the connection open."""

# What a complete answer has, whatever it is of.
_ENDS: Final[dict[str, tuple[bytes, ...]]] = {
    "chat": (b"[DONE]", b'"finish_reason":"', b'"finish_reason": "'),
    "responses": (b"response.completed", b"response.incomplete"),
    "messages": (b"message_stop",),
}


def body_for(api: ApiName, model: str, extra: Mapping[str, Any], *, limit: str = "") -> dict[str, Any]:
    """Return the request; `limit`: what the field for the limit of tokens is called, "" for as usual."""
    body: dict[str, Any] = {"model": model, "stream": True}
    if api == "responses":
        body |= {"input": _PROMPT, "store": False, limit or "max_output_tokens": _TOKENS}
    else:
        body |= {"messages": [{"role": "user", "content": _PROMPT}], limit or "max_tokens": _TOKENS}
    return {**extra, **body}


class _Seen:
    """A sink that writes down when something has happened, in seconds since it was made."""

    def __init__(self, now: Callable[[], float], mark: bytes) -> None:
        self._mark = mark
        self._now, self._begun = now, now()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.told: dict[str, Any] = {"reads": 0, "events": 0}
        self.error: EverytokenError | None = None
        self.streamed = self.whole = False
        self.data = bytearray()

    def _at(self) -> float:
        return round(self._now() - self._begun, 4)

    def on_connected(self) -> None:
        self.told["sent"] = self._at()

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        named = dict(headers)
        self.told |= {"head": self._at(), "status": status}
        for name in ("date", "server", "via", "content-type", "content-encoding"):
            if name.encode() in named:
                self.told[name.replace("-", "_")] = named[name.encode()][:200].decode("latin-1")

    def on_accepted(self) -> None:
        pass

    def on_data(self, data: bytes) -> None:
        self.streamed = True
        self.told.setdefault("first", self._at())
        self.told["last"] = self._at()
        self.told["reads"] += 1
        if len(self.data) < _MOST:
            self.data += data
        if self._mark in self.data[-len(data) - len(self._mark) :]:
            asyncio.get_running_loop().call_soon(self._finish)

    def on_non_streaming(self, body: bytes) -> None:
        self.told["bytes"] = len(body)
        self.whole = True
        self._finish()

    def on_eof(self) -> None:
        self.whole = True
        self._finish()

    def on_error(self, error: EverytokenError) -> None:
        self.error = error
        self._finish()

    def _finish(self) -> None:
        self.told.setdefault("end", self._at())
        if not self.done.done():
            self.done.set_result(None)


async def ask(
    upstream: Upstream, api: ApiName, model: str, extra: Mapping[str, Any], patience: float
) -> dict[str, Any]:
    """Ask for a few tokens and return what happened, as facts; `outcome` says it in one word.

    `streamed`, `in-one-piece`, `lacks-api`, `refused`, `cut`, `failed` (no answer that can be read), `silent` (none in
    `patience` seconds). Never raises for what the upstream does.
    """
    told = await _ask(upstream, api, body_for(api, model, extra), patience)
    if (
        told["outcome"] == "refused"
        and told.get("status") == 400
        and "max_completion_tokens" in told["message"]
    ):
        told = await _ask(upstream, api, body_for(api, model, extra, limit="max_completion_tokens"), patience)
    return {"api": api, **told}


async def _ask(upstream: Upstream, api: ApiName, body: dict[str, Any], patience: float) -> dict[str, Any]:
    seen, dialect = _Seen(asyncio.get_running_loop().time, _MARKS[api]), dialect_named(DIALECTS[api])
    connection = upstream.connect(body, seen, streamed=True, path=dialect.path, headers=dialect.headers)
    try:
        async with asyncio.timeout(patience):
            await seen.done
        error = seen.error
    except TimeoutError:
        return {**seen.told, "outcome": "silent", "message": f"it has not ended within {patience:g} s"}
    finally:
        connection.release(reusable=False)
    told = seen.told
    told["events"] = bytes(seen.data).replace(b"\r\n", b"\n").count(b"\ndata:") + seen.data.startswith(
        b"data:"
    )
    return {**told, **_outcome(seen, api, error)}


def _outcome(seen: _Seen, api: str, error: EverytokenError | None) -> dict[str, Any]:
    if isinstance(error, StatusError):
        kind = "lacks-api" if lacks_path(error) else "refused"
        return {"outcome": kind, "status": error.upstream_status, "message": error.message}
    if isinstance(error, TruncatedError):
        return {"outcome": "cut", "message": error.message}
    if error is not None:
        return {"outcome": "failed", "code": error.code, "message": error.message}
    if not seen.streamed:
        return {"outcome": "in-one-piece"}
    if (told := _error_in(bytes(seen.data))) is not None:
        return {"outcome": "refused", "message": told}
    if not any(end in seen.data for end in _ENDS[api]):
        return {"outcome": "cut", "message": "the stream ended without its end mark"}
    return {"outcome": "streamed"}


def _error_in(data: bytes) -> str | None:
    """Return the message of an error that came as the first event, None if there is none."""
    for line in data.splitlines()[:4]:
        if line.startswith(b"data:"):
            try:
                value = msgspec.json.decode(line[5:])
            except (msgspec.DecodeError, UnicodeDecodeError):
                return None
            error = value.get("error") if isinstance(value, dict) else None
            if isinstance(error, dict):
                return str(error.get("message") or error)[:500]
            return None
    return None
