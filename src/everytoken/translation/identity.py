"""Who asks, said to a provider that is not the one it was meant for."""

from __future__ import annotations

import hashlib
import re
from typing import Final

__all__ = ["identifier"]

_LONGEST: Final = 64
_PHONE: Final = re.compile(r"\+?[\d\s().-]{7,}")


def identifier(value: str | None) -> str | None:
    """Return an identifier that every provider takes: itself, or its SHA-256.

    OpenAI refuses one that is too long, Anthropic one that looks like an e-mail address or a telephone number; both ask for
    hashes in place of what tells who somebody is.
    """
    if not value:
        return None
    if len(value) > _LONGEST or "@" in value or _PHONE.fullmatch(value):
        return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return value
