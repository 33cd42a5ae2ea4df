"""Records as the events that the SDK of their API reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.dialects.dialect import Dialect

__all__ = ["encoder_for", "tells_errors"]

_MESSAGES = "anthropic-messages"
_RESPONSES = "openai-responses"


def encoder_for(dialect: Dialect) -> Callable[[Sequence[bytes]], bytes]:
    """Return what makes events of records: named after their type where the API does so, else with data only.

    Anthropic's SDKs skip an event without a name.
    """
    # Imported by those who need them: importing a client is to cost little.
    if dialect.name == _MESSAGES:
        from everytoken.formats.anthropic import encode_without_ids as messages  # noqa: PLC0415

        return lambda records: messages(records, 0)
    if dialect.name == _RESPONSES:
        from everytoken.formats.openai_responses import encode_without_ids as responses  # noqa: PLC0415

        return lambda records: responses(records, 0)
    return _unnamed


def tells_errors(dialect: Dialect) -> bool:
    """Whether an upstream's own error event is handed on when nothing has helped.

    The SDK of Messages makes its own error of one, but raises the HTTP client's errors as they are. openai raises its
    own error for both, and has our cause only behind the HTTP client's.
    """
    return dialect.name == _MESSAGES


def _unnamed(records: Sequence[bytes]) -> bytes:
    return b"".join([_event(record) for record in records])


def _event(record: bytes) -> bytes:
    """Return a record as an event; a line end in it (only between JSON's tokens) becomes a space."""
    if b"\n" in record or b"\r" in record:
        record = record.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"data: %b\n\n" % record
