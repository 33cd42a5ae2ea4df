"""Answers in one piece: the caller that does not stream gets its own API's JSON, whatever the upstream's is."""

from __future__ import annotations

import json

import pytest

from everytoken.dialects.registry import dialect_named
from everytoken.errors import ErrorEventError, NotAnEventStreamError, UntranslatableError
from everytoken.sse import ServerSentEvent
from everytoken.translation.events import (
    CLOSED,
    Arguments,
    Began,
    CallBegan,
    CallEnded,
    Ended,
    Reasoned,
    Usage,
    Wrote,
)
from everytoken.translation.in_one_piece import translated_answer
from translated import APIS, ASK, CHAT, MESSAGES, PAIRS, READERS, RESPONSES, WRITERS, read_by_sdk, written

ANSWER = [
    Began("id1", "m", 7),
    Reasoned("Hm."),
    CLOSED,
    Wrote("Let me "),
    Wrote("look. 😀"),
    CLOSED,
    CallBegan(0, "c1", "look"),
    Arguments(0, '{"a":1}'),
    CallEnded(0),
    CallBegan(1, "c2", "see"),
    Arguments(1, "{}"),
    CallEnded(1),
    Ended("tool_calls", Usage(9, 4, 2, 0, 3)),
]


def body_of(api, answer=ANSWER):
    """Return an answer as a server of the API gives it to who does not stream."""
    joined = dialect_named(api).accumulator()
    for event in written(api, answer):
        if event.data != "[DONE]":
            joined.add(event.data.encode())
    return json.dumps(joined.message()).encode()


def answered(source, target, body):
    reader = READERS[source](omits_end=True)
    return translated_answer(body, dialect_named(source), reader, WRITERS[target](ASK[target]))


def events_of(records):
    return [ServerSentEvent(json.loads(record).get("type", "message"), record.decode()) for record in records]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_it_says_the_same(source, target):
    truth = read_by_sdk(target, written(target, ANSWER))
    assert read_by_sdk(target, events_of(answered(source, target, body_of(source)))) == truth


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_joined_it_is_the_answer_of_the_callers_api(source, target):
    joined = dialect_named(target).accumulator()
    for record in answered(source, target, body_of(source)):
        joined.add(record)
    truth = json.loads(body_of(target))
    message = joined.message()
    same = {CHAT: "choices", MESSAGES: "content", RESPONSES: "status"}[target]
    assert message[same] == truth[same]
    if target != CHAT or source == CHAT:
        assert message["usage"] == truth["usage"]


@pytest.mark.parametrize("source", APIS)
def test_what_is_no_answer_is_told(source):
    for body in (b"no JSON", b"{}", b'"text"'):
        with pytest.raises(NotAnEventStreamError):
            answered(source, CHAT, body)
    with pytest.raises(ErrorEventError):
        answered(source, CHAT, b'{"error":{"message":"busy","type":"server_error"}}')


def test_a_whole_document_is_an_end_without_a_finish_reason():
    body = b'{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"}}]}'
    *_, last = answered(CHAT, RESPONSES, body)
    assert json.loads(last)["type"] == "response.completed"


def test_what_cannot_be_said_is_refused():
    whole = json.loads(body_of(CHAT))
    whole["choices"][0]["message"]["audio"] = {"id": "a", "data": "AAAA"}
    with pytest.raises(UntranslatableError):
        answered(CHAT, MESSAGES, json.dumps(whole).encode())
