"""Events with anything in any place: what is read is said, and what cannot be read is an error of ours, never a bug."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from content_shapes import SHAPES, wire
from everytoken.errors import EverytokenError
from everytoken.sse import ServerSentEvent
from everytoken.translation.events import Wrote
from messages_streams import STREAMS as OF_MESSAGES
from responses_streams import STREAMS as OF_RESPONSES
from translated import APIS, ASK, CHAT, MESSAGES, READERS, RESPONSES, WRITERS, events_of

VALUES = {
    CHAT: [
        [json.loads(event.data) for event in events_of([wire(shape)]) if event.data != "[DONE]"]
        for shape in SHAPES.values()
    ],
    MESSAGES: list(OF_MESSAGES.values()),
    RESPONSES: [make("a") for make in OF_RESPONSES.values()],
}
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([1.5, 2**70, "", "x", "\ud83d", "\ude00", "refusal", "message", "tool_use", "text"]),
    st.sampled_from([[], {}, [None], ["x"], [[]], [{}], {"x": 1}, {"url": 1}, {"type": []}, [{"type": 1}]]),
)


def _places(value, at=()):
    """Return the path to every value inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield (*at, name)
        yield from _places(item, (*at, name))


@st.composite
def streams(draw, api):
    events = copy.deepcopy(draw(st.sampled_from(VALUES[api])))
    for _ in range(draw(st.integers(1, 3))):
        event = draw(st.sampled_from(events))
        places = list(_places(event))
        if not places:
            continue
        *path, last = draw(st.sampled_from(places))
        holder = event
        for name in path:
            holder = holder[name]
        if draw(st.booleans()):
            del holder[last]
        else:
            holder[last] = copy.deepcopy(draw(ODD))
    if draw(st.booleans()):
        events.insert(draw(st.integers(0, len(events))), draw(st.sampled_from(events)))
    return [ServerSentEvent(str(event.get("type", "message")), json.dumps(event)) for event in events]


@pytest.mark.parametrize("source", APIS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_odd_events_are_said_or_refused(source, data):
    events = data.draw(streams(source))
    reader = READERS[source]()
    writers = [WRITERS[target](ASK[target]) for target in APIS]
    for event in [*events, ServerSentEvent("message", "[DONE]")]:
        try:
            said = reader.read(event)
        except EverytokenError:
            return
        for writer in list(writers):
            try:
                for one in writer.write(said):
                    one.data.encode()
            except EverytokenError:
                writers.remove(writer)
    try:
        reader.receive_eof()
    except EverytokenError:
        return


@pytest.mark.parametrize(("second", "shown"), [("\ude00 x", "\U0001f600 x"), ("Hello", "\ufffdHello")])
def test_half_a_character_where_a_block_begins_waits_for_the_other_half(second, shown):
    def event(kind, **fields):
        return ServerSentEvent(kind, json.dumps({"type": kind, **fields}))

    reader = READERS["anthropic-messages"]()
    text = {"type": "text", "text": "\ud83d"}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [], "usage": {}}
    events = [
        event("message_start", message=message),
        event("content_block_start", index=0, content_block=text),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": second}),
    ]
    said = [one for each in events for one in reader.read(each)]
    assert "".join(one.text for one in said if isinstance(one, Wrote)) == shown
