"""Answers of one API read by the official SDK of another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import anthropic
import httpx2
import openai
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState

from everytoken.dialects.registry import dialect_named
from everytoken.recovery import Breaker, LearnedCapabilities, Policy, Recovery, Target
from everytoken.sse import SSEDecoder
from everytoken.translation.anthropic_messages.read_events import MessagesEventReader
from everytoken.translation.anthropic_messages.write_events import MessagesEventWriter
from everytoken.translation.openai_chat.read_events import ChatEventReader
from everytoken.translation.openai_chat.write_events import ChatEventWriter
from everytoken.translation.openai_responses.read_events import ResponsesEventReader
from everytoken.translation.openai_responses.write_events import ResponsesEventWriter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from everytoken.sse import ServerSentEvent

CHAT, MESSAGES, RESPONSES = "openai-chat", "anthropic-messages", "openai-responses"
APIS = (CHAT, MESSAGES, RESPONSES)
PAIRS = [(source, target) for source in APIS for target in APIS]
READERS: dict[str, Any] = {
    CHAT: ChatEventReader,
    MESSAGES: MessagesEventReader,
    RESPONSES: ResponsesEventReader,
}
WRITERS: dict[str, Any] = {
    CHAT: ChatEventWriter,
    MESSAGES: MessagesEventWriter,
    RESPONSES: ResponsesEventWriter,
}
ASK: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True},
    MESSAGES: {
        "model": "m",
        "max_tokens": 99,
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    },
    RESPONSES: {"model": "m", "input": "Hi", "stream": True},
}


def bytes_of(events: Iterable[ServerSentEvent]) -> list[bytes]:
    """Return each event as a server sends it."""
    return [
        f"event: {event.event}\ndata: {event.data}\n\n".encode()
        if event.event != "message"
        else f"data: {event.data}\n\n".encode()
        for event in events
    ]


def events_of(wire: Iterable[bytes]) -> list[ServerSentEvent]:
    """Return the events in what a server sends."""
    return SSEDecoder().receive_data(b"".join(wire))


def neutral(api: str, events: Iterable[ServerSentEvent]) -> list[Any]:
    """Return what a whole stream of an API says."""
    reader = READERS[api]()
    found = [said for event in events for said in reader.read(event)]
    return [*found, *reader.receive_eof()]


def written(api: str, events: Iterable[Any], request: Any = None) -> list[ServerSentEvent]:
    """Return neutral events as a stream of an API, each written by itself."""
    writer = WRITERS[api](ASK[api] if request is None else request, created=1_700_000_000)
    return [event for one in events for event in writer.write([one])]


def translated(
    source: str, target: str, events: Iterable[ServerSentEvent], request: Any = None
) -> list[ServerSentEvent]:
    """Return a whole stream of `source` as one of `target`."""
    reader, writer = READERS[source](), WRITERS[target](ASK[target] if request is None else request)
    found = [event for one in events for event in writer.write(reader.read(one))]
    return [*found, *writer.write(reader.receive_eof())]


class Seen(NamedTuple):
    """What an SDK gives its caller. `said` is text with what was refused behind it; `reasoning` is joined, and so is `said`."""

    said: str
    reasoning: str
    calls: list[tuple[str, str, Any]]
    finish: str
    usage: tuple[int, int, int, int, int] | None
    sources: list[str]


class _Answers:
    """A server that gives the stream it was told to."""

    def __init__(self) -> None:
        self.stream = b""
        client = httpx2.Client(transport=httpx2.MockTransport(self._answer))
        self.openai: Any = openai.OpenAI(
            api_key="k", base_url="http://model/v1", http_client=client, max_retries=0
        )
        self.anthropic: Any = anthropic.Anthropic(
            api_key="k", base_url="http://model", http_client=client, max_retries=0
        )

    def _answer(self, _: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=self.stream)


_ANSWERS = _Answers()


def read_by_sdk(api: str, events: Iterable[ServerSentEvent]) -> Seen:
    """Return what the official SDK of an API reads of a stream."""
    _ANSWERS.stream = b"".join(bytes_of(events))
    return {CHAT: _chat, MESSAGES: _messages, RESPONSES: _responses}[api]()


def _chat() -> Seen:
    text = reasoning = refusal = ""
    calls: dict[int, list[Any]] = {}
    finish = usage = None
    sources: list[str] = []
    for chunk in _ANSWERS.openai.chat.completions.create(**ASK[CHAT]):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            delta = choice.delta
            text += delta.content or ""
            refusal += delta.refusal or ""
            extra = delta.model_extra or {}
            reasoning += extra.get("reasoning_content") or ""
            sources += [note["url_citation"]["url"] for note in extra.get("annotations") or ()]
            for piece in delta.tool_calls or ():
                call = calls.setdefault(piece.index, [piece.id, "", ""])
                assert piece.id in {None, call[0]}
                inner = piece.function.model_dump() if piece.function else (piece.model_extra or {})["custom"]
                call[1] += inner.get("name") or ""
                call[2] += inner.get("arguments") or inner.get("input") or ""
            finish = choice.finish_reason or finish
    assert list(calls) == list(range(len(calls)))
    return Seen(
        text + refusal,
        reasoning,
        [(call, name, _arguments(given)) for call, name, given in calls.values()],
        "refused" if refusal or finish == "content_filter" else str(finish),
        usage
        and (
            usage.prompt_tokens,
            usage.completion_tokens,
            _count(usage.prompt_tokens_details, "cached_tokens"),
            _count(usage.prompt_tokens_details, "cache_write_tokens"),
            _count(usage.completion_tokens_details, "reasoning_tokens"),
        ),
        sources,
    )


def _messages() -> Seen:
    ask = {name: value for name, value in ASK[MESSAGES].items() if name != "stream"}
    with _ANSWERS.anthropic.messages.stream(**ask) as stream:
        message = stream.get_final_message()
    blocks = message.content
    usage = message.usage
    cached, made = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    names = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
    return Seen(
        "".join(block.text for block in blocks if block.type == "text"),
        "".join(block.thinking for block in blocks if block.type == "thinking"),
        [(block.id, block.name, block.input) for block in blocks if block.type == "tool_use"],
        names.get(
            message.stop_reason, "refused" if message.stop_reason == "refusal" else message.stop_reason
        ),
        (
            usage.input_tokens + cached + made,
            usage.output_tokens,
            cached,
            made,
            _count(usage.output_tokens_details, "thinking_tokens"),
        ),
        [note.url for block in blocks if block.type == "text" for note in block.citations or ()],
    )


def _responses() -> Seen:
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    response: Any = None
    for number, event in enumerate(_ANSWERS.openai.responses.create(**ASK[RESPONSES])):
        assert event.sequence_number == number
        state.handle_event(event)
        response = getattr(event, "response", response)
    parts = [part for item in response.output if item.type == "message" for part in item.content]
    thoughts = [item for item in response.output if item.type == "reasoning"]
    calls = [
        (item.call_id, item.name, _arguments(item.arguments if item.type == "function_call" else item.input))
        for item in response.output
        if item.type in {"function_call", "custom_tool_call"}
    ]
    refusal = "".join(part.refusal for part in parts if part.type == "refusal")
    finish = "tool_calls" if calls else "stop"
    if response.status == "incomplete":
        reason = response.incomplete_details.reason
        finish = {"max_output_tokens": "length", "content_filter": "refused"}[reason]
    usage = response.usage
    return Seen(
        "".join(part.text for part in parts if part.type == "output_text") + refusal,
        "".join(part.text for item in thoughts for part in (*item.summary, *(item.content or ()))),
        calls,
        "refused" if refusal else finish,
        usage
        and (
            usage.input_tokens,
            usage.output_tokens,
            _count(usage.input_tokens_details, "cached_tokens"),
            _count(usage.input_tokens_details, "cache_write_tokens"),
            _count(usage.output_tokens_details, "reasoning_tokens"),
        ),
        [note.url for part in parts if part.type == "output_text" for note in part.annotations],
    )


def _arguments(given: str) -> Any:
    try:
        return json.loads(given or "{}")
    except ValueError:
        return given


def _count(details: Any, name: str) -> int:
    return getattr(details, name, None) or 0


def recovery_of(api: str) -> Recovery:
    """Return the recovery of a response for a caller of an API, whose attempts are compared by replay."""
    learned = LearnedCapabilities()
    policy = Policy(backoff=0.0, retry_after_max=0.0, strategies=frozenset({"replay"}))
    return Recovery(
        request=dialect_named(api).request(ASK[api]),
        targets=[Target(name="a", policy=policy)],
        seed=7,
        jitter=lambda: 0.0,
        experience=lambda _: learned,
        breaker=Breaker(threshold=1000),
    )


def content_of(api: str, records: Iterable[bytes]) -> Any:
    """Return what records of an API join to, but for ids and counts, which another attempt has otherwise."""
    joined = dialect_named(api).accumulator()
    for record in records:
        joined.add(record)
    message = joined.message()
    own = {"id", "call_id", "usage", "created", "created_at", "everytoken"}
    return _without(message, own)


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(item, names) for name, item in value.items() if name not in names}
    return [_without(item, names) for item in value] if isinstance(value, list) else value
