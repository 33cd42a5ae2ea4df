"""Errors inside a response that began well."""

from __future__ import annotations

import re
from typing import Any

import pytest

from chat_wire import HELLO, STOP, chunk_of, event, receive
from everytoken.dialects.openai_chat import ChatDecoder
from everytoken.errors import ErrorEventError

ERRORS = [
    ("OpenAI's error object", "message", {"error": {"message": "boom", "type": "server_error", "code": None}}, "boom"),
    ("an error next to a chunk's own fields", "message", {**HELLO, "error": {"message": "boom"}}, "boom"),
    ("an error that is a string", "message", {"error": "boom"}, "boom"),
    ("an error in an error", "message", {"error": {"error": {"message": "boom"}}}, "boom"),
    ("an event named error with an error object", "error", {"error": {"message": "boom"}}, "boom"),
    ("an event named error with a bare message", "error", {"message": "boom"}, "boom"),
    ("an event named error with plain text", "error", "boom", "boom"),
    ("an event named error with a JSON string", "error", '"boom"', "boom"),
    ("an event named error with an empty object", "error", {}, "the upstream reported an error without a message"),
    ("vLLM's object error", "message", {"object": "error", "message": "boom", "code": 400}, "boom"),
    ("the Responses API's type error", "message", {"type": "error", "code": "x", "message": "boom"}, "boom"),
    ("Anthropic's type error", "error", {"type": "error", "error": {"type": "overloaded_error", "message": "boom"}}, "boom"),
    ("FastAPI's detail", "message", {"detail": "boom"}, "boom"),
    ("DashScope's code and message", "message", {"code": "Throttling", "message": "boom", "request_id": "r"}, "boom"),
    ("Cloudflare's list of errors", "message", {"success": False, "errors": [{"code": 1, "message": "boom"}]}, "boom"),
    ("an error in the choice", "message", chunk_of() | {"choices": [{"index": 0, "delta": {}, "error": {"message": "boom"}}]}, "boom"),
    ("finish reason error", "message", chunk_of(finish="error"), "the upstream broke off with finish_reason 'error'"),
    ("finish reason abort", "message", chunk_of(finish="abort"), "the upstream broke off with finish_reason 'abort'"),
    ("MiniMax's base_resp", "message", {"id": "x", "choices": None, "base_resp": {"status_code": 1008, "status_msg": "boom"}}, "boom"),
    ("MiniMax's base_resp beside a choice", "message", {**HELLO, "base_resp": {"status_code": 1002, "status_msg": "boom"}}, "boom"),
    ("a code and a msg", "message", {"code": 40301, "msg": "boom"}, "boom"),
    ("a code and a msg with data", "message", {"code": "500", "msg": "boom", "data": None}, "boom"),
    ("Baidu's error_msg", "message", {"error_code": 17, "error_msg": "boom"}, "boom"),
    ("an error_msg alone", "message", {"error_msg": "boom"}, "boom"),
    ("Spark's header", "message", {"header": {"code": 10013, "message": "boom", "sid": "s"}}, "boom"),
    ("Gemini's list", "message", [{"error": {"code": 400, "message": "boom", "status": "INVALID_ARGUMENT"}}], "boom"),
    ("Tencent's Response", "message", {"Response": {"Error": {"Code": "X", "Message": "boom"}, "RequestId": "r"}}, "boom"),
    ("Dify's event", "message", {"event": "error", "status": 400, "code": "invalid_param", "message": "boom"}, "boom"),
    ("a success that is false", "message", {"success": False, "message": "boom"}, "boom"),
    ("an event named error with a msg", "error", {"msg": "boom"}, "boom"),
    ("FastAPI's list", "message", {"detail": [{"loc": ["body", "messages"], "msg": "boom", "type": "missing"}]}, "messages: boom"),
    ("an error with a code only", "message", {"error": {"code": 500}}, "500"),
    ("an error in a chunk with fields of strange types", "message", {"id": 5, "error": {"message": "boom"}}, "boom"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "message"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS]
)
def test_an_error_inside_the_stream(name: str, data: Any, message: str):
    decoder = ChatDecoder()
    receive(decoder, HELLO)
    with pytest.raises(ErrorEventError, match=f"^{re.escape(message)}$") as raised:
        decoder.receive_event(event(data, name))
    assert raised.value.message == message
    assert not decoder.terminal


def test_an_error_keeps_its_object():
    error = {"message": "boom", "type": "x", "param": "p", "code": 7}
    with pytest.raises(ErrorEventError) as raised:
        receive(ChatDecoder(), {"error": error})
    assert raised.value.error == error


NO_ERRORS = [
    {"code": 0, "msg": "success"},
    {"code": 200, "message": "OK"},
    {"code": "Success", "message": "ok"},
    {"base_resp": {"status_code": 0, "status_msg": "success"}},
    {"header": {"code": 0, "message": "Success", "sid": "s"}},
    {"message": "in the queue"},
    {"status": "ok", "message": "ready"},
]


@pytest.mark.parametrize("data", NO_ERRORS, ids=str)
def test_a_success_in_words_is_no_error(data: dict[str, Any]):
    decoder = ChatDecoder()
    receive(decoder, data, {**HELLO, **data}, STOP)
    decoder.receive_eof()


@pytest.mark.parametrize("data", [{"error": None}, {"error": {}}, {"error": ""}, {"error": False}], ids=str)
def test_an_error_field_that_says_no_error_is_none(data: dict[str, Any]):
    assert receive(ChatDecoder(), {**HELLO, **data})[0] is not None
