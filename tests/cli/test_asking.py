"""How the command line reads an answer: every fault, both ends told apart, and coming back to the gateway."""

from __future__ import annotations

from dataclasses import replace

import pytest

from everytoken.cli.asking import ChatServer, code_of
from everytoken.errors import EverytokenError, StatusError
from everytoken.testing import (
    DEFAULT_TEXT,
    FAULTS,
    Answer,
    CleanEnd,
    Close,
    Head,
    Kind,
    ScriptedUpstream,
    Send,
    Status,
    ToolCall,
)
from everytoken.testing.plan import to_json

pytestmark = pytest.mark.blocking_allowed(
    "the client reads certificates when it is made; nobody waits for it"
)

BODY = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}], "stream": True}
ON_THE_WIRE = [name for name, fault in FAULTS.items() if not (fault.address or name.startswith("huge"))]


class Recorder:
    """A view, and the output it would write to."""

    failure = None

    def __init__(self):
        self.output = self
        self.pieces, self.thoughts = [], []

    @property
    def shown(self):
        return "".join(self.pieces)

    def text(self, text):
        self.pieces.append(text)

    def reasoning(self, text):
        self.thoughts.append(text)


async def ask(url, key=None):
    """Ask once; return the view, the error and the notice."""
    view, server, answer = Recorder(), ChatServer(url, key), None
    try:
        answer = await server.ask(BODY, view)
        await answer.read()
    except EverytokenError as error:
        return view, error, None
    finally:
        await server.close()
        if answer is not None:
            assert answer.text == view.shown
    return view, None, answer.notice


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("name", "position"),
    [
        *((name, "middle") for name in ON_THE_WIRE),
        *((name, place) for name in ("close", "reset", "clean-end", "silent") for place in ("start", "end")),
    ],
)
async def test_fault(name, position, scripted_upstream):
    """What is shown is the whole answer, or the beginning of it and a typed error."""
    upstream = await scripted_upstream(faults=[("always", name, position)])
    view, error, _ = await ask(upstream.base_url)
    assert len(upstream.attempts) == 1, "a question is asked once"
    if FAULTS[name].kind is Kind.HEALTHY:
        assert (error, view.shown) == (None, upstream.text)
    elif error is None:
        assert view.shown == upstream.text
        assert name == "json-instead", "nothing else brings the whole answer"
    else:
        assert upstream.text.startswith(view.shown)


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("close", "upstream-truncated", "the connection broke: "),
        ("clean-end", "upstream-truncated", "the stream ended without a finish_reason"),
        ("done-without-finish", "upstream-truncated", "[DONE] came without a finish_reason"),
        ("garbage-event", "malformed-event", "an event"),
        (
            "html-instead",
            "not-an-event-stream",
            "the server sent text/html instead of an event stream",
        ),
    ],
)
async def test_the_error_says_what_has_happened(fault, code, message, scripted_upstream):
    upstream = await scripted_upstream(faults=[("always", fault, "middle")])
    _, error, _ = await ask(upstream.base_url)
    assert code_of(error) == code
    assert error.message.startswith(message)


async def test_an_error_keeps_the_code_the_server_gave_it(scripted_upstream):
    event = (
        b'data: {"error":{"message":"no","type":"server_error","param":null,"code":"recovery-exhausted"}}\n\n'
    )
    upstream = await scripted_upstream([Send(event), CleanEnd()])
    _, error, _ = await ask(upstream.base_url)
    assert (code_of(error), error.message) == ("recovery-exhausted", "no")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param(
            Status(404, body=b'{"error":{"message":"no such model"}}'),
            "the server answered 404 Not Found: no such model",
            id="the server's own words",
        ),
        pytest.param(
            Status(502, body=b"<html>", content_type="text/html"),
            "the server answered 502 Bad Gateway",
            id="a page of a proxy says nothing more",
        ),
        pytest.param(
            Status(301, headers=(("Location", "https://example.org/v1"),)),
            "the server answered 301 Moved Permanently, see https://example.org/v1",
            id="a redirect is not followed, for the key would be",
        ),
    ],
)
async def test_a_refusal(status, message, scripted_upstream):
    upstream = await scripted_upstream([status])
    _, error, _ = await ask(upstream.base_url)
    assert isinstance(error, StatusError)
    assert error.message == message


@pytest.mark.parametrize(
    ("answer", "shown", "thoughts", "notice"),
    [
        pytest.param(Answer("Yes.", reasoning="Hm."), "Yes.", "Hm.", None, id="reasoning is not the answer"),
        pytest.param(
            Answer("Yes.", reasoning="Hm.", reasoning_field="reasoning"),
            "Yes.",
            "Hm.",
            None,
            id="reasoning by its other name",
        ),
        pytest.param(Answer((), refusal="I will not."), "I will not.", "", None, id="a refusal is an answer"),
        pytest.param(Answer("Yes.", choices=2), "Yes.", "", None, id="of two choices the first is shown"),
        pytest.param(Answer((), tool_calls=(ToolCall("f"),)), "", "", None, id="a tool call is not shown"),
        pytest.param(
            Answer("Yes, but", finish_reason="length"),
            "Yes, but",
            "",
            "the answer has reached its length limit",
            id="an answer cut by the limit is complete, with a note",
        ),
    ],
)
async def test_what_is_shown(answer, shown, thoughts, notice, scripted_upstream):
    upstream = await scripted_upstream(answer)
    view, error, told = await ask(upstream.base_url)
    assert (view.shown, "".join(view.thoughts), error, told) == (shown, thoughts, None, notice)


