"""Each fault on the wire: what a client that reads bytes sees of it, at every position it has."""

from __future__ import annotations

import asyncio
import json
import ssl

import pytest

from everytoken.testing import FAULTS, Answer, AtByte, Kind, Send, huge_event
from everytoken.testing.plan import plan_answer
from raw_client import exchange

pytestmark = pytest.mark.virtual_time

ANSWER = Answer(["Ünï", "code", " 文", "字", " 👍", "🏽", " is", " fine"])
USER = [{"role": "user", "content": "hi"}]
CUT, ALL, NONE, LOST = "the text up to the cut", "all of the text", "no text", "the text without one chunk"

# name: kind, status, how the connection ends, body complete, text, finish reason, [DONE]
EXPECTED = {
    "silent-after-accept": ("broken", None, "open", False, NONE, None, False),
    "close-before-head": ("broken", None, "fin", False, NONE, None, False),
    "reset-before-head": ("broken", None, "rst", False, NONE, None, False),
    "half-head": ("broken", None, "fin", False, NONE, None, False),
    "garbage-head": ("broken", None, "fin", False, NONE, None, False),
    "silent-after-head": ("broken", 200, "open", False, NONE, None, False),
    "silent": ("broken", 200, "open", False, CUT, None, False),
    "only-comments": ("broken", 200, "open", False, CUT, None, False),
    "only-empty-deltas": ("broken", 200, "open", False, CUT, None, False),
    "close": ("broken", 200, "fin", False, CUT, None, False),
    "reset": ("broken", 200, "rst", False, CUT, None, False),
    "clean-end": ("broken", 200, "open", True, CUT, None, False),
    "http10-cut": ("broken", 200, "fin", False, CUT, None, False),
    "bad-chunk-framing": ("broken", 200, "fin", False, CUT, None, False),
    "cut-in-event": ("broken", 200, "open", True, CUT, None, False),
    "cut-in-character": ("broken", 200, "open", True, CUT, None, False),
    "done-without-finish": ("broken", 200, "open", True, CUT, None, True),
    "empty-body": ("broken", 200, "open", True, NONE, None, False),
    "only-done": ("broken", 200, "open", True, NONE, None, True),
    "json-instead": ("broken", 200, "open", True, NONE, None, False),
    "html-instead": ("broken", 200, "open", True, NONE, None, False),
    "garbage-event": ("broken", 200, "open", True, ALL, "stop", True),
    "lost-chunk": ("broken", 200, "open", True, LOST, "stop", True),
    "huge-event": ("broken", 200, "open", True, ALL, "stop", True),
    **{
        f"error-{shape}{suffix}": ("broken", 200, "open", True, CUT, finish, bool(suffix))
        for shape, finish in [
            ("object", None),
            ("string", None),
            ("event", None),
            ("vllm", None),
            ("type", None),
            ("finish-reason", "error"),
        ]
        for suffix in ("", "-then-done")
    },
    **{
        name: (kind, int(name.split("-")[1]), "open", True, NONE, None, False)
        for kind, names in [
            ("broken", ["status-429", "status-429-seconds", "status-429-date", "status-500", "status-502"]),
            ("broken", ["status-503", "redirect-302", "redirect-307"]),
            ("refused", ["status-400", "status-401", "status-403", "status-404", "status-422"]),
        ]
        for name in names
    },
    **dict.fromkeys(
        [
            "thinking-silence",
            "slow-gaps",
            "gzip",
            "cr-lines",
            "crlf-lines",
            "no-space-data",
            "multi-line-data",
            "bom",
            "trailing-bytes",
            "garbage-line",
            "changing-ids",
            "several-choices",
            "spaced-json",
            "repeated-chunk",
        ],
        ("healthy", 200, "open", True, ALL, "stop", True),
    ),
    "missing-tool-index": ("healthy", 200, "open", True, ALL, "tool_calls", True),
    "no-done": ("healthy", 200, "open", True, ALL, "stop", False),
    "cut-in-done": ("healthy", 200, "open", True, ALL, "stop", False),
    "done-left-open": ("healthy", 200, "open", False, ALL, "stop", True),
}
ADDRESSES = {
    "connection-refused": ConnectionRefusedError,
    "dns-failure": OSError,
    "tls-plain-text": ssl.SSLError,
    "tls-alert": ssl.SSLError,
    "tls-silent": TimeoutError,
}


def test_each_fault_is_in_the_table():
    assert set(EXPECTED) | set(ADDRESSES) == set(FAULTS)


def at_every_position():
    for name in EXPECTED:
        for position in FAULTS[name].positions:
            yield pytest.param(name, position, id=f"{name} at {position}")


def small(name):
    """The fault, with 100 kB for the 50 MB that would take seconds to send."""
    return huge_event(100_000) if name == "huge-event" else FAULTS[name]


