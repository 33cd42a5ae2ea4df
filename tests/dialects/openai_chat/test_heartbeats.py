"""Events that only say that the upstream is alive."""

from __future__ import annotations

import pytest

from chat_wire import HELLO, STOP, event, receive
from everytoken.dialects.openai_chat import ChatDecoder
from everytoken.errors import MalformedEventError

TEXT = [
    ("a word that could be text", "Hello"),
    ("half a word of a chunk", 'ing"'),
    ("a number that could be text", "42"),
    ("half a mark", "[DON"),
    ("a mark in front of something", "[PING] and more"),
    ("half an object that begins like a heartbeat", '{"type":"ping"'),
    ("half a list", '["ping'),
    ("words", "ping is the name of this command"),
]


@pytest.mark.parametrize("data", [case[1] for case in TEXT], ids=[case[0] for case in TEXT])
def test_what_can_have_been_text_is_no_heartbeat(data: str):
    with pytest.raises(MalformedEventError):
        receive(ChatDecoder(), HELLO, data)


HEARTBEATS = [
    ("no data", "message", ""),
    ("a blank", "message", " "),
    ("ping", "message", "ping"),
    ("PONG", "message", "PONG"),
    ("a quoted ping", "message", '"ping"'),
    ("a ping in brackets", "message", "[PING]"),
    ("another mark in brackets", "message", "[KEEP-ALIVE]"),
    ("a comment inside the data", "message", ": keep-alive"),
    ("two words", "message", "keep alive"),
    ("OpenRouter's word", "message", "PROCESSING"),
    ("a list of a ping", "message", '["ping"]'),
    ("null", "message", "null"),
    ("true", "message", "true"),
    ("a time", "message", "1795806524"),
    ("a date", "message", "2026-11-27T19:08:44.123Z"),
    ("dots", "ping", "..."),
    ("a ping with a date", "ping", "2026-11-27 19:08:44.123456+00:00"),
    ("a ping with any text", "ping", "still thinking about it"),
    ("a ping with a number", "ping", "1"),
    ("a ping with nothing", "ping", ""),
    ("an event named keepalive", "keepalive", "x"),
    ("an event named keep-alive", "keep-alive", ""),
    ("an event named heartbeat", "heartbeat", "no. 3"),
    ("an empty object", "message", "{}"),
    ("a ping object", "message", '{"type":"ping"}'),
    ("a heartbeat object with something in it", "message", '{"event":"heartbeat","data":{"at":[1]}}'),
    ("a ping with an object in it", "ping", '{"type":"ping","cost":{"usd":0}}'),
]


@pytest.mark.parametrize(
    ("name", "data"), [case[1:] for case in HEARTBEATS], ids=[case[0] for case in HEARTBEATS]
)
def test_a_heartbeat_is_passed_over(name: str, data: str):
    decoder = ChatDecoder()
    found = receive(decoder, HELLO, event(data, name), STOP)
    assert [chunk is not None for chunk in found] == [True, False, True]
    decoder.receive_eof()