@pytest.mark.parametrize(
    ("listing", "model"),
    [
        pytest.param(Status(200, body=b'{"data":[{"id":"a"},{"id":"b"}]}'), "a", id="the first one listed"),
        pytest.param(Status(200, body=b'{"data":[]}'), "default", id="an empty list"),
        pytest.param(Status(404, body=b"{}"), "default", id="no list"),
    ],
)
async def test_the_default_model(listing, model, scripted_upstream, monkeypatch):
    upstream = await scripted_upstream()
    monkeypatch.setattr(upstream, "script_for", lambda request: [listing])
    server = ChatServer(upstream.base_url, None)
    assert await server.first_model() == model
    await server.close()


async def test_a_key_that_cannot_be_sent_is_not_told():
    with pytest.raises(EverytokenError) as caught:
        ChatServer("http://127.0.0.1:1/v1", "geheim\n")
    assert "geheim" not in str(caught.value)


# Resuming, at a server that behaves like the gateway and breaks every connection after some events.


def events(first, last):
    """Return the records from `first` to `last` as the gateway sends them, one for each token."""
    tokens = Answer().tokens
    records = [*tokens, None]
    for number in range(first, min(last, len(records))):
        text = records[number]
        delta = {"content": text} if text is not None else {}
        chunk = {
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": None if text is not None else "stop"}],
        }
        yield number + 1, chunk


class BreakingGateway(ScriptedUpstream):
    """Sends `step` events on each connection, then breaks it; `answer_resume` may answer instead."""

    def __init__(self, step, *, answer_resume=None, clean=False):
        super().__init__()
        self.step = step
        self.answer_resume = answer_resume
        self.end = CleanEnd() if clean else Close()

    def script_for(self, request):
        self.requests.append(request)
        if request.method == "POST" and request.path.endswith("/cancel"):
            return [Status(204)]
        if request.method == "GET" and self.answer_resume is not None:
            return [self.answer_resume]
        seen = int(request.headers.get("last-event-id", "0"))
        head = Head(headers=(("Location", "/v1/stream/abc"), ("Stream-Next-Offset", "0")))
        pieces = [
            Send(f"data: {to_json(chunk)}\nid: {number:016}\n\n".encode())
            for number, chunk in events(seen, seen + self.step)
        ]
        return [head, *pieces, Send(b'data: {"obj'), self.end]


@pytest.mark.virtual_time
@pytest.mark.parametrize("clean", [False, True], ids=["broken", "ended cleanly"])
@pytest.mark.parametrize("step", [2, 7, 1000])
async def test_a_lost_connection_to_the_gateway_is_resumed(step, clean):
    async with BreakingGateway(step, clean=clean) as gateway:
        view, error, _ = await ask(gateway.base_url)
    assert (view.shown, error) == (DEFAULT_TEXT, None)
    assert [request.method for request in gateway.requests].count("POST") == 1, "it is never asked twice"
    assert {request.path for request in gateway.requests[1:]} <= {"/v1/stream/abc/events"}


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("status", "requests", "message"),
    [
        pytest.param(Status(204), 2, "the stream ended without a finish_reason", id="nothing more will come"),
        pytest.param(
            Status(404, body=b"{}"),
            2,
            "; then the server answered 404 Not Found",
            id="the gateway has forgotten it",
        ),
        pytest.param(
            Status(410, body=b'{"error": {"message": "it was too old", "code": "offset-expired"}}'),
            2,
            "; then the server answered 410 Gone: it was too old",
            id="the gateway keeps it no longer",
        ),
        pytest.param(Status(503, body=b"{}"), 7, "the connection broke: ", id="the gateway is down for long"),
    ],
)
async def test_a_connection_that_cannot_be_resumed(status, requests, message):
    async with BreakingGateway(5, answer_resume=status) as gateway:
        view, error, _ = await ask(gateway.base_url)
    assert DEFAULT_TEXT.startswith(view.shown)
    assert code_of(error) == "upstream-truncated"
    if message.startswith(";"):
        assert error.message.startswith("the connection broke: ")
        assert error.message.endswith(message)
    else:
        assert error.message.startswith(message)
    assert len(gateway.requests) == requests


@pytest.mark.virtual_time
async def test_the_key_stays_with_its_server():
    """A `Location` elsewhere is not followed."""
    async with BreakingGateway(5) as gateway:
        original = gateway.script_for

        def elsewhere(request):
            head, *rest = original(request)
            location = ("Location", "http://localhost:1/v1/stream/abc")
            return [replace(head, headers=(location, *head.headers[1:])), *rest]

        gateway.script_for = elsewhere
        _, error, _ = await ask(gateway.base_url, "geheim")
    assert code_of(error) == "upstream-truncated"
    assert len(gateway.requests) == 1
