"""An error inside a 200 keeps its words and is never a whole answer; a caller's own fault is asked once."""

from __future__ import annotations

import json

import pytest

from everytoken.testing import CleanEnd, Head, ScriptedUpstream, Send
from gateway_serving import HELLO, serving

ERRORS = [
    pytest.param({"base_resp": {"status_code": 1008, "status_msg": "no money"}}, "no money", id="base_resp"),
    pytest.param({"code": 1234, "msg": "no luck"}, "no luck", id="code and msg"),
    pytest.param({"error_code": 17, "error_msg": "no more today"}, "no more today", id="error_msg"),
    pytest.param({"header": {"code": 10013, "message": "not that"}}, "not that", id="header"),
    pytest.param([{"error": {"message": "no Gemini"}}], "no Gemini", id="a list"),
    pytest.param({"error": {"message": "out of order"}}, "out of order", id="error"),
]
FAULTS = [
    pytest.param({"message": "too hot", "type": "invalid_request_error"}, id="invalid_request_error"),
    pytest.param({"message": "too hot", "code": "content_filter"}, id="content_filter"),
    pytest.param({"message": "too hot", "code": 400}, id="400"),
    pytest.param({"message": "too hot", "code": 422}, id="422"),
]


def script(value, *, streamed):
    if streamed:
        return [Head(), Send(b"data: %b\n\n" % json.dumps(value).encode()), CleanEnd()]
    return [Head(content_type="application/json"), Send(json.dumps(value).encode()), CleanEnd()]


@pytest.mark.virtual_time
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(("value", "words"), ERRORS)
async def test_an_error_inside_a_200_is_one_with_its_words(value, words, *, asked, streamed):
    async with (
        ScriptedUpstream(script(value, streamed=streamed)) as scripted,
        serving(scripted) as gateway,
    ):
        answer = await gateway.ask("POST", "/v1/chat/completions", {**HELLO, "stream": asked})
    assert words in answer.body.decode()
    assert b"[DONE]" not in answer.body
    assert answer.status >= 400 or not answer.complete or b'"error"' in answer.body


@pytest.mark.virtual_time
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("error", FAULTS)
async def test_a_callers_fault_inside_a_200_is_told_after_one_call(error, *, streamed):
    async with (
        ScriptedUpstream(script({"error": error}, streamed=streamed)) as first,
        ScriptedUpstream("never asked") as second,
        serving(first, second) as gateway,
    ):
        answer = await gateway.ask("POST", "/v1/chat/completions", {**HELLO, "stream": False})
        assert (len(first.requests), len(second.requests)) == (1, 0)
    assert (
        answer.status == error.get("code", 400)
        if isinstance(error.get("code"), int)
        else answer.status == 400
    )
    assert "too hot" in answer.error["message"]


@pytest.mark.virtual_time
@pytest.mark.parametrize("code", [401, 402, 403, 404, 413])
async def test_what_only_one_upstream_refuses_inside_a_200_goes_to_the_next(code):
    async with (
        ScriptedUpstream(script({"error": {"message": "no", "code": code}}, streamed=True)) as first,
        ScriptedUpstream("Hello there") as second,
        serving(first, second) as gateway,
    ):
        answer = await gateway.ask("POST", "/v1/chat/completions", HELLO)
        assert (len(first.requests), len(second.requests)) == (1, 1)
    assert answer.text == "Hello there"
