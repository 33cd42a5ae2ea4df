"""Event streams that are passed on, cut into all pieces, and cut off at every byte."""

from __future__ import annotations

import pytest

from everytoken.errors import EventTooLargeError, TruncatedError
from everytoken.gateway import passed_events
from everytoken.gateway.passed_events import PassedEvents

EVENTS = ['data: {"text": "Hé"}', ": a comment", "event: x\ndata: {}\nid: 7", "data: [DONE]"]
STREAMS = {
    name: "".join(event.replace("\n", end) + end * 2 for event in EVENTS).encode()
    for name, end in {"LF": "\n", "CRLF": "\r\n", "CR": "\r"}.items()
}


def same(text):
    return text


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
def test_what_goes_in_comes_out_however_it_is_cut(stream):
    for cut in range(len(stream) + 1):
        for pieces in ([stream[:cut], stream[cut:]], [stream[i : i + 1] for i in range(len(stream))]):
            events = PassedEvents(same, marked=True)
            assert b"".join(map(events.feed, pieces)) + events.end(until_close=True) == stream


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
@pytest.mark.parametrize("until_close", [False, True])
def test_a_stream_that_is_cut_off_gives_whole_events_and_no_end(stream, until_close):
    for cut in range(stream.index(b"[DONE]")):
        events = PassedEvents(same, marked=True)
        given = events.feed(stream[:cut])
        assert stream.startswith(given)
        # Of a CRLF, the LF may follow.
        assert not given or given.rstrip(b"\r\n") != given
        with pytest.raises(TruncatedError):
            events.end(until_close=until_close)


@pytest.mark.parametrize(
    ("last", "marked", "until_close", "whole"),
    [
        (b'data: {"type": "x.done"}\n\n', False, True, True),
        (b'data: {"type": "x.done"}\n\n', True, True, False),
        (b'data: {"type": "x.delta"}\n\n', False, False, True),
        (b'data: {"type": "x.delta"}\n\n', False, True, False),
        (b'event: error\ndata: {"type": "error"}\n\n', True, True, True),
        (b'data: {"error": {"message": "m"}}\n\n', True, False, True),
        (b'data: {"error": null}\n\n', True, False, False),
        (b"data: [DONE]", True, False, True),
        (b"data: [DONE]\n\n: bye\n\n", True, True, True),
        (b'data: "[DONE]"\n\n', True, True, False),
        (b'data: {"text": "[DONE]', False, False, False),
        (b"", True, False, False),
        (b"", False, False, True),
    ],
)
def test_what_counts_as_an_end(last, marked, until_close, whole):
    events = PassedEvents(same, marked=marked)
    events.feed(last)
    if whole:
        events.end(until_close=until_close)
    else:
        with pytest.raises(TruncatedError):
            events.end(until_close=until_close)


def test_an_error_loses_its_secrets():
    events = PassedEvents(lambda text: text.replace("secret", "***"), marked=True)
    assert events.feed(b'data: {"error": {"message": "a secret"}}\n\n') == (
        b'data: {"error": {"message": "a ***"}}\n\n'
    )


def test_an_event_has_a_limit(monkeypatch):
    monkeypatch.setattr(passed_events, "_MAX_EVENT", 100)
    events = PassedEvents(same, marked=False)
    events.feed(b"data: " + b"x" * 90)
    with pytest.raises(EventTooLargeError):
        events.feed(b"x" * 10)
