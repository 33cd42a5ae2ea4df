"""The stream of a response, read into neutral events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.dialects.openai_responses.dialect import OPENAI_RESPONSES
from everytoken.dialects.openai_responses.history import LIFECYCLE, TERMINAL, TEXT_DELTA
from everytoken.translation.events import (
    CLOSED,
    Arguments,
    Began,
    CallBegan,
    CallEnded,
    Citation,
    Ended,
    Other,
    Reasoned,
    Refused,
    Wrote,
)
from everytoken.translation.openai_responses.usage import usage_in
from everytoken.translation.refusing import untranslatable
from everytoken.translation.text import Halves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.dialects.openai_responses.decoder import Own
    from everytoken.dialects.pieces import Chunk
    from everytoken.sse import ServerSentEvent
    from everytoken.translation.events import NeutralEvent, Reason

__all__ = ["INCOMPLETE", "ResponsesEventReader"]

_REQUEST: Final = OPENAI_RESPONSES.request({"input": ""})

INCOMPLETE: Final[dict[str, Reason]] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
"""What the reason of `incomplete_details` means."""

_ADDED: Final = "response.output_item.added"
_DONE: Final = "response.output_item.done"
_NOTE: Final = "response.output_text.annotation.added"
_PART_DONE: Final = "response.content_part.done"

# The texts of an item: the event that brings more, the list it is in, the field with its number, that with the text.
_TEXTS: Final = {
    TEXT_DELTA: ("content", "content_index"),
    "response.refusal.delta": ("content", "content_index"),
    "response.reasoning_text.delta": ("content", "content_index"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index"),
}
_PARTS: Final = {
    "output_text": (TEXT_DELTA, "text"),
    "refusal": ("response.refusal.delta", "refusal"),
    "reasoning_text": ("response.reasoning_text.delta", "text"),
    "summary_text": ("response.reasoning_summary_text.delta", "text"),
}
_CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
_CALL_DELTAS: Final = frozenset(
    {"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"}
)

# They say again what came before, or close what `output_item.done` closes too.
_REPEATS: Final = frozenset(
    {
        *("response.content_part.added", "response.output_text.done", "response.refusal.done"),
        *("response.reasoning_text.done", "response.reasoning_summary_text.done"),
        *(
            "response.reasoning_summary_part.added",
            "response.reasoning_part.added",
            "response.reasoning_part.done",
        ),
        *("response.function_call_arguments.done", "response.custom_tool_call_input.done"),
    }
)

_Place = tuple[int, str, int]


class ResponsesEventReader:
    """Reads one attempt; see `everytoken.translation.api.EventReader`.

    What a server leaves out of the deltas it still says where an item is done, or the response: it is told then.
    """

    __slots__ = (
        *(
            "_begun",
            "_calls",
            "_current",
            "_decoder",
            "_ended",
            "_halves",
            "_late",
            "_notes",
            "_open",
            "_places",
        ),
        *("_plain", "_refused", "_told"),
    )

    def __init__(self, *, omits_end: bool = False) -> None:
        self._places = OPENAI_RESPONSES.history()
        self._decoder = OPENAI_RESPONSES.decoder(_REQUEST, self._places, first=True, omits_end=omits_end)
        self._halves = Halves()
        self._calls: dict[int, int] = {}  # index of an item -> which call it is
        self._open: set[int] = set()  # items of calls under way
        self._told: set[_Place] = set()  # the texts of which a piece has come
        self._notes: dict[_Place, int] = {}  # how many sources of a text have been told
        self._late: list[Citation] = []  # sources that are told once the text is whole
        self._current: _Place | None = None  # the text that is told
        self._plain = False  # that is the main text
        self._refused = False
        self._begun = False
        self._ended = False

    @property
    def terminal(self) -> bool:
        """Whether it has said that it is complete."""
        return self._decoder.terminal

    @property
    def over(self) -> bool:
        """Whether it is complete, so that nothing that goes wrong now makes it less so."""
        return self._decoder.terminal

    @property
    def done(self) -> bool:
        """Whether nothing more is to be read."""
        return self._decoder.done

    def read(self, event: ServerSentEvent) -> Sequence[NeutralEvent]:
        """Return what an event brings. Raises what the decoder raises."""
        found = self._decoder.read(event)
        if isinstance(found, str):
            if self._plain:
                return [Wrote(found)]
            places: Any = self._places
            events: list[NeutralEvent] = []
            self._add(TEXT_DELTA, (places.main_item, "content", places.main_part), found, events)
            return events
        if found is None:
            if self._decoder.done and not self._ended:
                self._decoder.receive_eof()  # which is no true end
            return ()
        return self._read(found)

    def receive_eof(self) -> Sequence[NeutralEvent]:
        """Record that the bytes have ended. Raises `TruncatedError`."""
        self._decoder.receive_eof()
        return ()

    def _read(self, chunk: Chunk) -> Sequence[NeutralEvent]:
        own: Own = chunk.own
        kind, value = own.kind, own.value
        events: list[NeutralEvent] = []
        if not self._begun:
            self._begin(value.get("response"), events)
        if kind in LIFECYCLE:
            if kind in TERMINAL:
                self._end(kind, value["response"], events)
        elif kind in _TEXTS:
            holder, field = _TEXTS[kind]
            self._add(kind, (value["output_index"], holder, value[field]), value.get("delta"), events)
        elif kind in _CALL_DELTAS:
            self._argue(value["output_index"], value.get("delta"), events)
        elif kind == _ADDED:
            self._item_added(value["output_index"], value["item"], events)
        elif kind == _DONE:
            self._item_done(value["output_index"], value["item"], events)
        elif kind == _PART_DONE:
            self._part_done(
                (value.get("output_index", 0), "content", value["content_index"]), value.get("part"), events
            )
        elif kind == _NOTE:
            self._note(
                (value.get("output_index", 0), "content", value["content_index"]),
                value.get("annotation"),
                events,
            )
        elif kind == "response.reasoning_summary_part.done":
            self._close(events)
        elif chunk.pieces and kind not in _REPEATS:
            events.append(Other(kind, value))
        return events

    def _begin(self, response: Any, events: list[NeutralEvent]) -> None:
        told = response if isinstance(response, dict) else {}
        identity, model, created = (told.get(name) for name in ("id", "model", "created_at"))
        self._begun = True
        events.append(
            Began(
                identity if isinstance(identity, str) else "",
                model if isinstance(model, str) else "",
                int(created) if isinstance(created, int | float) else 0,
            )
        )

    def _add(self, kind: str, place: _Place, delta: Any, events: list[NeutralEvent]) -> None:
        """Tell a piece of a text, behind what closes the one before."""
        if not delta:
            return
        self._told.add(place)
        self._turn_to(place, events)
        text = self._halves.join(place, delta)
        if not text:
            return
        if kind == TEXT_DELTA:
            events.append(Wrote(text))
        elif kind == "response.refusal.delta":
            self._refused = True
            events.append(Refused(text))
        else:
            events.append(Reasoned(text, kind == "response.reasoning_summary_text.delta"))

    def _turn_to(self, place: _Place | None, events: list[NeutralEvent]) -> None:
        if place == self._current:
            return
        if self._current is not None:
            events += self._late
            self._late.clear()
            events.append(CLOSED)
        self._current = place
        places: Any = self._places
        self._plain = place is not None and place == (places.main_item, "content", places.main_part)

    def _close(self, events: list[NeutralEvent]) -> None:
        self._turn_to(None, events)

    def _note(self, place: _Place, note: Any, events: list[NeutralEvent]) -> None:
        self._notes[place] = self._notes.get(place, 0) + 1
        url = note.get("url") if isinstance(note, dict) else None
        if not isinstance(note, dict) or not isinstance(url, str):
            kind = note.get("type") if isinstance(note, dict) else None
            events.append(Other(f"annotations.{kind}", note))
            return
        title, start, end = (note.get(name) for name in ("title", "start_index", "end_index"))
        title = title if isinstance(title, str) else ""
        if isinstance(start, int) and isinstance(end, int):
            events.append(Citation(url, title, start, end))
        else:
            self._late.append(Citation(url, title))  # a source of the whole text, as far as is told

    def _part_done(self, place: _Place, part: Any, events: list[NeutralEvent]) -> None:
        if isinstance(part, dict):
            self._tell_part(place, part, events)
        if place == self._current:
            self._close(events)

    def _tell_part(self, place: _Place, part: dict[str, Any], events: list[NeutralEvent]) -> None:
        """Tell what of a part has not been told: the whole text where no piece of it came, sources that came late."""
        kind, field = _PARTS.get(str(part.get("type")), ("", ""))
        if not kind:
            events.append(Other(f"content.{part.get('type')}", part))
            return
        text = part.get(field)
        if place not in self._told and isinstance(text, str):
            self._add(kind, place, text, events)
        notes = part.get("annotations")
        for note in notes[self._notes.get(place, 0) :] if isinstance(notes, list) else ():
            self._note(place, note, events)

    def _item_added(self, index: int, item: dict[str, Any], events: list[NeutralEvent]) -> None:
        kind = str(item.get("type"))
        self._close(events)
        if kind in _CALLS:
            call = self._calls[index] = len(self._calls)
            self._open.add(index)
            identity = item.get("call_id") or item.get("id")
            events.append(
                CallBegan(call, str(identity or ""), str(item.get("name") or ""), kind == "custom_tool_call")
            )
        elif kind not in {"message", "reasoning"}:
            events.append(Other(kind, item))

    def _argue(self, index: int, delta: Any, events: list[NeutralEvent]) -> None:
        if delta and index in self._calls:
            self._told.add((index, "", 0))
            text = self._halves.join(index, delta)
            if text:
                events.append(Arguments(self._calls[index], text))

    def _item_done(self, index: int, item: dict[str, Any], events: list[NeutralEvent]) -> None:
        kind = str(item.get("type"))
        if kind in _CALLS:
            if index not in self._calls:
                self._item_added(index, item, events)
            if index in self._open:
                self._call_done(index, item, events)
            return
        if kind not in {"message", "reasoning"}:
            events.append(Other(kind, item))
            return
        for holder in ("summary", "content"):
            parts = item.get(holder)
            for number, part in enumerate(parts if isinstance(parts, list) else ()):
                if isinstance(part, dict):
                    self._tell_part((index, holder, number), part, events)
        self._close(events)

    def _call_done(self, index: int, item: dict[str, Any], events: list[NeutralEvent]) -> None:
        self._open.remove(index)
        given = item.get(_CALLS[str(item.get("type"))])
        cut = item.get("status") == "incomplete"
        if (index, "", 0) not in self._told:
            given = given if isinstance(given, str) else ""
            if text := given or ("{}" if item.get("type") == "function_call" and not cut else ""):
                events.append(Arguments(self._calls[index], text))
        if not cut:
            events.append(CallEnded(self._calls[index]))

    def _end(self, kind: str, response: dict[str, Any], events: list[NeutralEvent]) -> None:
        output = response.get("output")
        for index, item in enumerate(output if isinstance(output, list) else ()):
            # Some servers tell of their items nowhere else.
            if isinstance(item, dict) and index not in self._places.items:  # type: ignore[attr-defined]
                self._item_done(index, item, events)
        self._close(events)
        if kind != "response.incomplete":
            events += [CallEnded(self._calls[index]) for index in sorted(self._open)]
        self._ended = True
        reason: Reason = "tool_calls" if self._calls else "stop"
        if kind == "response.incomplete":
            details = response.get("incomplete_details")
            told = details.get("reason") if isinstance(details, dict) else None
            if str(told) not in INCOMPLETE:
                raise untranslatable(f"incomplete_details.reason {str(told)[:64]}")
            reason = INCOMPLETE[str(told)]
        events.append(Ended(reason, usage_in(self._decoder.usage)))
