"""The caller's request, and the requests we send for it."""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec

from everytoken.dialects.registry import all_dialects
from everytoken.errors import InvalidRequestError
from everytoken.redaction import Redactor, is_secret_header, secrets_in_header
from everytoken.translation.registry import DIALECTS

if TYPE_CHECKING:
    from everytoken.client.effects import Opened
    from everytoken.client.upstream import Upstream
    from everytoken.dialects.dialect import Dialect
    from everytoken.dialects.dialect import Request as ModelRequest
    from everytoken.recovery import Policy

__all__ = ["ELSEWHERE", "Asked"]

ELSEWHERE = "everytoken.elsewhere"
"""The extension of a request that does not go where the caller sent it: the client's own credentials stay away from it."""

_STREAM = re.compile(r".*/v1/stream/[A-Za-z0-9_-]+")
_OF_THE_BODY = {"content-length", "content-type", "transfer-encoding", "idempotency-key"}
_OF_THE_HOST = {"host", "cookie", "referer", "origin", "openai-organization", "openai-project"}
_OF_AN_API = (
    "anthropic-",
    "openai-",
)  # what the name of a header begins with that means nothing to another API
_SEEDS = 2**31  # llama.cpp and several vendors take no larger seed


class Asked:
    """A request for a streamed response, in one of the dialects."""

    def __init__(self, request: httpx2.Request, dialect: Dialect, wanted: ModelRequest) -> None:
        self.request = request
        self.dialect = dialect
        self.wanted = wanted
        self._keys: dict[bytes, str] = {}

    @classmethod
    def read(cls, request: httpx2.Request) -> Asked | None:
        """Return `request` as understood, None if it does not ask for a streamed response that we can recover."""
        dialect = next((one for one in all_dialects() if request.url.path.endswith(one.path)), None)
        if dialect is None or request.method != "POST":
            return None
        try:
            body = request.content
        except httpx2.RequestNotRead:
            return None
        if b'"stream"' not in body:
            return None
        try:
            value = msgspec.json.decode(body)
            if not isinstance(value, dict) or _runs_on(value, dialect):
                return None
            wanted = dialect.request(value)
        except (msgspec.DecodeError, RecursionError, InvalidRequestError):
            return None  # for the server to judge
        return cls(request, dialect, wanted) if wanted.stream else None

    @property
    def repeated(self) -> bool:
        """Whether the caller's SDK has sent the same request before."""
        return self.request.headers.get("x-stainless-retry-count", "0") != "0"

    @property
    def fingerprint(self) -> tuple[str, int]:
        """What is the same for a retry of this request."""
        return str(self.request.url), hash(self.request.content)

    @property
    def seed(self) -> int:
        """A seed for a request that has none. With an idempotency key it is the same for each retry."""
        if "idempotency-key" in self.request.headers:
            return int.from_bytes(hashlib.sha256(self.request.content).digest()[:4]) % _SEEDS
        return secrets.randbelow(_SEEDS)

    def redact(self, text: str) -> str:
        """Return `text` without the caller's key, which some servers quote when they reject it."""
        return self.redactor.text(text)

    @functools.cached_property
    def redactor(self) -> Redactor:
        """What removes the caller's key."""
        headers = self.request.headers
        return Redactor(secret for item in headers.items() for secret in secrets_in_header(*item))

    def attempt(
        self,
        body: dict[str, Any],
        policy: Policy,
        *,
        streamed: bool,
        upstream: Upstream | None = None,
        dialect: Dialect | None = None,
    ) -> httpx2.Request:
        """Return the request of one attempt; `upstream`: where it goes, None for where the caller sends it.

        `dialect`: what `body` is in, None for the caller's own.

        The same body is sent with the same `Idempotency-Key`, so a server that honours it (everytoken does) begins one
        response, however often the connection breaks.
        """
        payload = msgspec.json.encode(body)
        given = self.request.headers.get("idempotency-key") if not self._keys else None
        key = self._keys.setdefault(payload, given or secrets.token_hex(16))
        headers = self._headers() if upstream is None else self._headers_for(upstream, dialect)
        headers["content-type"] = "application/json"
        headers["idempotency-key"] = key
        silence = policy.first_content if streamed else policy.non_streaming
        url = self.request.url
        if upstream is not None:
            url = httpx2.URL(upstream.url.rstrip("/") + (dialect or self.dialect).path)
        request = self._request("POST", url, headers, policy, silence, payload)
        request.extensions[ELSEWHERE] = upstream is not None
        return request

    def resumption(self, stream: httpx2.URL, offset: str, policy: Policy, silence: float) -> httpx2.Request:
        """Return the request that resumes the response `stream` at `offset`, or at its start."""
        headers = self._headers()
        headers["accept"] = "text/event-stream"
        if offset:
            headers["last-event-id"] = offset
        return self._request("GET", stream.copy_with(path=f"{stream.path}/events"), headers, policy, silence)

    def stream_of(self, opened: Opened) -> httpx2.URL | None:
        """Return the URL to resume a response at, if an everytoken gateway serves it, at the origin we asked.

        Our credentials are sent nowhere else.
        """
        named = dict(opened.headers)
        location = named.get(b"location")
        if location is None or b"stream-next-offset" not in named:
            return None
        try:
            url = self.request.url.join(location.decode("ascii"))
        except (UnicodeDecodeError, httpx2.InvalidURL):
            return None
        asked = self.request.url
        same = (url.scheme, url.host, url.port) == (asked.scheme, asked.host, asked.port)
        return url.copy_with(query=None, fragment=None) if same and _STREAM.fullmatch(url.path) else None

    def _headers(self) -> httpx2.Headers:
        headers = httpx2.Headers(
            [(name, value) for name, value in self.request.headers.multi_items() if name not in _OF_THE_BODY]
        )
        headers["accept-encoding"] = "identity"  # compression delays tokens
        return headers

    def _headers_for(self, upstream: Upstream, dialect: Dialect | None) -> httpx2.Headers:
        """Return the headers for another upstream: nothing that is secret, or about where the request was to go."""
        headers = httpx2.Headers(
            [
                (name, value)
                for name, value in self._headers().multi_items()
                if name not in _OF_THE_HOST and not is_secret_header(name)
            ]
        )
        given = self.request.headers
        bare = "x-api-key" in given and "authorization" not in given  # as Anthropic's SDKs send it
        if dialect is not None:
            bare = dialect.name == DIALECTS["messages"]
            for name in [name for name in headers if name.startswith(_OF_AN_API)]:
                del headers[name]
            headers.update(dialect.headers)
        if upstream.api_key and bare:
            headers["x-api-key"] = upstream.api_key
        elif upstream.api_key:
            headers["authorization"] = f"Bearer {upstream.api_key}"
        headers.update(upstream.headers)
        return headers

    def _request(
        self,
        method: str,
        url: httpx2.URL,
        headers: httpx2.Headers,
        policy: Policy,
        silence: float,
        content: bytes | None = None,
    ) -> httpx2.Request:
        # These apply where the network is not watched (see `network`).
        timeout = httpx2.Timeout(policy.connect, read=silence * 2).as_dict()
        extensions = {**self.request.extensions, "timeout": timeout}
        return httpx2.Request(method, url, headers=headers, content=content, extensions=extensions)


def _runs_on(body: dict[str, Any], dialect: Dialect) -> bool:
    """Whether the server continues the response when nobody reads it, so that asking again would run it twice."""
    return bool(body.get("background")) and dialect.name == "openai-responses"
