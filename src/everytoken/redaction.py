"""Take secrets out of what an upstream says, in whatever form it says them.

A server that refuses a key may quote it, escaped by its JSON encoder, inside a URL, in HTML, or encoded. So a secret is
looked for in the text as it stands and in everything the text may be decoded to, one escape after the other; what is
found there is replaced where it came from.

A secret of 16 characters or more is one wherever it stands. A shorter one counts where it is a whole word (`test` is not
a part of `latest`), one of fewer than 4 only where something is called a key, a token or a password. Everything here
is linear in the length of the text.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import ErrorEventError, StatusError
from everytoken.json.decodings import MARKS, views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from everytoken.errors import EverytokenError

__all__ = [
    "MASK",
    "Redactor",
    "is_secret_header",
    "redact_error",
    "redacted",
    "redacted_body",
    "secrets_in_header",
]

MASK: Final = "***"

_LONG: Final = 16  # characters from which on a secret is none of anybody's words
_SHORT: Final = 4  # characters below which it may be any word
_BASE64: Final = 8  # characters from which on it is looked for in the middle of base64
_MAX_DEPTH: Final = 64
_ROUNDS: Final = 4  # what is left may make up a secret with what stood around
_NAMED: Final = (
    r"""(?i:\b(?:bearer|basic|digest|token)\s|(?:key|token|secret|passw(?:or)?d|credentials?)"""
    r"""[\s"'`\\]{0,4}(?:(?:provided|given|sent|used|is|was)\b\s{0,2})?[:=]?)[\s"'`\\(:=]{0,6}"""
)
_MARK: Final = re.compile(f"[{re.escape(MARKS)}]")
_SECRET_HEADER: Final = re.compile(
    r"code|(?:.*[-_.])?(?:auth|sig|sid|pass|jwt|sas)"
    r"|.*(?:authori[sz]ation|authentication|cookie|key|token|secret|passw|pwd|credential|signature|session|assertion).*",
    re.IGNORECASE,
)


class Redactor:
    """Replaces `secrets` by `***`, in text and in any JSON value. Without secrets it changes nothing."""

    def __init__(self, secrets: Iterable[str | None]) -> None:
        known = sorted({secret for secret in secrets if secret}, key=lambda secret: (-len(secret), secret))
        words = [secret for secret in known if len(secret) < _LONG]
        self._long = [secret for secret in known if len(secret) >= _LONG]
        self._pattern = re.compile("|".join(map(_pattern, known))) if known else None
        self._words = re.compile("|".join(map(_pattern, words))) if words else None
        # Latin-1 is how a header would carry it.
        self._in_bytes = [
            form
            for secret in known
            if len(secret) >= _SHORT
            for form in dict.fromkeys(
                (secret.encode("utf-8", "surrogatepass"), secret.encode("latin-1", "replace"))
            )
        ]
        least = self._least = min((4 * len(form) // 3 for form in self._in_bytes), default=0)
        # With no secret long enough to look for in base64, it matches nothing.
        shortest = max(4, least - 2)
        token = rf"[A-Za-z0-9+/_-]{{{shortest},}}={{0,2}}"
        self._token = re.compile(token if self._in_bytes else "(?!)")
        cores = [core for form in self._in_bytes if len(form) >= _BASE64 for core in _cores(form)]
        self._cores = re.compile("|".join(map(re.escape, cores))) if cores else None
        self._brief = [form for form in self._in_bytes if len(form) < _BASE64]

    def text(self, text: str) -> str:
        """Return `text` without the secrets."""
        if self._pattern is None or not self._may_hold(text):
            return text
        for _ in range(_ROUNDS):
            spans = sorted(self._spans(text))
            if not spans:
                break
            text = _masked(text, spans)
        return text

    def _may_hold(self, text: str) -> bool:
        """Whether `text` may hold a secret. Almost no text does, and this is much faster than locating one."""
        if _MARK.search(text) is not None:
            return True
        for secret in self._long:
            if secret in text:
                return True
        if self._words is not None and self._words.search(text) is not None:
            return True
        return any(map(self._is_encoded, self._token.findall(text)))

    def value(self, value: Any) -> Any:
        """Return a JSON value without the secrets, names of fields included."""
        return value if self._pattern is None else redacted(value, self.text)

    def body(self, body: bytes) -> bytes:
        """Return a body, of JSON or any other text, without the secrets; what has none stays as it is."""
        return body if self._pattern is None else redacted_body(body, self.text)

    def _spans(self, text: str, *, encoded: bool = True) -> Iterator[tuple[int, int]]:
        """Yield the start and end of each secret in `text`, in any form."""
        assert self._pattern is not None
        for view in views(text):
            for match in self._pattern.finditer(view.text):
                yield view.origin(*match.span(match.lastgroup or 0))
            if encoded:
                for token in self._token.finditer(view.text):
                    if self._is_encoded(token[0]):
                        yield view.origin(*token.span())

    def _is_encoded(self, token: str) -> bool:
        """Whether base64 as `token` holds a secret, from whichever of its characters on it is read."""
        if len(token) < self._least:
            return False
        token = token.rstrip("=").replace("-", "+").replace("_", "/")
        whole = _decoded(token)
        for secret in self._brief:
            if whole == secret or whole.endswith(b":" + secret) or whole.startswith(secret + b":"):
                return True
        if self._cores is not None and self._cores.search(token) is not None:
            read = [_decoded(token[skipped:]) for skipped in range(4)]
            if any(secret in data for secret in self._in_bytes if len(secret) >= _BASE64 for data in read):
                return True
        if len(whole) > _BASE64 and (text := _readable(whole)) is not None:
            return any(True for _ in self._spans(text, encoded=False))
        return False


def redacted(value: Any, text: Callable[[str], str], depth: int = _MAX_DEPTH) -> Any:
    """Return a JSON value with `text` applied to all text in it; what is nested deeper than 64 levels is left out."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {text(str(n)): redacted(v, text, depth - 1) for n, v in value.items()} if depth else None
    if isinstance(value, list):
        return [redacted(inner, text, depth - 1) for inner in value] if depth else None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        shown = _number(value)
        return MASK if text(shown) != shown else value  # a key of digits
    return value


def redacted_body(body: bytes, text: Callable[[str], str]) -> bytes:
    """Return a body, of JSON or any other text, with `text` applied behind its decoding; unchanged where that is."""
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        plain = body.decode("utf-8", "surrogateescape")
        clean = text(plain)
        return body if clean == plain else clean.encode("utf-8", "surrogateescape")
    cleaned = redacted(decoded, text)
    # Compared as text, because a NaN is not even equal to itself.
    if repr(cleaned) == repr(decoded):
        return body
    return json.dumps(cleaned, ensure_ascii=False).encode("utf-8", "replace")


def redact_error(error: EverytokenError, text: Callable[[str], str]) -> None:
    """Apply `text` to everything in an error that may be somebody else's words."""
    error.message = text(error.message)
    if error.param is not None:
        error.param = text(error.param)
    error.args = (error.message,)
    if isinstance(error, StatusError):
        error.body = redacted_body(error.body, text)
    elif isinstance(error, ErrorEventError):
        error.error = redacted(error.error, text)


def is_secret_header(name: str) -> bool:
    """Whether a header, or a parameter of a URL, of this name carries a secret."""
    return _SECRET_HEADER.fullmatch(name) is not None


def secrets_in_header(name: str, value: str) -> list[str]:
    """Return what of a header must not leave: its value, the credentials behind a scheme, what cookies hold."""
    if not is_secret_header(name):
        return []
    found = [value]
    scheme, separator, credentials = value.strip().partition(" ")
    if separator and "=" not in scheme:
        found.append(credentials.strip())
        if scheme.lower() == "basic":
            # Of `user:password` the second part; a token in place of the user stands alone.
            with contextlib.suppress(ValueError):
                user, _, password = _decoded(credentials.strip().rstrip("=")).decode().partition(":")
                found.append(password or user)
    if "cookie" in name.lower():
        found += [pair.partition("=")[2].strip() for pair in value.split(";")]
    return [secret for secret in found if secret]


def _pattern(secret: str) -> str:
    """Return an expression for a secret as it is; a group, where there is one, has a name and is the secret itself."""
    plain = re.escape(secret)
    if len(secret) >= _LONG:
        return plain
    before = "(?<![A-Za-z0-9])" if _is_of_a_word(secret[0]) else ""
    after = "(?![A-Za-z0-9])" if _is_of_a_word(secret[-1]) else ""
    if len(secret) >= _SHORT:
        return f"{before}{plain}{after}"
    name = "s" + "".join(f"{ord(char):x}_" for char in secret)
    return f"{_NAMED}{before}(?P<{name}>{plain}){after}"


def _is_of_a_word(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _masked(text: str, spans: list[tuple[int, int]]) -> str:
    """Return `text` with a mask in place of each of the spans, which are in order and may overlap."""
    parts = []
    done = 0
    for start, end in spans:
        if start >= done:
            parts += [text[done:start], MASK]
        done = max(done, end)
    return "".join([*parts, text[done:]])


def _decoded(token: str) -> bytes:
    """Return what base64 without its padding decodes to, as far as it goes."""
    whole = len(token) - (1 if len(token) % 4 == 1 else 0)
    return base64.b64decode(token[:whole] + "=" * (-whole % 4))


def _cores(secret: bytes) -> Iterator[str]:
    """Yield the base64 characters that a secret alone determines, for each of its three alignments."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret).decode()
        yield encoded[-(-8 * before // 6) : 8 * (before + len(secret)) // 6]


def _readable(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _number(value: float) -> str:
    try:
        return str(value)
    except ValueError:  # thousands of digits
        return ""
