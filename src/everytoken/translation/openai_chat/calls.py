"""The tool calls of a chat completion as neutral events: begun once, with a whole name, and ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from everytoken.errors import MalformedEventError
from everytoken.translation.events import Arguments, CallBegan, CallEnded
from everytoken.translation.refusing import untranslatable
from everytoken.translation.text import Halves

if TYPE_CHECKING:
    from everytoken.dialects.openai_chat.chunk import ToolCallDelta
    from everytoken.translation.events import NeutralEvent

__all__ = ["CallEvents"]


class _Call:
    """One call. `first` and `last` are pieces of its arguments, `held` those that may repeat the ones before them."""

    __slots__ = ("begun", "custom", "ended", "held", "id", "index", "last", "name", "pieces", "repeats")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.custom = False
        self.begun = False
        self.ended = False
        self.pieces: list[str] = []
        self.held: list[str] = []
        self.last = ""
        self.repeats = True


class CallEvents:
    """Turns fragments of calls into events.

    Chat does not say where a call ends. It has ended where its arguments are a whole JSON object when something else
    comes, or else with the answer. A name may come in pieces, or again and again, so a call is told of with the first
    piece of its arguments, or when something else comes. Some servers send the arguments from their beginning each time,
    which only the end tells from a piece that happens to begin alike: such pieces are held back.
    """

    __slots__ = ("_calls", "_halves", "_unsettled")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._unsettled: list[_Call] = []
        self._halves = Halves()

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is to be told of a call when something else comes."""
        return not self._unsettled

    def add(
        self, position: int, fragment: ToolCallDelta, response_id: str, events: list[NeutralEvent]
    ) -> None:
        """Take a fragment of the call at a position; append what it tells to `events`."""
        if position == len(self._calls):
            self.settle(events)
            call = _Call(position)
            self._calls.append(call)
            self._unsettled.append(call)
            call.id = fragment.id or _made_id(response_id, position)
        else:
            call = self._calls[position]
            if self._unsettled and self._unsettled != [call]:
                self.settle(events, but=call)
        call.custom = call.custom or fragment.custom is not None
        if fragment.name and fragment.name != call.name:
            if call.begun:
                raise untranslatable("tool_calls.function.name")
            call.name += fragment.name
        if fragment.arguments:
            text = self._halves.join(position, fragment.arguments)
            if text:
                self._argue(call, text, events)

    def settle(self, events: list[NeutralEvent], but: _Call | None = None) -> None:
        """Tell what can be told of the calls now that something else comes."""
        for call in self._unsettled:
            if call is but or not call.name:
                continue
            self._begin(call, events)
            if not call.custom and not call.held and _is_object("".join(call.pieces)):
                self._end(call, events)
        self._unsettled = [call for call in self._unsettled if call is but or not call.name]

    def finish(self, events: list[NeutralEvent], *, complete: bool) -> None:
        """Tell the rest. `complete`: no call was cut by a limit, so one without arguments has none."""
        self._unsettled = []
        for call in self._calls:
            if not call.name:
                raise MalformedEventError("a tool call has no name")
            self._begin(call, events)
            self._release(call, events)
            if not call.pieces and complete and not call.custom:
                self._tell(call, "{}", events)
            if not call.ended and (complete or _is_object("".join(call.pieces))):
                self._end(call, events)

    def _argue(self, call: _Call, text: str, events: list[NeutralEvent]) -> None:
        if call.ended:
            if not text.isspace():
                raise untranslatable("tool_calls.function.arguments")
            return  # blanks behind the closing brace
        last, call.last = call.last, text
        if not call.name:
            call.pieces.append(text)  # told once it has a name
            call.repeats = False
            return
        self._begin(call, events)
        if call.repeats and last and not call.custom:
            if text.startswith(last):
                call.held.append(text)
                return
            call.repeats = False
            if call.held:
                self._tell(call, "".join(call.held), events)
                call.held = []
        self._tell(call, text, events)

    def _release(self, call: _Call, events: list[NeutralEvent]) -> None:
        """Tell the pieces held back: the last one alone, if each has those before it in it."""
        if not call.held:
            return
        told = "".join(call.pieces)
        joined = told + "".join(call.held)
        if not _is_json(joined) and _is_json(call.held[-1]):
            joined = call.held[-1]
        call.held = []
        self._tell(call, joined[len(told) :], events)

    def _tell(self, call: _Call, text: str, events: list[NeutralEvent]) -> None:
        call.pieces.append(text)
        events.append(Arguments(call.index, text))

    def _begin(self, call: _Call, events: list[NeutralEvent]) -> None:
        if call.begun:
            return
        call.begun = True
        events.append(CallBegan(call.index, call.id, call.name, call.custom))
        events += [Arguments(call.index, text) for text in call.pieces]

    def _end(self, call: _Call, events: list[NeutralEvent]) -> None:
        call.ended = True
        events.append(CallEnded(call.index))


def _made_id(response_id: str, position: int) -> str:
    """Return an id for a call that has none: every API but chat needs one. Messages allows only these characters."""
    name = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in response_id[-64:])
    return f"call_{name}_{position}"


def _is_object(text: str) -> bool:
    return text.lstrip()[:1] == "{" and _is_json(text)


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True
