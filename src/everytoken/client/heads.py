"""Heads of responses as the caller gets them: an attempt's, without the headers that describe its own bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.client.effects import Head, Opened

if TYPE_CHECKING:
    import httpx2

    from everytoken.errors import EverytokenError

__all__ = ["head_of", "opened", "refusal"]

_OF_THE_BYTES = {b"content-length", b"content-encoding", b"transfer-encoding", b"connection", b"keep-alive"}
_KEPT = ("http_version", "reason_phrase")


def opened(response: httpx2.Response) -> Opened:
    """Return the head of an attempt's response. If a hook or a mock has read it, it is no longer compressed."""
    headers = [(name.lower(), value) for name, value in response.headers.raw]
    if response.is_stream_consumed:
        headers = [pair for pair in headers if pair[0] != b"content-encoding"]
    return Opened(response.status_code, headers, response.extensions)


def head_of(opened: Opened) -> Head:
    """Return the head of a streamed response, whether or not the attempt's was."""
    headers = [pair for pair in _headers(opened) if pair[0] != b"content-type"]
    headers.append((b"content-type", b"text/event-stream; charset=utf-8"))
    return Head(opened.status, headers, _extensions(opened))


def refusal(opened: Opened, error: EverytokenError) -> Head:
    """Return the head of a refusal as received; the extension `everytoken_error` holds `error`, which says what was tried.

    `x-should-retry` keeps the SDKs' own retries from multiplying ours.
    """
    headers = [pair for pair in _headers(opened) if pair[0] != b"x-should-retry"]
    headers.append((b"x-should-retry", b"false"))
    return Head(opened.status, headers, {**_extensions(opened), "everytoken_error": error})


def _headers(opened: Opened) -> list[tuple[bytes, bytes]]:
    return [pair for pair in opened.headers if pair[0] not in _OF_THE_BYTES]


def _extensions(opened: Opened) -> dict[str, object]:
    return {name: opened.extensions[name] for name in _KEPT if name in opened.extensions}
