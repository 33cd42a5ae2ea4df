"""The stream of a chat completion, read into neutral events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.dialects.openai_chat.calls import as_tool_call
from everytoken.dialects.openai_chat.pieces import ChatHistory
from everytoken.dialects.openai_chat.reader import ChatReader
from everytoken.dialects.openai_chat.request import ChatRequest
from everytoken.json import loads
from everytoken.translation.events import Began, Citation, Ended, Other, Reasoned, Refused, Sealed, Wrote
from everytoken.translation.openai_chat.calls import CallEvents
from everytoken.translation.openai_chat.usage import usage_in
from everytoken.translation.refusing import untranslatable
from everytoken.translation.text import Halves

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from everytoken.dialects.openai_chat.chunk import Choice, Delta, ToolCallDelta
    from everytoken.dialects.openai_chat.chunk import Chunk as TypedChunk
    from everytoken.dialects.pieces import Chunk
    from everytoken.sse import ServerSentEvent
    from everytoken.translation.events import NeutralEvent, Reason

__all__ = ["REASONS", "ChatEventReader"]

_REQUEST: Final = ChatRequest({"messages": [{"role": "user", "content": ""}]})

REASONS: Final[dict[str, Reason]] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "complete", "stop_sequence"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), "tool_calls"),
    **dict.fromkeys(("content_filter", "safety", "sensitive", "recitation", "blocklist"), "content_filter"),
    "refusal": "refusal",
}
"""What a `finish_reason` means, in lower case, also in the words of servers that have their own."""

_REASONING: Final = ("reasoning_text", "thinking")
_SIGNED: Final = ("reasoning_details", "thinking_blocks")


class ChatEventReader:
    """Reads one attempt; see `everytoken.translation.api.EventReader`."""

    __slots__ = (
        "_calls",
        "_choice",
        "_decoder",
        "_ended",
        "_halves",
        "_id",
        "_late",
        "_plain",
        "_reason",
        "_sequence",
        "_urls",
    )

    def __init__(self, *, omits_end: bool = False) -> None:
        self._decoder = ChatReader(
            _REQUEST, ChatHistory(), first=True, usage=False, omits_finish_reason=omits_end
        )
        self._calls = CallEvents()
        self._halves = Halves()
        self._id: str | None = None  # of the response; None before it has begun
        self._plain = False  # nothing is to be told before text
        self._choice: int | None = None
        self._reason: Reason | None = None
        self._sequence: str | None = None
        self._ended = False
        self._urls: set[str] = set()
        self._late: list[NeutralEvent] = []  # sources that are told once the text is whole

    @property
    def terminal(self) -> bool:
        """Whether it has said that it is complete, though more may follow."""
        return self._decoder.terminal

    @property
    def over(self) -> bool:
        """Whether it is complete, so that nothing that goes wrong now makes it less so."""
        return self._decoder.over

    @property
    def done(self) -> bool:
        """Whether nothing more is to be read."""
        return self._decoder.done

    def read(self, event: ServerSentEvent) -> Sequence[NeutralEvent]:
        """Return what an event brings. Raises what the decoder raises, and `UntranslatableError`."""
        found = self._decoder.read(event)
        if isinstance(found, str):
            if self._plain:
                return [Wrote(found)]
            events: list[NeutralEvent] = []
            self._begin(event.data, events)
            self._take_index(0)
            self._settle(events)
            events.append(Wrote(found))
            return events
        if found is None:
            return self._finish() if self._decoder.done and not self._ended else ()
        return self._read(found)

    def receive_eof(self) -> Sequence[NeutralEvent]:
        """Record that the bytes have ended; return what is still to be told. Raises `TruncatedError`."""
        return () if self._ended else self._finish()

    def _read(self, chunk: Chunk) -> Sequence[NeutralEvent]:
        typed: TypedChunk = chunk.own
        events: list[NeutralEvent] = []
        if typed.id or chunk.pieces:
            self._begin(chunk.record, events)
        positions = iter(
            [int(place[0]) for kind, place, _, _ in chunk.pieces if kind == "tool_call" and len(place) == 1]
        )
        for choice in typed.choices or ():
            self._take_choice(choice)
            if choice.delta is not None:
                self._read_delta(choice.delta, positions, events)
        self._read_beside(typed.others or {}, events)
        return events

    def _begin(self, record: str, events: list[NeutralEvent]) -> None:
        if self._id is not None:
            return
        value = loads(record)
        identity, model, created = (value.get(name) for name in ("id", "model", "created"))
        self._id = identity if isinstance(identity, str) else ""
        model = model if isinstance(model, str) else ""
        events.append(Began(self._id, model, int(created) if isinstance(created, int | float) else 0))

    def _settle(self, events: list[NeutralEvent]) -> None:
        self._calls.settle(events)
        self._plain = self._calls.is_settled

    def _flush(self, events: list[NeutralEvent]) -> None:
        events += self._late
        self._late.clear()

    def _take_choice(self, choice: Choice) -> None:
        self._take_index(choice.index or 0)
        if choice.finish_reason:
            self._reason = REASONS.get(choice.finish_reason.lower())
            if self._reason is None:
                raise untranslatable(f"finish_reason {choice.finish_reason[:64]}")
            # vLLM and SGLang tell what the text has stopped at.
            told = _value(choice.stop_reason) or _value(choice.matched_stop)
            self._sequence = told if isinstance(told, str) else None

    def _take_index(self, index: int) -> None:
        if self._choice is None:
            self._choice = index  # some servers count from 1
        elif index != self._choice:
            raise untranslatable("choices")

    def _read_delta(self, delta: Delta, positions: Iterator[int], events: list[NeutralEvent]) -> None:
        others = dict(delta.others or {})
        found: list[NeutralEvent] = []
        marked = _is_thought(others.pop("extra_content", None))
        self._reason_in(delta, others, found)
        content = delta.content
        if isinstance(content, list):
            self._read_parts(content, found)
        elif content:
            self._text(content, found, thought=marked)
        if delta.refusal and (text := self._halves.join("refusal", delta.refusal)):
            found.append(Refused(text))
        found += self._annotations(others.pop("annotations", None))
        found += [Other(name, value) for name, value in others.items()]
        if found:
            self._settle(events)
            events += found
        fragments: list[ToolCallDelta] = list(delta.tool_calls or ())
        if delta.function_call is not None:
            fragments.append(as_tool_call(delta.function_call))
        if fragments:
            self._plain = False
            self._flush(events)
        for fragment in fragments:
            self._calls.add(next(positions), fragment, self._id or "", events)
            # A signature on a call, as Gemini's: only its provider can read it. See the table of dispositions.
            rest = {name: value for name, value in (fragment.others or {}).items() if name != "extra_content"}
            events += [Other(f"tool_calls.{name}", value) for name, value in rest.items()]

    def _text(self, text: str, found: list[NeutralEvent], *, thought: bool = False) -> None:
        found.append(Reasoned(text) if thought else Wrote(text))

    def _reason_in(self, delta: Delta, others: dict[str, Any], found: list[NeutralEvent]) -> None:
        """Take reasoning, under any of its names. Servers that send several send the same text in each."""
        names = [others.pop(name, None) for name in _REASONING]
        texts = [delta.reasoning_content, delta.reasoning, *(name for name in names if isinstance(name, str))]
        sealed: list[NeutralEvent] = []
        for name in _SIGNED:
            for detail in _objects(others.pop(name, None)):
                text = detail.get("text") or detail.get("thinking") or detail.get("summary")
                texts.append(text if isinstance(text, str) else None)
                if isinstance(signature := detail.get("signature"), str) and signature:
                    sealed.append(Sealed(signature=signature))
        text = next((text for text in texts if text), None)
        if text and (text := self._halves.join("reasoning", text)):
            found.append(Reasoned(text))
        found += sealed

    def _read_parts(self, parts: list[Any], found: list[NeutralEvent]) -> None:
        """Take content that comes as a list, which is how Mistral streams its thinking."""
        for part in parts:
            kind = part.get("type", "text") if isinstance(part, dict) else None
            text = part if isinstance(part, str) else part.get("text") if kind == "text" else None
            if isinstance(text, str):
                if text:
                    self._text(text, found)
            elif kind == "thinking":
                found += [Reasoned(text) for text in _texts(part.get("thinking")) if text]
            else:
                found.append(Other(f"content.{kind}", part))

    def _annotations(self, notes: Any) -> Iterator[NeutralEvent]:
        for note in notes if isinstance(notes, list) else () if notes is None else (notes,):
            told = note.get("url_citation") if isinstance(note, dict) else None
            url = told.get("url") if isinstance(told, dict) else None
            if isinstance(told, dict) and isinstance(url, str):
                self._urls.add(url)
                start, end = _number(told, "start_index"), _number(told, "end_index")
                citation = Citation(url, _word(told, "title"), start, start if end is None else end)
                if start is None:
                    self._late.append(citation)
                else:
                    yield citation
            else:
                yield Other("annotations", note)

    def _read_beside(self, others: dict[str, Any], events: list[NeutralEvent]) -> None:
        """Take what stands beside the choices: the sources that Perplexity sends with every chunk, or what we do not know."""
        found: list[NeutralEvent] = []
        for name in sorted(others, key=lambda name: name != "search_results"):  # these have titles
            if name not in {"citations", "search_results"}:
                found.append(Other(name, others[name]))
                continue
            for source in others[name] if isinstance(others[name], list) else ():
                url = source.get("url") if isinstance(source, dict) else source
                if not isinstance(url, str):
                    found.append(Other(name, source))
                elif url not in self._urls:
                    self._urls.add(url)
                    # Where a server does not say what text it is a source of, it is one of all of it.
                    self._late.append(
                        Citation(url, _word(source, "title") if isinstance(source, dict) else "")
                    )
        if found:
            self._settle(events)
            events += found

    def _finish(self) -> Sequence[NeutralEvent]:
        self._decoder.receive_eof()
        self._ended = True
        events: list[NeutralEvent] = [] if self._id is not None else [Began("", "")]
        # Without a reason is only an upstream that is known to give none.
        reason = self._reason or ("tool_calls" if len(self._calls) else "stop")
        self._flush(events)
        self._calls.finish(events, complete=reason != "length")
        events.append(Ended(reason, usage_in(self._decoder.usage), self._sequence))
        return events


def _value(raw: msgspec.Raw) -> Any:
    data = bytes(raw)
    return msgspec.json.decode(data) if data else None


def _is_thought(extra: Any) -> bool:
    """Whether Gemini says of a text that it is a thought."""
    google = extra.get("google") if isinstance(extra, dict) else None
    return isinstance(google, dict) and google.get("thought") is True


def _objects(value: Any) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]


def _texts(value: Any) -> Iterator[str]:
    """Return the texts of a part that thinks: a text, or parts of their own."""
    if isinstance(value, str):
        yield value
    for item in value if isinstance(value, list) else ():
        text = item.get("text") if isinstance(item, dict) else item
        if isinstance(text, str):
            yield text


def _word(value: dict[str, Any], name: str) -> str:
    word = value.get(name)
    return word if isinstance(word, str) else ""


def _number(value: dict[str, Any], name: str) -> int | None:
    number = value.get(name)
    return number if isinstance(number, int) and not isinstance(number, bool) else None
