"""Streams as real servers send them, for a caller of every other API: said as they were, or refused by name."""

from __future__ import annotations

import json

import pytest

from content_shapes import SHAPES, wire
from everytoken.dialects.registry import dialect_named
from everytoken.errors import ErrorEventError, MalformedEventError, TruncatedError, UntranslatableError
from everytoken.sse import ServerSentEvent
from everytoken.translation.events import (
    CLOSED,
    Arguments,
    Began,
    CallBegan,
    CallEnded,
    Ended,
    Sealed,
    Usage,
    Wrote,
)
from messages_streams import STREAMS as OF_MESSAGES
from messages_streams import again as messages_again
from responses_streams import STREAMS as OF_RESPONSES
from responses_streams import like_llama
from translated import (
    APIS,
    ASK,
    CHAT,
    MESSAGES,
    PAIRS,
    READERS,
    RESPONSES,
    WRITERS,
    bytes_of,
    content_of,
    events_of,
    neutral,
    read_by_sdk,
    recovery_of,
    translated,
    written,
)


def _events(values):
    return [ServerSentEvent(value.get("type", "message"), json.dumps(value)) for value in values]


STREAMS = {
    CHAT: {name: events_of([wire(shape)]) for name, shape in SHAPES.items()},
    MESSAGES: {name: _events(events) for name, events in OF_MESSAGES.items()},
    RESPONSES: {name: _events(make("a")) for name, make in OF_RESPONSES.items()},
}
AGAIN = {
    CHAT: {name: events_of([wire(shape, number=2, again=2)]) for name, shape in SHAPES.items()},
    MESSAGES: {name: _events(messages_again(events)) for name, events in OF_MESSAGES.items()},
    RESPONSES: {name: _events(make("b")) for name, make in OF_RESPONSES.items()},
}
REFUSED = {
    "citations": "citations.char_location",
    "server tool": "server_tool_use",
    "what comes next year": "compaction",
    "searched": "web_search_call",
    "images": "images",
    "audio": "audio",
    "executed tools": "executed_tools",
    "a field of next year": "hologram",
}
CUSTOM = {"custom_tool", "a custom tool's input"}
CASES = [(api, name) for api, streams in STREAMS.items() for name in streams]
SAID = [case for case in CASES if case[1] not in REFUSED]


@pytest.mark.parametrize(("source", "name"), CASES)
@pytest.mark.parametrize("target", APIS)
def test_an_answer_is_said_whole_or_refused_by_name(source, name, target):
    events = STREAMS[source][name]
    refused = REFUSED.get(name) or ("custom tool call" if name in CUSTOM and target == MESSAGES else None)
    if refused is not None:
        with pytest.raises(UntranslatableError) as raised:
            translated(source, target, events)
        assert (raised.value.param, raised.value.code) == (refused, "upstream-untranslatable")
        return
    said = "".join(getattr(event, "text", "") for event in neutral(source, events))
    assert said or name == "nothing"
    seen = read_by_sdk(target, translated(source, target, events))
    told = (
        seen.reasoning
        + seen.said
        + "".join(given if isinstance(given, str) else "" for _, _, given in seen.calls)
    )
    if not seen.calls:
        assert sorted(told) == sorted(said)
    truth = read_by_sdk(source, events)
    assert [(one, called) for one, called, _ in seen.calls] == [
        (one, called) for one, called, _ in truth.calls
    ]
    if source != CHAT:
        assert (seen.said, seen.reasoning, seen.calls) == (truth.said, truth.reasoning, truth.calls)
        assert (seen.finish, seen.usage) == (truth.finish, truth.usage)


@pytest.mark.parametrize(("source", "name"), SAID)
@pytest.mark.parametrize("target", APIS)
def test_cut_anywhere_it_is_repeated_in_translation_and_continued(source, name, target):
    if name in CUSTOM and target == MESSAGES:
        pytest.skip("refused")
    events, second = STREAMS[source][name], translated(source, target, AGAIN[source][name])
    whole = translated(source, target, events)
    truth = content_of(target, [event.data.encode() for event in whole if event.data != "[DONE]"])
    for cut in range(len(events)):
        reader, writer = READERS[source](), WRITERS[target](ASK[target])
        first = [one for event in events[:cut] for one in writer.write(reader.read(event))]
        if reader.terminal:
            continue
        recovery = recovery_of(target)
        records = _play(recovery, [first, second])
        assert (cut, recovery.outcome, recovery.error) == (cut, "completed", None)
        assert content_of(target, records) == truth


