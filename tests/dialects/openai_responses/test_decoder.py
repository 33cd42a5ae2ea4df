"""Events as they should not be: they are read without loss, or refused, and never bring anything down."""

from __future__ import annotations

import copy
import json

import pytest

from everytoken.dialects.openai_responses.dialect import OPENAI_RESPONSES
from everytoken.errors import ErrorEventError, EverytokenError, MalformedEventError, TruncatedError
from everytoken.sse import ServerSentEvent
from responses_streams import STREAMS, text
from sampling import sampled

ODD = [None, True, -1, 2**70, 0.5, "", "x", [], [[]], {}, {"a": [None]}, [{"id": []}], "\ud83d"]


def decoder(*, first=True):
    history = OPENAI_RESPONSES.history()
    request = OPENAI_RESPONSES.request({"model": "m", "input": "Hello", "stream": True})
    return OPENAI_RESPONSES.decoder(request, history, first=first), history


def event(value, name="message"):
    return ServerSentEvent(name, value if isinstance(value, str) else json.dumps(value))


def places_in(value, path=()):
    """Return the path of every value inside one."""
    found = [path] if path else []
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        found += places_in(item, (*path, name)) if isinstance(item, dict | list) else [(*path, name)]
    return found


def changed(value, path, odd):
    whole = copy.deepcopy(value)
    *way, last = path
    holder = whole
    for step in way:
        holder = holder[step]
    holder[last] = odd
    return whole


@pytest.mark.parametrize("name", ["encrypted", "searched"])
def test_any_field_may_be_odd(name):
    events = STREAMS[name]("a")
    kinds = {}
    for number, one in enumerate(events):
        kinds.setdefault(one["type"], number)
    for number in kinds.values():
        for path in sampled(list(places_in(events[number])), 4):
            for odd in ODD:
                _read_through([*events[:number], changed(events[number], path, odd), *events[number + 1 :]])


def _read_through(events):
    reader, _ = decoder()
    accumulator, history = OPENAI_RESPONSES.accumulator(), OPENAI_RESPONSES.history()
    rewriter = OPENAI_RESPONSES.rewriter(history, None)
    later, _ = decoder(first=False)
    try:
        for one in events:
            chunk = reader.read(event(one))
            if chunk is None:
                continue
            record = json.dumps(one).encode() if isinstance(chunk, str) else chunk.record.encode()
            accumulator.add(record)
            history.read(record)
            json.dumps(accumulator.message())
            repeated = later.read(event(one))
            rewriter.join(repeated)
    except EverytokenError:
        pass


@pytest.mark.parametrize("odd", ODD)
def test_any_field_of_an_answer_in_one_piece_may_be_odd(odd):
    for name in ("encrypted", "searched", "refusal", "custom_tool"):
        response = STREAMS[name]("a")[-1]["response"]
        for path in places_in(response):
            try:
                records = OPENAI_RESPONSES.records_in(json.dumps(changed(response, path, odd)).encode())
            except EverytokenError:
                continue
            accumulator = OPENAI_RESPONSES.accumulator()
            for record in records:
                accumulator.add(record)
            accumulator.message()


@pytest.mark.parametrize(
    "data",
    [
        "",
        "ping",
        "[PING]",
        "null",
        '{"type":"ping"}',
        '{"type":"keepalive","sequence_number":3}',
        '{"type":"heartbeat"}',
    ],
)
def test_signs_of_life_are_no_events(data):
    reader, history = decoder()
    assert reader.read(event(data)) is None
    assert history.number == 0


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("{", MalformedEventError),
        ("[1]", MalformedEventError),
        ("7.5", MalformedEventError),
        ({}, MalformedEventError),
        ({"type": 7}, MalformedEventError),
        ({"type": "response.created"}, MalformedEventError),
        ({"type": "response.completed", "response": []}, MalformedEventError),
        ({"type": "response.output_item.added", "output_index": 0}, MalformedEventError),
        ({"type": "response.output_item.added", "output_index": -1, "item": {}}, MalformedEventError),
        ({"type": "response.output_item.added", "output_index": 10**6, "item": {}}, MalformedEventError),
        ({"type": "response.output_text.delta", "output_index": "0", "delta": "x"}, MalformedEventError),
        ({"type": "response.output_text.delta", "delta": ["x"]}, MalformedEventError),
        ({"type": "error", "message": "no", "code": "rate_limit_exceeded"}, ErrorEventError),
        ({"type": "error", "error": {"message": "no", "type": "rate_limit_error"}}, ErrorEventError),
        ({"error": {"message": "no", "code": 429}}, ErrorEventError),
        ({"object": "error", "message": "no", "code": 429}, ErrorEventError),
        (
            {
                "type": "response.failed",
                "response": {"error": {"message": "no", "code": "rate_limit_exceeded"}},
            },
            ErrorEventError,
        ),
    ],
)
def test_what_no_client_could_read_and_what_is_an_error(value, kind):
    for first in (True, False):
        reader, _ = decoder(first=first)
        with pytest.raises(kind) as error:
            reader.read(event(value))
        if kind is ErrorEventError:
            assert (error.value.message, error.value.status) == ("no", 429)
        with pytest.raises(TruncatedError):
            reader.receive_eof()


def test_the_name_of_an_event_is_its_type_where_its_data_has_none():
    reader, _ = decoder()
    chunk = reader.read(event({"response": {"id": "resp_1"}}, "response.created"))
    assert json.loads(chunk.record)["type"] == "response.created"


def test_a_piece_of_the_text_is_passed_on_as_it_came():
    reader, history = decoder()
    read = [reader.read(event(one)) for one in text("a")]
    # The first tells where the text is; from then on nothing is looked at but the text.
    assert [chunk for chunk in read if isinstance(chunk, str)] == ["two\u2028", "drei ", "\U0001f600."]
    assert history.number == len(text("a"))


def test_nothing_behind_the_end_is_read():
    for end in ("text", "incomplete"):
        reader, _ = decoder()
        for one in STREAMS[end]("a"):
            reader.read(event(one))
        assert reader.terminal
        assert reader.done
        assert reader.usage["total_tokens"] == 21
        for late in ({"type": "error", "message": "x"}, "[DONE]", "{", text("a")[4]):
            assert reader.read(event(late)) is None
        reader.receive_eof()


def test_done_is_no_end():
    reader, _ = decoder()
    for one in text("a")[:-1]:
        reader.read(event(one))
    assert reader.read(event("[DONE]")) is None
    with pytest.raises(TruncatedError):
        reader.receive_eof()
