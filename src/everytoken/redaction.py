"""Take secrets out of what an upstream says, in whatever form it says them.

A server that refuses a key may quote it, escaped by its JSON encoder, inside a URL, or encoded. So it is looked for
behind the decoding, and each of its characters may stand there escaped once more.
"""

from __future__ import annotations

import base64
import html.entities
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["MASK", "Redactor", "is_secret_header", "redacted"]

MASK = "***"

_LONG = 16  # characters from which on a secret is none of anybody's words, wherever it stands
_SHORT = 4  # characters up to which it may be any word: it counts only where a key is named
_BASE64 = 8  # characters from which on its base64 is looked for
_MAX_DEPTH = 64
# An escape in front of a short secret ends in letters or digits, and is none of its word.
_BEFORE = r"(?:(?<![A-Za-z0-9])|(?<=\\u[0-9A-Fa-f]{4})|(?<=%[0-9A-Fa-f]{2})|(?<=\\[bfnrt]))"
_AFTER = r"(?![A-Za-z0-9])"
_NAMED = r"(?i:(?<=bearer )|(?<=key=)|(?<=key: )|(?<=key\": \")|(?<=key\":\")|(?<=token=))"
_SECRET_HEADER = re.compile(r"authorization|cookie|.*(key|token|secret|password|credential).*", re.IGNORECASE)


class Redactor:
    """Replaces `secrets` by `***`, in text and in any JSON value. Without secrets it changes nothing."""

    def __init__(self, secrets: Iterable[str | None]) -> None:
        known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        forms = [form for secret in known for form in _forms(secret)]
        self._pattern = re.compile("|".join(forms)) if forms else None

    def text(self, text: str) -> str:
        """Return `text` without the secrets."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def value(self, value: Any) -> Any:
        """Return a JSON value without the secrets, names of fields included."""
        return value if self._pattern is None else redacted(value, self.text)

    def body(self, body: bytes) -> bytes:
        """Return a body, of JSON or any other text, without the secrets; what has none stays as it is."""
        if self._pattern is None:
            return body
        try:
            decoded = json.loads(body)
        except (ValueError, RecursionError):
            text = body.decode("utf-8", "surrogateescape")
            return self.text(text).encode("utf-8", "surrogateescape")
        clean = self.value(decoded)
        return body if clean == decoded else json.dumps(clean, ensure_ascii=False).encode("utf-8", "replace")


def redacted(value: Any, text: Callable[[str], str], depth: int = _MAX_DEPTH) -> Any:
    """Return a JSON value with `text` applied to all text in it; what is nested deeper than 64 levels is left out."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {text(str(n)): redacted(v, text, depth - 1) for n, v in value.items()} if depth else None
    if isinstance(value, list):
        return [redacted(inner, text, depth - 1) for inner in value] if depth else None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return MASK if text(str(value)) == MASK else value  # a key of digits
    return value


def is_secret_header(name: str) -> bool:
    """Whether a header of this name carries a secret."""
    return _SECRET_HEADER.fullmatch(name) is not None


def _forms(secret: str) -> list[str]:
    """Return patterns of everything that is `secret` to somebody who decodes it."""
    plain = "".join(map(_character, secret))
    if len(secret) < _SHORT:
        return [f"{_NAMED}{plain}{_AFTER}"]
    forms = [f"{_BEFORE}{plain}{_AFTER}"] if len(secret) < _LONG else [plain]
    if len(secret) >= _BASE64:
        forms += _base64_forms(secret.encode())
    return forms


def _character(char: str) -> str:
    """Return a pattern of one character, escaped in any of the usual ways, or not."""
    forms = [rf"\\*{re.escape(char)}"]
    units = char.encode("utf-16-be")
    forms.append("".join(rf"\\+u{_hex(units[i : i + 2].hex())}" for i in range(0, len(units), 2)))
    forms.append("".join(f"%(?:25)*{_hex(f'{byte:02x}')}" for byte in char.encode()))
    code = ord(char)
    forms += (f"&#0*{code};", f"&#[xX]0*{_hex(f'{code:x}')};")
    name = html.entities.codepoint2name.get(code)
    if name is not None:
        forms.append(f"&{name};")
    return f"(?:{'|'.join(forms)})"


def _hex(digits: str) -> str:
    return "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in digits)


def _base64_forms(secret: bytes) -> list[str]:
    """Return what base64 makes of `secret` behind anything, such as `user:`: the characters that depend on it alone."""
    forms = []
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret).decode().rstrip("=")
        first = -(-shift * 8 // 6)
        last = (shift + len(secret)) * 8 // 6
        inner = encoded[first:last]
        either = {"+": "[+-]", "/": r"(?:\\?/|_)"}
        forms.append("".join(either.get(char, char) for char in inner) + "[A-Za-z0-9+/_=-]{0,4}")
    return forms
