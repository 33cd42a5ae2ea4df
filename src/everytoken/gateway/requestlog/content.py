"""What was asked and answered, for an operator who has decided to keep that (`log_content`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import EverytokenError
from everytoken.gateway.assembling import assembled
from everytoken.json import dumps, loads

if TYPE_CHECKING:
    from everytoken.journal import Journal

__all__ = ["content_of"]

_MOST: Final = 64 * 1024  # bytes of each; more is cut, and is then text rather than JSON


async def content_of(journal: Journal, response: str) -> dict[str, Any]:
    """Return the `body` of a request and the `answer`, as far as they are kept."""
    try:
        log = await journal.open(response, touch=False)
        asked = log.info.meta.get("request")
        answer = await assembled(log)
    except EverytokenError as error:
        return {"body": None, "answer": None, "why": error.message}
    return {"body": _bounded(loads(asked) if isinstance(asked, str) else asked), "answer": _bounded(answer)}


def _bounded(value: Any) -> Any:
    data = dumps(value)
    return value if len(data) <= _MOST else f"{data[:_MOST].decode('utf-8', 'ignore')}…"
