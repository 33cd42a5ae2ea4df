"""Messages: requests, the finished message, errors, usage."""

from __future__ import annotations

import json

import pytest

from everytoken.dialects.anthropic_messages.errors import error_of
from everytoken.errors import TABLE, InvalidRequestError, NotAnEventStreamError, RateLimitedError, error_body
from messages_play import MESSAGES, message_of
from messages_streams import ASK, STREAMS, begin, delta, end, inputs, start, stop, visible

REFUSED = [
    ({}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": ["x"]}, "messages[0]"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({**ASK, "model": 1}, "model"),
    ({**ASK, "stream": "yes"}, "stream"),
    ({**ASK, "max_tokens": "12"}, "max_tokens"),
    ({**ASK, "max_tokens": True}, "max_tokens"),
    ({**ASK, "max_tokens": -1}, "max_tokens"),
    ({**ASK, "thinking": "on"}, "thinking"),
    ({**ASK, "tools": {}}, "tools"),
    ({**ASK, "tool_choice": "auto"}, "tool_choice"),
]


@pytest.mark.parametrize(("body", "field"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_no_server_could_answer_names_its_field(body, field):
    with pytest.raises(InvalidRequestError) as error:
        MESSAGES.request(body)
    assert error.value.param == field


def test_what_we_do_not_know_goes_up_untouched():
    ask = {
        **ASK,
        "system": [{"type": "text", "text": "Be kind."}],
        "top_k": 5,
        "x-new": {"a": [1]},
        "stream": False,
    }
    request = MESSAGES.request(ask)
    body = MESSAGES.body(request, model="other", seed=7, usage=True, extra={"top_k": 1, "more": 2})
    assert body == {**ask, "stream": True, "model": "other", "more": 2}
    assert MESSAGES.non_streaming(body) == {name: value for name, value in body.items() if name != "stream"}
    assert request.body == ask


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ({}, (False, False, False)),
        ({"tools": [{"name": "a"}]}, (True, False, False)),
        ({"mcp_servers": [{"name": "a"}]}, (True, False, False)),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, (False, True, False)),
        ({"thinking": {"type": "adaptive"}}, (False, True, False)),
        ({"thinking": {"type": "disabled"}}, (False, False, False)),
        ({"output_config": {"effort": "low"}}, (False, False, False)),
        ({"output_config": {"format": {"type": "json_schema"}}}, (False, False, True)),
        ({"output_format": {"type": "json_schema"}}, (False, False, True)),
    ],
    ids=str,
)
def test_what_a_request_asks_for(more, asked):
    request = MESSAGES.request({**ASK, **more})
    assert (request.has_tools, request.reasons, request.has_grammar) == asked
    assert (request.seed, request.obstacle, request.stream, request.model) == (None, None, True, "claude")


@pytest.mark.parametrize(
    ("last", "wanted"),
    [
        ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "One", "x": 1}),
        ({"role": "assistant", "content": "{"}, {"role": "assistant", "content": "{One", "x": 1}),
        (
            {"role": "assistant", "content": [{"type": "text", "text": "A: ", "cache_control": None}]},
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "A: One", "cache_control": None}],
                "x": 1,
            },
        ),
        (
            {"role": "assistant", "content": [{"type": "image"}]},
            {"role": "assistant", "content": [{"type": "image"}, {"type": "text", "text": "One"}], "x": 1},
        ),
    ],
)
def test_a_prefill_continues_the_last_message(last, wanted):
    given = {**ASK, "messages": [{"role": "user", "content": "Hi"}, last]}
    before = json.dumps(given)
    body = MESSAGES.prefill(given, "One", extra={"y": 2}, message_extra={"x": 1}, delivered_tokens=600)
    assert body["messages"][-1] == wanted
    assert (body["max_tokens"], body["y"]) == (1, 2)
    assert json.dumps(given) == before


