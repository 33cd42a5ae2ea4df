"""The decoder: what is a chunk, what is an error, what is an end."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import everytoken.dialects.openai_chat.decoder as decoder_module
from everytoken.dialects.openai_chat import ChatDecoder, Chunk, decode_chunk
from everytoken.errors import ErrorEventError, EverytokenError, MalformedEventError, TruncatedError
from everytoken.sse import ServerSentEvent


def event(data: Any, name: str = "message") -> ServerSentEvent:
    return ServerSentEvent(event=name, data=data if isinstance(data, str) else json.dumps(data))


def chunk_of(delta: Any = None, finish: Any = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **fields,
    }


HELLO = chunk_of({"content": "Hello"})
STOP = chunk_of(finish="stop")


def receive(decoder: ChatDecoder, *items: Any) -> list[Chunk | None]:
    return [
        decoder.receive_event(item if isinstance(item, ServerSentEvent) else event(item)) for item in items
    ]


# (name, choices asked for, events, whether the end of bytes behind them is a true end)
ENDS = [
    ("a finish reason is an end without [DONE]", 1, [HELLO, STOP], True),
    ("a finish reason is an end with [DONE]", 1, [HELLO, STOP, "[DONE]"], True),
    (
        "a finish reason together with the last content is an end",
        1,
        [chunk_of({"content": "x"}, "length")],
        True,
    ),
    ("a finish reason nobody has heard of is an end", 1, [HELLO, chunk_of(finish="eos_token")], True),
    (
        "a finish reason with a null delta is an end",
        1,
        [HELLO, chunk_of() | {"choices": [{"delta": None, "finish_reason": "stop"}]}],
        True,
    ),
    ("[DONE] with blanks around is [DONE]", 1, [HELLO, STOP, " [DONE] "], True),
    ("nothing at all is no end", 1, [], False),
    ("content alone is no end", 1, [HELLO], False),
    ("[DONE] alone is no end", 1, ["[DONE]"], False),
    ("[DONE] without a finish reason is no end", 1, [HELLO, "[DONE]"], False),
    ("an empty finish reason is none", 1, [chunk_of({"content": "x"}, "")], False),
    ("the word null as finish reason is none", 1, [chunk_of({"content": "x"}, "null"), "[DONE]"], False),
    ("a false finish reason is none", 1, [chunk_of({"content": "x"}, finish=False)], False),
    ("a finish reason behind [DONE] is too late", 1, [HELLO, "[DONE]", STOP], False),
    ("usage is no end", 1, [HELLO, chunk_of() | {"choices": [], "usage": {"total_tokens": 1}}], False),
    ("one finish reason of two is no end", 2, [STOP], False),
    ("the same finish reason twice is one", 2, [STOP, STOP], False),
    (
        "two finish reasons of two are an end",
        2,
        [STOP, chunk_of() | {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}],
        True,
    ),
    (
        "two finish reasons in one chunk without index are two",
        2,
        [chunk_of() | {"choices": [{"delta": {}, "finish_reason": "stop"}] * 2}],
        True,
    ),
    ("[DONE] ends what came if fewer choices came than asked for", 2, [HELLO, STOP, "[DONE]"], True),
    (
        "[DONE] does not end a choice that has come but not ended",
        2,
        [STOP, chunk_of() | {"choices": [{"index": 1, "delta": {"content": "x"}}]}, "[DONE]"],
        False,
    ),
]


@pytest.mark.parametrize(
    ("choices", "events", "true_end"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS]
)
def test_the_end(choices: int, events: list[Any], *, true_end: bool):
    decoder = ChatDecoder(choices=choices)
    receive(decoder, *events)
    assert decoder.terminal is true_end
    if true_end:
        decoder.receive_eof()
    else:
        with pytest.raises(TruncatedError):
            decoder.receive_eof()


def test_done_is_an_end_where_the_upstream_is_known_never_to_give_a_reason():
    decoder = ChatDecoder(omits_finish_reason=True)
    receive(decoder, HELLO)
    with pytest.raises(TruncatedError):
        decoder.receive_eof()
    receive(decoder, "[DONE]")
    decoder.receive_eof()
    assert decoder.done


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


STATUSES = [
    ({"code": 400, "message": "x"}, 400),
    ({"code": "422", "message": "x"}, 422),
    ({"message": "x", "type": "invalid_request_error"}, 400),
    ({"message": "x", "type": "invalid_request_error", "code": "invalid_api_key"}, 401),
    ({"message": "x", "type": "BadRequestError"}, 400),
    ({"message": "x", "code": "content_filter"}, 400),
    ({"message": "x", "code": "DataInspectionFailed"}, 400),
    ({"message": "x", "code": "context_length_exceeded"}, 400),
    ({"message": "x", "status": "RESOURCE_EXHAUSTED"}, 429),
    ({"message": "x", "type": "rate_limit_error"}, 429),
    ({"message": "x", "type": "overloaded_error"}, 529),
    ({"message": "x", "type": "server_error"}, 500),
    ({"error": {"error": {"message": "x", "code": 403}}}, 403),
    ({"message": "x", "type": "something_else", "code": 7}, None),
    ({"message": "x", "code": None}, None),
    ("x", None),
]


@pytest.mark.parametrize(("error", "status"), STATUSES, ids=str)
def test_an_error_inside_the_stream_has_the_status_it_tells(error: Any, status: int | None):
    with pytest.raises(ErrorEventError) as raised:
        receive(ChatDecoder(), {"error": error})
    assert raised.value.upstream_status == status
    assert raised.value.status == (status if status is not None and status < 500 else 502)
    assert raised.value.retryable is (status in {None, 429, 500, 529})


@pytest.mark.parametrize("data", [{"error": None}, {"error": {}}, {"error": ""}, {"error": False}], ids=str)
def test_an_error_field_that_says_no_error_is_none(data: dict[str, Any]):
    assert receive(ChatDecoder(), {**HELLO, **data})[0] is not None


@pytest.mark.parametrize(
    "late",
    [{"error": {"message": "boom"}}, "garbage", chunk_of(finish="error"), event("x", "error")],
    ids=str,
)
def test_a_complete_answer_stays_complete_whatever_follows(late: Any):
    decoder = ChatDecoder()
    receive(decoder, HELLO, STOP, late)
    decoder.receive_eof()


MALFORMED = [
    ("no JSON", "{"),
    ("a list", "[]"),
    ("a string", '"x"'),
    ("two objects", "{}{}"),
    ("NaN", '{"choices": [], "x": NaN}'),
    ("a bomb of arrays", '{"x":' + "[" * 100_000),
    ("a bomb of objects in error", '{"error":' + '{"error":' * 100_000),
    ("a closed bomb in usage", '{"usage":{"x":' + "[" * 100_000 + "]" * 100_000 + "}}"),
    ("choices that are no list", '{"choices": {"index": 0}}'),
    ("a choice that is null", '{"choices": [null]}'),
    ("a delta that is text", '{"choices": [{"delta": "x"}]}'),
    ("tool calls that are no list", '{"choices": [{"delta": {"tool_calls": {}}}]}'),
    ("a whole message in place of a delta", '{"choices": [{"message": {"content": "x"}}]}'),
    ("the text of another endpoint in place of a delta", '{"choices": [{"text": "x"}]}'),
]


@pytest.mark.parametrize("data", [case[1] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_what_no_client_could_read_is_malformed(data: str):
    with pytest.raises(MalformedEventError):
        receive(ChatDecoder(), data)


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


IGNORED = [
    ("an empty object", {}),
    ("a ping", {"type": "ping"}),
    ("only an id", {"id": "x"}),
    ("null choices", {"choices": None}),
]


@pytest.mark.parametrize("name", ["message", "ping"])
@pytest.mark.parametrize("data", [case[1] for case in IGNORED], ids=[case[0] for case in IGNORED])
def test_what_is_no_chunk_is_passed_over(data: dict[str, Any], name: str):
    decoder = ChatDecoder()
    assert decoder.receive_event(event(data, name)) is None
    assert not decoder.terminal
    assert not decoder.done


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


# Wrong types in fields that we read, in JSON that is fine: (name, choice, text, index of the first tool call).
LENIENT = [
    ("an index with a fraction of zero", {"index": 0.0, "delta": {"content": "x"}}, "x"),
    ("an index in quotes", {"index": "0", "delta": {"content": "x"}}, "x"),
    ("an index that is nonsense", {"index": "first", "delta": {"content": "x"}}, "x"),
    ("an index beyond 64 bits", {"index": 10**30, "delta": {"content": "x"}}, "x"),
    ("content that is a number", {"delta": {"content": 5}}, "5"),
    ("content that is one part", {"delta": {"content": {"type": "text", "text": "x"}}}, "x"),
    ("content as parts", {"delta": {"content": [{"type": "text", "text": "x"}, {"type": "thinking", "thinking": []}, "y"]}}, "xy"),
    ("a role that is no text", {"delta": {"role": 1, "content": "x"}}, "x"),
    ("a finish reason that is an object", {"delta": {"content": "x"}, "finish_reason": {}}, "x"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "text"), [case[1:] for case in LENIENT], ids=[case[0] for case in LENIENT]
)
def test_a_wrong_type_loses_nothing(choice: dict[str, Any], text: str):
    (chunk,) = receive(ChatDecoder(), {**HELLO, "choices": [choice]})
    assert chunk is not None
    assert chunk.presentable
    assert chunk.has_content
    assert chunk.choices is not None
    assert chunk.choices[0].delta is not None
    assert chunk.choices[0].delta.text == text


def test_arguments_sent_as_an_object_are_their_json_text():
    call = {"index": "1", "id": 7, "function": {"name": "f", "arguments": {"city": "Zürich", "n": 1}}}
    (chunk,) = receive(ChatDecoder(), chunk_of({"tool_calls": [call]}))
    assert chunk is not None
    assert chunk.choices is not None
    assert chunk.choices[0].delta is not None
    (found,) = chunk.choices[0].delta.tool_calls or ()
    assert (found.index, found.id) == (1, "7")
    assert found.function is not None
    assert found.function.arguments == '{"city":"Zürich","n":1}'


@pytest.mark.parametrize(
    "usage",
    [{"total_tokens": 1}, {"total_tokens": 10**400}, {"total_tokens": 1e300}],
    ids=["small", "huge", "float"],
)
def test_the_last_usage_is_kept_wherever_it_comes(usage: dict[str, Any]):
    decoder = ChatDecoder()
    receive(
        decoder,
        {**HELLO, "usage": {"total_tokens": 0}},
        STOP,
        {"object": "chat.completion.chunk", "choices": [], "usage": usage},
    )
    assert decoder.usage is not None
    assert decoder.usage["total_tokens"] in {usage["total_tokens"], float("inf")}
    receive(decoder, {**STOP, "usage": None}, {**STOP, "usage": "none"})
    assert decoder.usage["total_tokens"] != 0


CONTENT = [
    ("text", {"content": "x"}, True),
    ("parts", {"content": [{"type": "text", "text": "x"}]}, True),
    ("reasoning_content", {"reasoning_content": "x"}, True),
    ("reasoning", {"reasoning": "x"}, True),
    ("a refusal", {"refusal": "x"}, True),
    ("a tool call", {"tool_calls": [{"index": 0}]}, True),
    ("a function call", {"function_call": {"name": "f"}}, True),
    ("nothing", {}, False),
    ("a role", {"role": "assistant", "content": "", "refusal": None}, False),
    ("no tool calls", {"content": None, "tool_calls": [], "reasoning": ""}, False),
]


@pytest.mark.parametrize(
    ("delta", "content"), [case[1:] for case in CONTENT], ids=[case[0] for case in CONTENT]
)
def test_whether_a_chunk_has_content(delta: dict[str, Any], *, content: bool):
    assert decode_chunk(json.dumps(chunk_of(delta))).has_content is content


PRESENTABLE = [
    ("one delta", [{"delta": {}}], True),
    ("no choices", [], False),
    ("null choices", None, False),
    ("a null delta", [{"delta": None}], False),
    ("no delta", [{"index": 0}], False),
    ("an empty list as delta", [{"delta": []}], False),
    ("a null delta in the second choice", [{"delta": {}}, {"delta": None}], False),
]


@pytest.mark.parametrize(
    ("choices", "presentable"), [case[1:] for case in PRESENTABLE], ids=[case[0] for case in PRESENTABLE]
)
def test_whether_the_usual_loop_can_read_a_chunk(choices: Any, *, presentable: bool):
    assert decode_chunk(json.dumps({**HELLO, "choices": choices}).encode()).presentable is presentable


@pytest.mark.parametrize("data", ["[]", "1", "{", '{"choices": 1}'])
def test_a_record_that_is_no_chunk_is_malformed(data: str):
    with pytest.raises(MalformedEventError):
        decode_chunk(data)


# JSON texts of the contents of successive chunks, and what they read as.
HALVES = [
    ("both halves in one chunk", ["a\\ud83d\\ude00b"], ["a\N{GRINNING FACE}b"]),
    ("one half in each of two chunks", ["a\\ud83d", "\\ude00b"], ["a", "\N{GRINNING FACE}b"]),
    ("an empty chunk between the halves", ["\\ud83d", "", "\\ude00"], ["", "", "\N{GRINNING FACE}"]),
    ("a first half without a second", ["\\ud83d", "b"], ["", "\N{REPLACEMENT CHARACTER}b"]),
    ("a second half without a first", ["a\\ude00"], ["a\N{REPLACEMENT CHARACTER}"]),
    (
        "halves in the wrong order",
        ["\\ude00\\ud83d", "b"],
        ["\N{REPLACEMENT CHARACTER}", "\N{REPLACEMENT CHARACTER}b"],
    ),
]


@pytest.mark.parametrize(
    ("contents", "texts"), [case[1:] for case in HALVES], ids=[case[0] for case in HALVES]
)
def test_a_character_sent_as_two_surrogates(contents: list[str], texts: list[str]):
    decoder = ChatDecoder()
    found = []
    for content in contents:
        chunk = decoder.receive_event(
            event('{"choices":[{"index":0,"delta":{"content":"' + content + '"}}]}')
        )
        assert chunk is not None
        assert chunk.choices is not None
        assert chunk.choices[0].delta is not None
        found.append(chunk.choices[0].delta.text)
    assert found == texts


def test_every_error_is_one_of_ours():
    for _, data in MALFORMED:
        for name in ("message", "error", "ping"):
            with pytest.raises(EverytokenError):
                ChatDecoder().receive_event(event(data, name))


COMMON = {
    "OpenAI": '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default","system_fingerprint":"f",'
    '"choices":[{"index":0,"delta":{"content":"x"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"a"}',
    "llama.cpp": '{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"x"}}],"created":1,"id":"c","model":"m",'
    '"system_fingerprint":"b1","object":"chat.completion.chunk","timings":{"prompt_n":1}}',
    "vLLM": '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"x",'
    '"reasoning_content":null},"logprobs":null,"finish_reason":null,"stop_reason":null,"token_ids":null}],"prompt_token_ids":null}',
    "SGLang": '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":null,'
    '"content":"x","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":null,"matched_stop":null}],"usage":null}',
    "OpenRouter": '{"id":"c","provider":"P","model":"m","object":"chat.completion.chunk","created":1,"choices":[{"index":0,'
    '"delta":{"role":"assistant","content":"x"},"finish_reason":null,"native_finish_reason":null,"logprobs":null}]}',
    "Groq": '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"f","choices":[{"index":0,'
    '"delta":{"role":"assistant","content":"x"},"logprobs":null,"finish_reason":null}],"x_groq":{"id":"r"}}',
    "Azure": '{"choices":[{"content_filter_results":{"hate":{"filtered":false}},"delta":{"content":"x"},"finish_reason":null,'
    '"index":0,"logprobs":null}],"created":1,"id":"c","model":"m","object":"chat.completion.chunk","system_fingerprint":"f"}',
    "Ollama": '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp_ollama",'
    '"choices":[{"index":0,"delta":{"role":"assistant","content":"x"},"finish_reason":null}]}',
    "a call": '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"tool_calls":'
    '[{"index":0,"id":"i","type":"function","function":{"name":"n","arguments":""}}]},"finish_reason":null}]}',
}


@pytest.mark.parametrize("server", COMMON)
def test_what_common_servers_send_is_read_the_fast_way(server):
    chunk = decoder_module.decode_typed(COMMON[server])
    assert chunk.has_content
    assert chunk.others is None