def _play(recovery, attempts):
    """Return what is delivered when each attempt sends these events and ends."""
    records = []
    recovery.start(0.0)
    script = iter(attempts)
    now = 0.0
    while recovery.outcome is None:
        decisions, recovery.decisions = list(recovery.decisions), type(recovery.decisions)()
        if not any(type(decision).__name__ == "Connect" for decision in decisions):
            now = recovery.deadline
            records += recovery.tick(now)
            continue
        recovery.accept(now)
        for data in bytes_of(next(script)):
            records += recovery.receive_data(now, data)
        if recovery.outcome is None:
            records += recovery.receive_eof(now)
    return records


@pytest.mark.parametrize("target", APIS)
@pytest.mark.parametrize(
    "name", [name for name in OF_RESPONSES if name not in REFUSED and name not in CUSTOM]
)
def test_responses_without_numbers_say_the_same(name, target):
    events = OF_RESPONSES[name]("a")
    numbered, bare = _events(events), _events(like_llama(events))
    seen, truth = (read_by_sdk(target, translated(RESPONSES, target, one)) for one in (bare, numbered))
    if name != "parallel_calls":  # whose pieces are told apart by nothing but the ids of their items
        assert seen == truth


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_errors_of_an_upstream_are_errors(source, target):
    del target
    reader = READERS[source]()
    for event in STREAMS[source][
        "length" if source == MESSAGES else "text" if source == RESPONSES else "annotations"
    ][:3]:
        reader.read(event)
    with pytest.raises(ErrorEventError):
        reader.read(
            ServerSentEvent("error", '{"type":"error","error":{"type":"overloaded_error","message":"busy"}}')
        )
    with pytest.raises(MalformedEventError):
        reader.read(ServerSentEvent("message", '{"half'))
    with pytest.raises(TruncatedError):
        reader.receive_eof()


@pytest.mark.parametrize("source", APIS)
def test_signs_of_life_say_nothing(source):
    reader = READERS[source]()
    for data in ('{"type":"ping"}', "ping", "[PING]"):
        assert not reader.read(ServerSentEvent("ping", data))


def test_a_signature_is_passed_on_and_never_made_up():
    signed = translated(MESSAGES, MESSAGES, STREAMS[MESSAGES]["thinking"])
    assert sum("signature_delta" in event.data for event in signed) == 1
    assert any(isinstance(event, Sealed) for event in neutral(MESSAGES, signed))
    unsigned = translated(RESPONSES, MESSAGES, STREAMS[RESPONSES]["reasoning"])
    assert not any("signature_delta" in event.data for event in unsigned)
    assert any('"thinking":"","signature":""' in event.data for event in unsigned)


def test_a_piece_of_text_takes_the_short_way_through_the_decoders_of_all_callers():
    many = {CHAT: "annotations", MESSAGES: "hidden thinking", RESPONSES: "reasoning"}
    for source, target in PAIRS:
        dialect = dialect_named(target)
        decoder = dialect.decoder(dialect.request(ASK[target]), dialect.history(), first=True)
        events = translated(source, target, STREAMS[source][many[source]])
        assert str in [type(decoder.read(event)) for event in events], (source, target)
        assert decoder.terminal


ANSWER = [
    Began("id1", "m", 7),
    *(Wrote("One "), Wrote("two "), Wrote("three."), CLOSED),
    *(CallBegan(0, "c1", "look"), Arguments(0, '{"a"'), Arguments(0, ":1}"), CallEnded(0)),
    *(CallBegan(1, "c2", "see"), Arguments(1, "{}"), CallEnded(1)),
    Ended("tool_calls", Usage(9, 4, 2, 0, 3)),
]


@pytest.mark.parametrize("target", APIS)
@pytest.mark.parametrize(("source", "other"), PAIRS)
def test_an_upstream_of_another_api_continues_what_one_has_begun(source, other, target):
    events = written(source, ANSWER)
    whole = translated(source, target, events)
    truth = content_of(target, [event.data.encode() for event in whole if event.data != "[DONE]"])
    for cut in range(len(events)):
        reader, writer = READERS[source](), WRITERS[target](ASK[target])
        first = [one for event in events[:cut] for one in writer.write(reader.read(event))]
        if reader.terminal:
            continue
        recovery = recovery_of(target)
        records = _play(recovery, [first, translated(other, target, written(other, ANSWER))])
        assert (cut, recovery.outcome, recovery.error) == (cut, "completed", None)
        assert content_of(target, records) == truth