@pytest.mark.parametrize(("name", "position"), list(at_every_position()))
async def test_a_fault_on_the_wire(scripted_upstream, name, position):
    kind, status, end, complete, text, finish, done = EXPECTED[name]
    upstream = await scripted_upstream(ANSWER, faults=[(0, small(name), position)])
    seen = await exchange(upstream.host, upstream.port, messages=USER, stream=True)

    assert FAULTS[name].kind == kind
    assert (seen.status, seen.end, seen.complete) == (status, end, complete)
    assert seen.text == expected_text(text, position, upstream)
    assert (seen.finish, seen.done) == (finish, done)
    assert upstream.requests[0].fault == name
    await asyncio.wait_for(upstream.requests[0].closed.wait(), 1)


def expected_text(text, position, upstream):
    tokens = upstream.answer.tokens
    cut = {"start": 0, "one": 1, "middle": 4, "last": 7, "end": 8}[position]
    pieces = {CUT: tokens[:cut], ALL: tokens, NONE: (), LOST: (*tokens[:cut], *tokens[cut + 1 :])}
    return "".join(pieces[text])


@pytest.mark.parametrize("name", [name for name in EXPECTED if FAULTS[name].address is None])
async def test_a_fault_on_the_first_attempt_leaves_the_second_healthy(scripted_upstream, name):
    position = FAULTS[name].positions[0]
    upstream = await scripted_upstream(ANSWER, faults=[(0, small(name), position)])
    await exchange(upstream.host, upstream.port, messages=USER, stream=True)
    seen = await exchange(upstream.host, upstream.port, messages=USER, stream=True)
    assert (seen.text, seen.done) == (upstream.text, True)
    assert [request.attempt for request in upstream.requests] == [0, 1]


@pytest.mark.parametrize(("name", "error"), list(ADDRESSES.items()))
async def test_a_broken_address(scripted_upstream, name, error):
    upstream = await scripted_upstream(ANSWER, faults=[(0, name, "start")])
    broken, healthy = upstream.base_urls
    scheme, _, rest = broken.partition("://")
    host, port = rest.removesuffix("/v1").split(":")
    context = ssl.create_default_context() if scheme == "https" else None
    with pytest.raises(error):
        await asyncio.wait_for(asyncio.open_connection(host, int(port), ssl=context), 10)
    assert healthy == upstream.healthy_url
    assert (await exchange(upstream.host, upstream.port, messages=USER, stream=True)).text == upstream.text
    assert FAULTS[name].kind is Kind.BROKEN


async def test_a_broken_address_for_ever_has_no_healthy_url(scripted_upstream):
    upstream = await scripted_upstream(faults=[("always", "connection-refused", "start")])
    assert upstream.base_urls == (upstream.base_url,)
    assert upstream.base_url != upstream.healthy_url


async def test_every_byte_of_the_body_is_a_position(scripted_upstream):
    whole = (await exchange_with(scripted_upstream, [])).body
    for offset in range(0, len(whole), 7):
        cut = await exchange_with(scripted_upstream, [(0, "clean-end", AtByte(offset))])
        assert (cut.body, cut.complete) == (whole[:offset], True)


async def exchange_with(scripted_upstream, faults):
    upstream = await scripted_upstream(Answer(["a", "é"]), faults=faults)
    return await exchange(upstream.host, upstream.port, messages=USER, stream=True)


async def test_the_huge_event_is_of_fifty_megabytes():
    request = {"messages": USER, "stream": True}
    steps = FAULTS["huge-event"].build(plan_answer(ANSWER, request, number=0), "one")
    assert max(len(step.data) for step in steps if isinstance(step, Send)) > 50_000_000


