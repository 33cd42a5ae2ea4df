"""Messages as turns: neighbours joined, and the results of calls right behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.errors import InvalidRequestError
from everytoken.translation.request import Message, ToolCall, ToolResult

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from everytoken.translation.request import Part

__all__ = ["split_leading", "turns_of"]


def split_leading(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """Return the system and developer messages that come first, and the rest."""
    count = 0
    while count < len(messages) and messages[count].role in ("system", "developer"):
        count += 1
    return list(messages[:count]), list(messages[count:])


def turns_of(messages: Sequence[Message], joined: Collection[str]) -> list[Message]:
    """Return the messages with neighbours of the `joined` roles made one, and each result behind the turn of its call.

    OpenAI and Anthropic both refuse a conversation in which anything stands between calls and their results. Raises
    `InvalidRequestError` for a result without a call before it.
    """
    turns = _joined(messages, joined)
    results: dict[int, list[ToolResult]] = {}
    calls: dict[str, int] = {}
    for position, turn in enumerate(turns):
        for part in turn.parts:
            if isinstance(part, ToolCall):
                calls[part.id] = position
            elif isinstance(part, ToolResult):
                if part.call_id not in calls:
                    raise InvalidRequestError(
                        f"'{part.at}' is the result of the call {part.call_id[:100]!r}, which no message before it makes",
                        param=part.at,
                    )
                results.setdefault(calls[part.call_id], []).append(part)
    placed: list[Message] = []
    for position, turn in enumerate(turns):
        parts: list[Part] = [part for part in turn.parts if not isinstance(part, ToolResult)]
        if parts or not turn.parts:
            placed.append(Message(role=turn.role, parts=parts, at=turn.at))
        if position in results:
            placed.append(Message(role="user", parts=[*results[position]], at=results[position][0].at))
    return _joined(placed, joined)


def _joined(messages: Sequence[Message], roles: Collection[str]) -> list[Message]:
    turns: list[Message] = []
    for message in messages:
        if turns and message.role in roles and turns[-1].role == message.role:
            turns[-1].parts.extend(message.parts)
        else:
            turns.append(Message(role=message.role, parts=list(message.parts), at=message.at))
    return turns
