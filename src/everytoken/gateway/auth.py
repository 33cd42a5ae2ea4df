"""Which callers are allowed, and which of them owns a response."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from everytoken.errors import AuthenticationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from everytoken.gateway.http import Request

__all__ = ["Keys"]


class Keys:
    """The API keys that may call; without any, everybody may.

    Only fingerprints are kept: a key cannot be recovered from the journal or from memory.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._fingerprints = [fingerprint(key.encode()) for key in keys]

    def owner(self, request: Request) -> str:
        """Return the fingerprint of the caller's key, "" when keys are not used. Raises `AuthenticationError`."""
        if not self._fingerprints:
            return ""
        scheme, _, key = (request.header(b"authorization") or "").partition(" ")
        # As Azure's and Anthropic's clients send it.
        bare = request.header(b"api-key") or request.header(b"x-api-key")
        if bare and not scheme:
            scheme, key = "bearer", bare
        if scheme.lower() != "bearer" or not key.strip():
            raise AuthenticationError("an API key is needed: send it as 'Authorization: Bearer KEY'")
        given = fingerprint(key.strip().encode("latin-1"))  # the bytes the client sent
        if not any(hmac.compare_digest(given, known) for known in self._fingerprints):
            raise AuthenticationError("unknown API key")
        return given


def fingerprint(key: bytes) -> str:
    """Return what stands for a key where the key itself must not."""
    return hashlib.sha256(key).hexdigest()[:32]