DETAILS = {
    "status-429-seconds": lambda seen: seen.headers["retry-after"] == "2",
    "status-429-date": lambda seen: seen.headers["retry-after"].endswith(" GMT"),
    "status-429": lambda seen: "retry-after" not in seen.headers,
    "status-502": lambda seen: seen.headers["content-type"] == "text/html" and b"<h1>" in seen.body,
    "status-401": lambda seen: json.loads(seen.body)["error"]["type"] == "authentication_error",
    "redirect-302": lambda seen: seen.headers["location"] == "/elsewhere",
    "redirect-307": lambda seen: seen.headers["location"] == "/v1/chat/completions",
    "json-instead": lambda seen: seen.headers["content-type"] == "application/json",
    "html-instead": lambda seen: seen.headers["content-type"] == "text/html",
    "half-head": lambda seen: seen.body.startswith(b"HTTP/1.1 200 OK\r\n"),
    "garbage-head": lambda seen: not seen.body.startswith(b"HTTP"),
    "http10-cut": lambda seen: "transfer-encoding" not in seen.headers,
    "bad-chunk-framing": lambda seen: b"zz" not in seen.body,
    "cut-in-event": lambda seen: not seen.body.endswith(b"\n\n") and b"data: " in seen.body[-200:],
    "cut-in-character": lambda seen: seen.body.decode("utf-8", "ignore").encode() != seen.body,
    "garbage-event": lambda seen: seen.malformed == 1,
    "lost-chunk": lambda seen: seen.malformed == 1,
    "only-comments": lambda seen: seen.body.count(b": keep-alive\n\n") > 30,
    "only-empty-deltas": lambda seen: len([c for c in seen.choices if c["delta"].get("content") == ""]) > 30,
    "thinking-silence": lambda seen: seen.body.count(b": thinking\n\n") == 4,
    "huge-event": lambda seen: len(seen.body) > 100_000,
    "gzip": lambda seen: seen.headers["content-encoding"] == "gzip",
    "cr-lines": lambda seen: b"\n" not in seen.body,
    "crlf-lines": lambda seen: seen.body.count(b"\r\n") == seen.body.count(b"\n") > 0,
    "no-space-data": lambda seen: b"data: " not in seen.body,
    "multi-line-data": lambda seen: seen.body.count(b"data: {\ndata: ") == len(seen.chunks),
    "bom": lambda seen: seen.body.startswith(b"\xef\xbb\xbf"),
    "cut-in-done": lambda seen: seen.body.endswith(b"data: [DO"),
    "trailing-bytes": lambda seen: b"GHOST" in seen.body and "GHOST" not in seen.text,
    "garbage-line": lambda seen: b"\n%%" in seen.body,
    "changing-ids": lambda seen: len({chunk["id"] for chunk in seen.chunks}) == len(seen.chunks),
    "spaced-json": lambda seen: seen.body.isascii() and b'"choices": [' in seen.body,
    "several-choices": lambda seen: {choice["index"] for choice in seen.choices} == {0, 1},
    "repeated-chunk": lambda seen: any(
        a == b for a, b in zip(seen.contents, seen.contents[1:], strict=False)
    ),
    "missing-tool-index": lambda seen: (
        ["index" in call for choice in seen.choices for call in choice["delta"].get("tool_calls", ())].count(
            False
        )
        > 2
    ),
    "error-object": lambda seen: seen.chunks[-1]["error"]["message"] == "scripted error",
    "error-string": lambda seen: seen.chunks[-1] == {"error": "scripted error"},
    "error-event": lambda seen: b"\nevent: error\ndata: " in seen.body,
    "error-vllm": lambda seen: seen.chunks[-1]["object"] == "error",
    "error-type": lambda seen: seen.chunks[-1]["type"] == "error",
    "error-finish-reason": lambda seen: "error" in seen.chunks[-1],
}


@pytest.mark.parametrize("name", list(DETAILS))
async def test_what_is_special_about_a_fault(scripted_upstream, name):
    position = FAULTS[name].positions[-1]
    upstream = await scripted_upstream(ANSWER, faults=[(0, small(name), position)])
    seen = await exchange(upstream.host, upstream.port, messages=USER, stream=True)
    assert DETAILS[name](seen)


@pytest.mark.parametrize("name", ["slow-gaps", "thinking-silence"])
async def test_slow_answers_take_their_time(scripted_upstream, name):
    upstream = await scripted_upstream(ANSWER, faults=[(0, name, "start")])
    loop = asyncio.get_running_loop()
    started = loop.time()
    await exchange(upstream.host, upstream.port, messages=USER, stream=True)
    # one second before each of role, eight tokens, finish and [DONE]; or four pauses of five seconds
    assert loop.time() - started == pytest.approx({"slow-gaps": 11, "thinking-silence": 20}[name], abs=0.01)


@pytest.mark.parametrize(
    "name", ["close", "reset", "silent", "cut-in-event", "status-500", "gzip", "empty-body"]
)
async def test_an_answer_that_is_not_streamed_breaks_too(scripted_upstream, name):
    upstream = await scripted_upstream(ANSWER, faults=[("always", name, "middle")])
    seen = await exchange(upstream.host, upstream.port, messages=USER)
    kind, status, end, complete, *_ = EXPECTED[name]
    assert (seen.status, seen.end, seen.complete) == (status, end, complete)
    if kind == "healthy":
        assert json.loads(seen.body)["choices"][0]["message"]["content"] == upstream.text
    else:
        assert upstream.text.encode() not in seen.body


async def test_what_only_a_stream_can_suffer_leaves_other_answers_alone(scripted_upstream):
    upstream = await scripted_upstream(ANSWER, faults=[("always", "done-without-finish", "middle")])
    seen = await exchange(upstream.host, upstream.port, messages=USER)
    assert json.loads(seen.body)["choices"][0]["message"]["content"] == upstream.text
    assert upstream.requests[0].fault is None
