"""The HTTP server that a command talks to."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING

import httpx2
import msgspec

from everytoken.dialects.openai_chat.inband import in_band_error
from everytoken.errors import ConfigurationError, ConnectError, StatusError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Server", "reason", "refusal"]

_CONNECT = 10.0  # seconds
_HEAD = 300.0  # seconds until a response begins: a long prompt on a small machine takes time


class Server:
    """A server at `base_url`, asked with `api_key` if there is one.

    Raises `ConfigurationError` for a key that cannot be sent.
    """

    def __init__(self, base_url: str, api_key: str | None) -> None:
        headers = {"user-agent": "everytoken", "accept-encoding": "identity"}  # compression delays tokens
        if api_key is not None:
            if not (api_key.isascii() and api_key.isprintable()):
                raise ConfigurationError("the API key has characters that cannot be sent")
            headers["authorization"] = f"Bearer {api_key}"
        # This machine is not reached through a proxy.
        direct = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
        self.http = httpx2.AsyncClient(
            base_url=base_url,
            headers=headers,
            timeout=httpx2.Timeout(_HEAD, connect=_CONNECT),
            mounts=direct,
            # Reading the system's certificates is slow, so an http:// URL does without.
            verify=base_url.startswith("https:") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    async def get(self, url: str | httpx2.URL, params: Mapping[str, str] | None = None) -> httpx2.Response:
        """GET `url`, with `params` added to its own, and return the head of the response. Raises as `send` does."""
        request = self.http.build_request("GET", url)
        request.url = request.url.copy_merge_params(params or {})
        return await self.send(request)

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        """Return the head of the response. Raises `ConnectError`, or `StatusError` with the server's own message."""
        try:
            response = await self.http.send(request, stream=True)
            if not response.is_success:
                body = await response.aread()
                raise StatusError(refusal(response, body), upstream_status=response.status_code, body=body)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise ConnectError(reason(error)) from error
        return response


def refusal(response: httpx2.Response, body: bytes) -> str:
    """Describe a response that is not a success in one sentence."""
    try:
        told = in_band_error("", msgspec.json.decode(body))
    except msgspec.DecodeError:
        told = None
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if told is not None:
        return f"the server answered {status}: {told.message}"
    location = response.headers.get("location")
    return f"the server answered {status}" + (f", see {location}" if location else "")


def reason(error: Exception) -> str:
    """Return the operating system's message if it is the cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, OSError) and cause.errno:
            # asyncio changes `strerror`; the resolver's numbers are not the system's.
            return str(cause.strerror) if isinstance(cause, socket.gaierror) else os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
