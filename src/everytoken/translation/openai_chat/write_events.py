"""Neutral events, written as the stream of a chat completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.json import dumps
from everytoken.sse import ServerSentEvent
from everytoken.translation.custom_calls import CustomCalls
from everytoken.translation.events import (
    Arguments,
    Began,
    CallBegan,
    CallEnded,
    Citation,
    Closed,
    Ended,
    Other,
    Reasoned,
    Refused,
    Sealed,
    Wrote,
)
from everytoken.translation.openai_chat.usage import usage_object
from everytoken.translation.refusing import untranslatable
from everytoken.translation.text import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.translation.events import NeutralEvent

__all__ = ["ChatEventWriter"]

_NAME: Final = "openai-chat"
_REASONS: Final = {
    **{reason: reason for reason in ("stop", "length", "tool_calls", "content_filter")},
    "stop_sequence": "stop",
    "refusal": "content_filter",
}
_DONE: Final = ServerSentEvent("message", "[DONE]")
_TAIL: Final = '},"finish_reason":null}]}'


class ChatEventWriter:
    """Writes one attempt; see `everytoken.translation.api.EventWriter`. The role comes first, the usage last."""

    __slots__ = ("_created", "_customs", "_envelope", "_head", "_length", "_start", "_wrapped")

    def __init__(self, request: Mapping[str, Any], *, created: int = 0) -> None:
        self._wrapped = CustomCalls(_custom_names(request.get("tools")))
        self._created = created
        self._envelope: dict[str, Any] = {}
        self._head = ""
        self._customs: set[int] = set()
        self._length = 0  # characters of the text so far, and where the part began that is written now
        self._start = 0

    def write(self, events: Sequence[NeutralEvent]) -> list[ServerSentEvent]:
        """Return the chunks. Raises `UntranslatableError` for what they cannot say."""
        # Nearly always it is one piece of text.
        if len(events) == 1 and (event := events[0]).__class__ is Wrote:
            return [self._text(event.text)]
        written: list[ServerSentEvent] = []
        for event in events:
            if event.__class__ is Wrote:
                written.append(self._text(event.text))
            else:
                self._write(event, written)
        return written

    def _text(self, text: str) -> ServerSentEvent:
        self._length += len(text)
        return ServerSentEvent("message", f'{self._head}"content":{quoted(text)}{_TAIL}')

    def _write(self, event: NeutralEvent, written: list[ServerSentEvent]) -> None:
        match event:
            case Reasoned(text=text):
                written.append(
                    ServerSentEvent("message", f'{self._head}"reasoning_content":{quoted(text)}{_TAIL}')
                )
            case Arguments() | CallBegan() | CallEnded():
                for seen in self._wrapped.unwrapped(event):
                    self._write_call(seen, written)
            case Refused(text=text):
                written.append(self._delta({"refusal": text}))
            case Citation():
                written.append(self._delta({"annotations": [self._note(event)]}))
            case Began():
                written.append(self._begin(event))
            case Ended():
                written += self._end(event)
            case Closed():
                self._start = self._length
            case Sealed():
                pass  # see the table of dispositions
            case Other(field=field):
                raise untranslatable(field, _NAME)

    def _write_call(self, event: NeutralEvent, written: list[ServerSentEvent]) -> None:
        match event:
            case Arguments(index=index, text=text):
                written.append(self._call(index, {"input" if index in self._customs else "arguments": text}))
            case CallBegan(index=index, custom=custom):
                if custom:
                    self._customs.add(index)
                called = {"name": event.name, "input" if custom else "arguments": ""}
                written.append(
                    self._call(index, called, id=event.id, type="custom" if custom else "function")
                )

    def _begin(self, began: Began) -> ServerSentEvent:
        self._envelope = {
            "id": began.id or "chatcmpl-0",
            "object": "chat.completion.chunk",
            "created": began.created or self._created,
            "model": began.model,
        }
        self._head = dumps(self._envelope).decode()[:-1] + ',"choices":[{"index":0,"delta":{'
        return self._delta({"role": "assistant", "content": ""})

    def _delta(self, delta: dict[str, Any]) -> ServerSentEvent:
        return ServerSentEvent("message", f"{self._head}{dumps(delta).decode()[1:-1]}{_TAIL}")

    def _call(self, index: int, called: dict[str, Any], **more: Any) -> ServerSentEvent:
        kind = "custom" if index in self._customs else "function"
        return self._delta({"tool_calls": [{"index": index, **more, kind: called}]})

    def _note(self, citation: Citation) -> dict[str, Any]:
        start, end = citation.start, citation.end
        told = {
            "start_index": self._start if start is None else self._start + start,
            "end_index": self._length if end is None else self._start + end,
            "url": citation.url,
            **({"title": citation.title} if citation.title else {}),
        }
        return {"type": "url_citation", "url_citation": told}

    def _end(self, ended: Ended) -> list[ServerSentEvent]:
        reason = _REASONS.get(ended.reason)
        if reason is None:
            raise untranslatable(f"stop_reason {ended.reason}", _NAME)
        choice = {"index": 0, "delta": {}, "finish_reason": reason}
        chunks = [{**self._envelope, "choices": [choice]}]
        if ended.usage is not None:
            chunks.append({**self._envelope, "choices": [], "usage": usage_object(ended.usage)})
        return [*(ServerSentEvent("message", dumps(chunk).decode()) for chunk in chunks), _DONE]


def _custom_names(tools: Any) -> frozenset[str]:
    """Return the names of the caller's custom tools."""
    customs = [
        tool.get("custom")
        for tool in (tools if isinstance(tools, list) else ())
        if isinstance(tool, dict) and tool.get("type") == "custom"
    ]
    return frozenset(str(custom.get("name")) for custom in customs if isinstance(custom, dict))