def test_the_finished_message_has_everything():
    events = [
        start(),
        begin(0, "thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="Hm, "),
        delta(0, "thinking_delta", thinking="well."),
        delta(0, "signature_delta", signature="abc"),
        stop(0),
        begin(1, "tool_use", id="t", name="f", input={}),
        *inputs(1, "", '{"a": 1.50, "b"', ": [12345678901234567]}"),
        stop(1),
        begin(2, "tool_use", id="u", name="g", input={}),
        stop(2),
        begin(3, "tool_use", id="v", name="h", input={}),
        *inputs(3, '{"a": '),
        stop(3),
        *end("max_tokens", 99, stop_details={"x": 1}),
    ]
    events[-2]["usage"] |= {"input_tokens": None, "server_tool_use": {"web_search_requests": 1}}
    events[-2]["context_management"] = {"applied_edits": []}
    assert message_of(events) == {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "Hm, well.", "signature": "abc"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1.5, "b": [12345678901234567]}},
            {"type": "tool_use", "id": "u", "name": "g", "input": {}},
            {"type": "tool_use", "id": "v", "name": "h", "input": {"INVALID_JSON": '{"a": '}},
        ],
        "stop_reason": "max_tokens",
        "stop_sequence": None,
        "stop_details": {"x": 1},
        "context_management": {"applied_edits": []},
        "usage": {
            "input_tokens": 25,
            "cache_read_input_tokens": 7,
            "output_tokens": 99,
            "service_tier": "standard",
            "server_tool_use": {"web_search_requests": 1},
        },
    }


def test_citations_are_kept_in_their_order():
    content = message_of(visible(STREAMS["citations"]))["content"]
    assert [citation["start_char_index"] for citation in content[1]["citations"]] == [0, 20]
    assert "citations" not in content[0]


def test_what_is_no_message_is_refused():
    for body in (
        b'{"choices": []}',
        b'{"content": "x"}',
        b'{"content": [], "type": "message"}',
        b"[" * 2000,
        b"\xff",
    ):
        with pytest.raises(NotAnEventStreamError):
            MESSAGES.records_in(body)


@pytest.mark.parametrize("code", TABLE)
def test_every_error_has_a_type_that_anthropic_has(code):
    known = {
        "invalid_request_error",
        "authentication_error",
        "billing_error",
        "permission_error",
        "not_found_error",
    }
    known |= {"request_too_large", "rate_limit_error", "api_error", "overloaded_error", "timeout_error"}
    told = error_of({"error": {"message": "x", "type": TABLE[code].type, "code": code, "param": None}})
    assert told["type"] == "error"
    assert told["error"]["type"] in known
    assert told["error"]["message"] == "x"
    assert "param" not in told["error"]
    assert error_of({"error": {"message": "x"}}, TABLE[code].status)["error"]["type"] in known


def test_an_error_of_ours_keeps_its_code():
    told = error_of(error_body(RateLimitedError("slow")), 429)["error"]
    assert (told["type"], told["message"], told["code"]) == ("rate_limit_error", "slow", "rate-limited")


@pytest.mark.parametrize(
    ("reports", "total"),
    [
        ([], None),
        ([(None, 0)], None),
        ([({"input_tokens": 3, "output_tokens": 4, "x": 1}, 2)], {"input_tokens": 3, "output_tokens": 4, "x": 1}),
        ([(None, 0), ({"input_tokens": 3, "output_tokens": 4}, 2)], {"input_tokens": 3, "output_tokens": 4}),
        ([(None, 5)], {"input_tokens": None, "output_tokens": 5, "estimated": True}),
        (
            [(None, 5), ({"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 2}, 2)],
            {"input_tokens": 6, "output_tokens": 9, "cache_read_input_tokens": 2, "estimated": True},
        ),
        (
            [({"input_tokens": 1, "output_tokens": 4}, 5), ({"input_tokens": 3, "output_tokens": 4}, 2)],
            {"input_tokens": 4, "output_tokens": 8},
        ),
        ([({"output_tokens": 4}, 5), ({"input_tokens": 3, "output_tokens": 2}, 2)], {"input_tokens": None, "output_tokens": 6}),
    ],
)  # fmt: skip
def test_what_attempts_used_together(reports, total):
    assert MESSAGES.total_usage(reports) == total


def test_thinking_that_nobody_has_signed_is_not_sent_to_a_server_that_checks_signatures():
    unsigned = {"type": "thinking", "thinking": "hm", "signature": ""}
    signed = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    text = {"type": "text", "text": "a"}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [unsigned, text]},
        {"role": "user", "content": [text]},
        {"role": "assistant", "content": [signed, text, {"type": "thinking", "thinking": "y"}]},
        {"role": "assistant", "content": [unsigned]},
        {"role": "user", "content": "z"},
    ]
    asked = MESSAGES.request({**ASK, "messages": messages})
    body = MESSAGES.body(asked, model=None, seed=None, usage=False, extra={})
    assert body["messages"] == [
        messages[0],
        {"role": "assistant", "content": [text]},
        *messages[2:4],
        messages[5],
    ]
    assert asked.body["messages"] == messages
