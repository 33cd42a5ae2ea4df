"""The decoder: what is a chunk, what is an error, what is an end."""

from __future__ import annotations

from typing import Any

import pytest

import everytoken.dialects.openai_chat.decoder as decoder_module
from chat_wire import HELLO, MALFORMED, STOP, chunk_of, event, receive
from everytoken.dialects.openai_chat import ChatDecoder
from everytoken.errors import EverytokenError, TruncatedError

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


@pytest.mark.parametrize(
    "late",
    [{"error": {"message": "boom"}}, "garbage", chunk_of(finish="error"), event("x", "error")],
    ids=str,
)
def test_a_complete_answer_stays_complete_whatever_follows(late: Any):
    decoder = ChatDecoder()
    receive(decoder, HELLO, STOP, late)
    decoder.receive_eof()


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
@pytest.mark.parametrize("ended", [False, True], ids=["", "behind a finish_reason"])
def test_a_character_sent_as_two_surrogates(contents: list[str], texts: list[str], *, ended: bool):
    decoder = ChatDecoder()
    if ended:
        receive(decoder, STOP)
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
