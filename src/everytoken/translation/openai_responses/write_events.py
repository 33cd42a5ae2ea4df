"""Neutral events, written as the stream of a response."""

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
    Reasoned,
    Refused,
    Sealed,
    Wrote,
)
from everytoken.translation.openai_responses.output import KINDS, Call
from everytoken.translation.openai_responses.read_tools import called_in
from everytoken.translation.openai_responses.response_object import begun_response
from everytoken.translation.openai_responses.usage import usage_object
from everytoken.translation.refusing import untranslatable
from everytoken.translation.text import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.translation.events import NeutralEvent
    from everytoken.translation.openai_responses.output import TextKind

__all__ = ["ResponsesEventWriter"]

_NAME: Final = "openai-responses"
_DELTA: Final = "response.output_text.delta"

_REASONS: Final = {
    **dict.fromkeys(("stop", "tool_calls", "stop_sequence"), None),
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
"""Why a response is incomplete; None: it is complete."""


class ResponsesEventWriter:
    """Writes one attempt; see `everytoken.translation.api.EventWriter`.

    A message or an item of reasoning is under way until something of another kind comes. Calls
    are under way until they end, beside it and beside each other.
    """

    __slots__ = (
        *(
            "_calls",
            "_created",
            "_head",
            "_holder",
            "_id",
            "_item",
            "_kind",
            "_number",
            "_output",
            "_part",
            "_part_index",
        ),
        *("_pieces", "_position", "_request", "_response", "_summary", "_wrapped", "_tools"),
    )

    def __init__(self, request: Mapping[str, Any], *, created: int = 0) -> None:
        self._request = request
        self._tools = called_in(request)
        self._wrapped = CustomCalls({name for name, tool in self._tools.items() if tool.custom})
        self._created = created
        self._response: dict[str, Any] = {}
        self._id = ""  # what the ids of items end in
        self._output: list[dict[str, Any]] = []
        self._number = 0  # of the next event
        self._calls: dict[int, Call] = {}
        self._item: dict[str, Any] | None = None  # the message or the reasoning under way, at `_position`
        self._position = -1
        self._holder = ("", "")
        self._kind: TextKind | None = None  # of the part under way in it
        self._part: dict[str, Any] = {}
        self._part_index = -1
        self._pieces: list[str] = []
        self._head = ""  # of a piece of text, "" where no text is under way
        asked = request.get("reasoning")
        # Who asks for summaries looks for reasoning nowhere else.
        self._summary = isinstance(asked, dict) and bool(
            asked.get("summary") or asked.get("generate_summary")
        )

    def write(self, events: Sequence[NeutralEvent]) -> list[ServerSentEvent]:
        """Return the events. Raises `UntranslatableError` for what they cannot say."""
        # Nearly always it is one more piece of the text under way.
        if len(events) == 1 and self._head and (event := events[0]).__class__ is Wrote:
            text = event.text
            self._pieces.append(text)
            number = self._number
            self._number = number + 1
            return [ServerSentEvent(_DELTA, f'{self._head}{quoted(text)},"sequence_number":{number}}}')]
        written: list[ServerSentEvent] = []
        for event in events:
            self._write(event, written)
        return written

    def _write(self, event: NeutralEvent, written: list[ServerSentEvent]) -> None:
        match event:
            case Wrote(text=text):
                self._add("text", text, written)
            case Reasoned(text=text, summary=summary):
                self._add("summary" if summary or self._summary else "reasoning", text, written)
            case Refused(text=text):
                self._add("refusal", text, written)
            case Arguments() | CallBegan() | CallEnded():
                for seen in self._wrapped.unwrapped(event):
                    self._write_call(seen, written)
            case Closed():
                self._close_part(written)
            case Sealed():
                pass  # see the table of dispositions
            case Citation():
                self._cite(event, written)
            case Began():
                self._begin(event, written)
            case Ended():
                self._end(event, written)
            case _:
                raise untranslatable(event.field, _NAME)

    def _write_call(self, event: NeutralEvent, written: list[ServerSentEvent]) -> None:
        match event:
            case Arguments(index=index, text=text):
                call = self._calls.get(index)
                if call is None:
                    raise untranslatable("arguments behind the end of a call", _NAME)
                call.pieces.append(text)
                where = {"item_id": call.item["id"], "output_index": call.position}
                self._say(written, f"{call.event}.delta", **where, delta=text)
            case CallBegan():
                self._begin_call(event, written)
            case CallEnded(index=index):
                if index in self._calls:
                    self._end_call(self._calls.pop(index), "completed", written)

    def _say(self, written: list[ServerSentEvent], kind: str, **fields: Any) -> None:
        event = {"type": kind, **fields, "sequence_number": self._number}
        self._number += 1
        written.append(ServerSentEvent(kind, dumps(event).decode()))

    def _begin(self, began: Began, written: list[ServerSentEvent]) -> None:
        self._response = begun_response(self._request, began, created=self._created)
        self._id = self._response["id"].removeprefix("resp_")
        self._say(written, "response.created", response=self._response)
        self._say(written, "response.in_progress", response=self._response)

    def _new_item(self, prefix: str, item: dict[str, Any], written: list[ServerSentEvent]) -> int:
        """Begin an item; return its position."""
        position = len(self._output)
        item["id"] = f"{prefix}_{self._id}_{position}"
        self._output.append(item)
        self._say(written, "response.output_item.added", output_index=position, item=item)
        return position

    def _add(self, name: str, text: str, written: list[ServerSentEvent]) -> None:
        self._open(name, written)
        self._pieces.append(text)
        more: dict[str, Any] = {"logprobs": []} if name == "text" else {}
        self._say(written, f"{KINDS[name].event}.delta", **self._where(), delta=text, **more)

    def _where(self) -> dict[str, Any]:
        assert self._item is not None
        assert self._kind is not None
        place = {"item_id": self._item["id"], "output_index": self._position}
        return {**place, self._kind.number: self._part_index}

    def _open(self, name: str, written: list[ServerSentEvent]) -> None:
        """Begin a part, unless it is under way, in an item, unless that is."""
        kind = KINDS[name]
        if self._kind is kind:
            return
        self._close_part(written)
        # Reasoning and a summary of it, in turns, are items of their own: so their order is kept.
        if self._item is None or self._holder != (kind.item, kind.holder):
            self._close_item(written)
            self._new_holder(kind.item, written)
            self._holder = (kind.item, kind.holder)
        assert self._item is not None
        parts = self._item.setdefault(kind.holder, [])
        self._kind, self._part_index = kind, len(parts)
        self._part = {**kind.part, **({"annotations": []} if name == "text" else {})}
        self._say(written, f"{kind.frame}.added", **self._where(), part=self._part)
        if name == "text":
            where = dumps({"type": _DELTA, **self._where(), "logprobs": []}).decode()
            self._head = f'{where[:-1]},"delta":'

    def _new_holder(self, kind: str, written: list[ServerSentEvent]) -> None:
        item: dict[str, Any] = {"id": "", "type": kind}
        if kind == "message":
            item |= {"status": "in_progress", "role": "assistant", "content": []}
        else:
            item["summary"] = []
        self._position = self._new_item("msg" if kind == "message" else "rs", item, written)
        self._item = item

    def _close_part(self, written: list[ServerSentEvent]) -> None:
        kind = self._kind
        if kind is None:
            return
        assert self._item is not None
        where, text = self._where(), "".join(self._pieces)
        whole = {**self._part, kind.field: text}
        more: dict[str, Any] = {"logprobs": []} if self._head else {}
        self._say(written, f"{kind.event}.done", **where, **{kind.field: text}, **more)
        self._say(written, f"{kind.frame}.done", **where, part=whole)
        self._item[kind.holder].append(whole)
        self._pieces = []
        self._kind, self._head = None, ""

    def _close_item(self, written: list[ServerSentEvent], status: str = "completed") -> None:
        self._close_part(written)
        item = self._item
        if item is None:
            return
        if "status" in item:
            item["status"] = status
        self._say(written, "response.output_item.done", output_index=self._position, item=item)
        self._item = None

    def _begin_call(self, call: CallBegan, written: list[ServerSentEvent]) -> None:
        self._close_item(written)
        item: dict[str, Any] = {
            "id": "",
            "type": "custom_tool_call" if call.custom else "function_call",
            "status": "in_progress",
            "input" if call.custom else "arguments": "",
            "call_id": call.id,
            **self._called(call.name),
        }
        position = self._new_item("ctc" if call.custom else "fc", item, written)
        self._calls[call.index] = Call(item, position)

    def _called(self, name: str) -> dict[str, str]:
        """Return the name of a tool as the caller has given it, with its namespace."""
        tool = self._tools.get(name)
        if tool is None or tool.namespace is None:
            return {"name": name}
        return {"name": tool.name, "namespace": tool.namespace}

    def _end_call(self, call: Call, status: str, written: list[ServerSentEvent]) -> None:
        given = "".join(call.pieces)
        call.item |= {"status": status, call.field: given}
        where = {"item_id": call.item["id"], "output_index": call.position}
        self._say(written, f"{call.event}.done", **where, **{call.field: given})
        self._say(written, "response.output_item.done", output_index=call.position, item=call.item)

    def _cite(self, citation: Citation, written: list[ServerSentEvent]) -> None:
        self._open("text", written)
        notes = self._part["annotations"]
        length = sum(map(len, self._pieces))
        note = {
            "type": "url_citation",
            "start_index": 0 if citation.start is None else citation.start,
            "end_index": length if citation.end is None else citation.end,
            "url": citation.url,
            "title": citation.title,
        }
        kind = "response.output_text.annotation.added"
        self._say(written, kind, **self._where(), annotation_index=len(notes), annotation=note)
        notes.append(note)

    def _end(self, ended: Ended, written: list[ServerSentEvent]) -> None:
        if ended.reason not in _REASONS:
            raise untranslatable(f"stop_reason {ended.reason}", _NAME)
        why = _REASONS[ended.reason]
        status = "completed" if why is None else "incomplete"
        self._close_item(written, status)
        for call in self._calls.values():
            self._end_call(call, status, written)
        response = {
            **self._response,
            "status": status,
            "incomplete_details": None if why is None else {"reason": why},
            "output": self._output,
            "usage": usage_object(ended.usage),
        }
        self._say(written, f"response.{status}", response=response)
