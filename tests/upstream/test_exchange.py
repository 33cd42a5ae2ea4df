"""What kind of response an upstream sends, and what its refusals say."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from everytoken.errors import (
    NotAnEventStreamError,
    RemoteProtocolError,
    StatusError,
)
from everytoken.testing import CleanEnd, Head, Reset, Send, Status
from everytoken.upstream.exchange import _seconds
from everytoken.upstream.http import HttpUpstream
from upstream_asked import ask
from upstream_sink import EVENT, KEY


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        pytest.param(Head(content_type="text/event-stream"), EVENT, [EVENT, "eof"], id="a stream"),
        pytest.param(
            Head(content_type="Text/Event-Stream ;charset=x"), EVENT, [EVENT, "eof"], id="in other letters"
        ),
        pytest.param(Head(content_type="application/json"), b"{}", [("non-streaming", b"{}")], id="JSON"),
        pytest.param(
            Head(content_type="application/problem+json"),
            b"{}",
            [("non-streaming", b"{}")],
            id="a kind of JSON",
        ),
        pytest.param(Head(content_type="application/json"), b"", ["eof"], id="JSON that is empty"),
        pytest.param(Head(content_type="application/json"), EVENT, [EVENT, "eof"], id="a stream called JSON"),
        pytest.param(
            Head(content_type="application/json"),
            b": processing\n\n" + EVENT,
            [b": processing\n\n" + EVENT, "eof"],
            id="a stream called JSON that begins with a comment",
        ),
        pytest.param(
            Head(content_type="application/json"),
            b'\n {"data": 1}',
            [("non-streaming", b'\n {"data": 1}')],
            id="JSON behind blanks",
        ),
        pytest.param(
            Head(content_type="text/plain"), EVENT, [EVENT, "eof"], id="a stream under another name"
        ),
        pytest.param(
            Head(content_type="text/plain"),
            b"\xef\xbb\xbf" + EVENT,
            [b"\xef\xbb\xbf" + EVENT, "eof"],
            id="with a BOM",
        ),
        pytest.param(Head(content_type="text/plain"), b"data:x", [b"data:x", "eof"], id="a short one"),
        pytest.param(Head(content_type="text/plain"), b"", ["eof"], id="nothing at all"),
        pytest.param(Head(204), b"", ["eof"], id="204"),
    ],
)
async def test_the_kind_of_an_answer(head, body, expected):
    sink = await ask([head, *([Send(body)] if body else []), CleanEnd()])
    assert sink.seen == ["connected", "accepted", *expected]


@pytest.mark.parametrize("body", [b"<!doctype html>", b"hi", b'{"status": "ok"}'])
async def test_something_else_is_no_event_stream(body):
    sink = await ask([Head(content_type="text/html"), Send(body), CleanEnd()])
    assert isinstance(sink.error, NotAnEventStreamError)


async def test_a_whole_answer_has_a_limit():
    sink = await ask([Head(content_type="application/json"), Send(b"x" * (17 << 20)), CleanEnd()])
    assert isinstance(sink.error, RemoteProtocolError)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b'{"error": {"message": "no such model"}}', "no such model", id="as OpenAI says it"),
        pytest.param(b'{"error": "no"}', "no", id="as a string"),
        pytest.param(b'{"detail": "no"}', "no", id="as FastAPI says it"),
        pytest.param(b'{"message": "no"}', "no", id="bare"),
        pytest.param(
            b'[{"error": {"code": 400, "message": "no", "status": "X"}}]', "no", id="as Gemini says it"
        ),
        pytest.param(b'{"errors": [{"message": "no"}]}', "no", id="as Cloudflare says it"),
        pytest.param(b'{"errors": "no"}', "no", id="errors that are a text"),
        pytest.param(b'{"msg": "no"}', "no", id="msg"),
        pytest.param(b'{"error_code": 17, "error_msg": "no"}', "no", id="error_msg"),
        pytest.param(b'{"Message": "no"}', "no", id="as AWS says it"),
        pytest.param(b'{"error": {"msg": "no"}}', "no", id="msg in an error"),
        pytest.param(
            b'{"detail": [{"loc": ["body", "messages", 0], "msg": "no"}, {"loc": ["body"], "msg": "never"}]}',
            "messages.0: no; never",
            id="as FastAPI lists it",
        ),
        pytest.param(b'{"detail": {"error": {"message": "no"}}}', "no", id="an object in detail"),
        pytest.param(
            b'{"base_resp": {"status_code": 1004, "status_msg": "no"}}', "no", id="as MiniMax says it"
        ),
        pytest.param(b'{"header": {"code": 10013, "message": "no"}}', "no", id="as Spark says it"),
        pytest.param(b'"no"', "no", id="a JSON string"),
        pytest.param(b"no,\r\n never\n", "no, never", id="plain text"),
        pytest.param(b'{"error": {"mess', "the upstream answered with status 400", id="cut JSON"),
        pytest.param(b"\x00\x01\xff", "the upstream answered with status 400", id="bytes"),
        pytest.param(b"<h1>no</h1>", "the upstream answered with status 400", id="HTML"),
        pytest.param(b"[1]", "the upstream answered with status 400", id="a list"),
        pytest.param(b"", "the upstream answered with status 400", id="nothing"),
        pytest.param(
            b'{"error": {"message": "bad key %s"}}' % KEY.encode(), "bad key ***", id="with our key in it"
        ),
    ],
)
async def test_a_status_that_is_no_success(body, message):
    sink = await ask([Status(400, body=body)], api_key=KEY)
    assert isinstance(sink.error, StatusError)
    assert (sink.error.upstream_status, sink.error.message) == (400, message)
    assert KEY.encode() not in sink.error.body
    assert "accepted" not in sink.seen


async def test_an_error_that_is_cut_or_endless_is_still_that_status():
    for steps in (
        [Head(503, framing="length", length=100), Send(b"half"), Reset()],
        [Head(503), Send(b"x" * 200_000), CleanEnd()],
    ):
        sink = await ask(steps)
        assert sink.error.upstream_status == 503
        assert len(sink.error.body) <= 65_536


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"2", 2.0), (b" 120 ", 120.0), (b"0", 0.0), (b"99999999999999", 999_999_999.0), (None, None), (b"", None),
        (b"-1", None), (b"1.5", None), (b"soon", None), (b"\xd9\xa3", None), (b"Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
    ],
)  # fmt: skip
def test_retry_after_in_every_form(value, seconds):
    assert _seconds(value) == seconds


def test_retry_after_as_a_date_is_the_time_until_then():
    assert 28 < _seconds(formatdate(time.time() + 30, usegmt=True).encode()) <= 30


def test_words_of_an_upstream_are_shown_without_its_key():
    upstream = HttpUpstream("up", "http://127.0.0.1:1", api_key=KEY)
    assert upstream.redact(f"bad key {KEY}!") == "bad key ***!"
    assert HttpUpstream("up", "http://127.0.0.1:1").redact("fine") == "fine"
