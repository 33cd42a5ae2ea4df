"""Completions through recovery: cut anywhere, read in any pieces, on the first attempt and always."""

from __future__ import annotations

import json

import pytest

from completion_streams import (
    ASK,
    PARTS,
    STREAMS,
    TEXT,
    USAGE,
    chunk,
    finishes,
    like_llama,
    like_openai,
    text_of,
    wire,
)
from everytoken.dialects.openai_completions.chunks import as_chat, as_completion
from everytoken.dialects.openai_completions.dialect import OPENAI_COMPLETIONS
from everytoken.dialects.openai_completions.request import is_text_only
from everytoken.errors import ErrorEventError, InvalidRequestError, MalformedEventError, StatusError
from everytoken.recovery import Breaker, LearnedCapabilities, Policy, Recovery, Target
from everytoken.sse import ServerSentEvent
from everytoken.testing.splits import split_everywhere
from messages_play import play

POLICY = Policy(backoff=0.0, retry_after_max=0.0)
NAMES = list(STREAMS)
OTHER_PIECES = ["Once upon", " a time,\u2028文", "字 👍🏽 ther", "e\nwas."]


def recovery_of(ask=ASK, policy=POLICY):
    learned = LearnedCapabilities()
    return Recovery(
        request=OPENAI_COMPLETIONS.request(ask),
        targets=[Target(name="a", policy=policy)],
        seed=7,
        jitter=lambda: 0.0,
        experience=lambda _: learned,
        breaker=Breaker(threshold=1000),
    )


def check_one(records, make):
    """Check that records are one response, that of the first attempt."""
    assert text_of(records) == TEXT
    assert finishes(records) == finishes(make("a"))
    assert {(record["object"], record["id"], record["created"]) for record in records} == {
        ("text_completion", "cmpl-a", ord("a"))
    }
    assert not any("delta" in choice for record in records for choice in record["choices"])


@pytest.mark.parametrize("name", NAMES)
def test_a_completion_is_passed_on_as_it_came(name):
    chunks = STREAMS[name]("a")
    recovery = recovery_of()
    records, connects = play(recovery, [wire(chunks)])
    shown = [one for one in chunks if one["choices"]]  # nobody has asked for the usage
    assert (recovery.outcome, records, len(connects)) == ("completed", shown, 1)
    assert connects[0].body == {**ASK, "seed": 7, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize("name", NAMES)
def test_cut_at_any_byte_it_is_repeated_and_continued(name):
    make = STREAMS[name]
    stream, second = b"".join(wire(make("a"))), b"".join(wire(make("b")))
    finished = stream.index(b'"finish_reason": "')
    for cut in range(len(stream)):
        recovery = recovery_of()
        records, connects = play(recovery, [[stream[:cut]], [second]])
        assert (cut, recovery.outcome, recovery.error) == (cut, "completed", None)
        if cut >= stream.index(b"}\n\n") + 3:  # its first event has come, and names it
            check_one(records, make)
        else:
            assert text_of(records) == TEXT
        assert cut > finished or len(connects) == 2
        assert all("prompt" in one.body and one.body["prompt"] == "Tell." for one in connects)


def test_another_attempt_in_other_pieces_is_cut_where_the_text_was():
    for cut in range(1, len(PARTS)):
        second = b"".join(wire(like_openai("b", OTHER_PIECES)))
        records, _ = play(recovery_of(), [wire(like_openai("a"))[:cut], [second]])
        check_one(records, like_openai)


def test_read_in_all_pieces_it_is_the_same():
    parts = wire(like_llama("a"))
    for at in range(1, len(parts)):
        around = b"".join(parts[at - 1 : at + 1])
        before, behind = b"".join(parts[: at - 1]), b"".join(parts[at + 1 :])
        for reads in split_everywhere(around[:90]):
            recovery = recovery_of()
            records, _ = play(recovery, [[before, *reads, around[90:], behind]])
            assert (recovery.outcome, records) == ("completed", like_llama("a"))


@pytest.mark.parametrize("name", NAMES)
def test_always_cut_there_it_never_has_an_end(name):
    chunks = STREAMS[name]("a")
    before = next(number for number, one in enumerate(chunks) if finishes([one]))
    for cut in range(before + 1):
        recovery = recovery_of()
        records, connects = play(recovery, [wire(chunks)[:cut]])
        assert recovery.outcome in {"interrupted", "failed"}
        assert TEXT.startswith(text_of(records))
        assert not finishes(records)
        assert 1 < len(connects) <= 4


def test_one_that_says_something_else_is_refused():
    differing = wire(like_openai("b", ["Never ", *PARTS[1:]]))
    recovery = recovery_of()
    records, _ = play(recovery, [wire(like_openai("a"))[:3], differing])
    assert recovery.outcome == "interrupted"
    assert text_of(records) == "".join(PARTS[:3])


def test_the_end_mark_alone_is_an_end():
    events = [f"data: {json.dumps(chunk('a', part))}\n\n".encode() for part in PARTS]
    recovery = recovery_of()
    records, connects = play(recovery, [[*events, b"data: [DONE]\n\n"]])
    assert (recovery.outcome, text_of(records), len(connects)) == ("completed", TEXT, 1)


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "overloaded", "type": "server_error"}},
        {"object": "error", "message": "overloaded", "code": 500},
        {**chunk("a", "", "error"), "error": {"message": "overloaded", "code": 502}},
    ],
)
def test_an_error_inside_the_stream_is_recovered_from(error):
    told = f"data: {json.dumps(error)}\n\n".encode()
    recovery = recovery_of()
    records, _ = play(
        recovery, [[*wire(like_openai("a"))[:3], told, b"data: [DONE]\n\n"], wire(like_openai("b"))]
    )
    assert recovery.outcome == "completed"
    check_one(records, like_openai)
    assert isinstance(recovery.attempts[0].cause, ErrorEventError)


def test_usage_is_shown_to_who_asks_for_it():
    ask = {**ASK, "stream_options": {"include_usage": True}}
    records, _ = play(recovery_of(ask), [wire(like_openai("a"))])
    assert records == like_openai("a")
    records, _ = play(recovery_of(ask), [wire(like_openai("a"))[:2], wire(like_openai("b"))])
    assert (records[-1]["object"], records[-1]["choices"]) == ("text_completion", [])
    assert records[-1]["usage"]["total_tokens"] >= USAGE["total_tokens"]
    assert len(records[-1]["everytoken"]["attempts"]) == 2


def test_a_refusal_goes_back_to_the_caller():
    recovery = recovery_of()
    error = StatusError("no", upstream_status=400, body=b'{"error": {"message": "no"}}')
    records, connects = play(recovery, [error])
    assert (recovery.outcome, records, len(connects)) == ("failed", [], 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_records_make_a_completion_in_one_piece_and_it_makes_records(name):
    chunks = STREAMS[name]("a")
    joined = OPENAI_COMPLETIONS.accumulator()
    for one in chunks:
        joined.add(json.dumps(one).encode())
    whole = joined.message()
    (choice,) = whole["choices"]
    assert (whole["object"], whole["id"]) == ("text_completion", "cmpl-a")
    assert (choice["text"], choice["finish_reason"], choice["logprobs"]) == (TEXT, finishes(chunks)[0], None)
    assert "message" not in choice
    assert whole.get("usage") == (None if name == "like_vllm" else USAGE)
    records = [json.loads(one) for one in OPENAI_COMPLETIONS.records_in(json.dumps(whole).encode())]
    assert (text_of(records), finishes(records)) == (TEXT, finishes(chunks))
    assert all(one["object"] == "text_completion" for one in records)


def test_half_a_character_is_held_until_the_other_half_comes():
    halves = [
        f"data: {json.dumps(chunk('a', 'x'))}\n\n".replace('"x"', f'"{half}"').encode()
        for half in (r"\ud83d", r"\udc4d")
    ]
    records, _ = play(recovery_of(), [[*halves, *wire([chunk("a", "!", "stop")])]])
    joined = OPENAI_COMPLETIONS.accumulator()
    for record in records:
        joined.add(json.dumps(record).encode())
    assert joined.message()["choices"][0]["text"] == "👍!"


def test_what_comes_besides_text_is_kept():
    extra = chunk("a", PARTS[1], citations=["https://a.example"])
    told = [chunk("a", PARTS[0]), extra, *like_llama("a", PARTS[2:])]
    records, _ = play(recovery_of(), [wire(told)])
    assert records == told


def test_a_server_that_sends_chunks_of_chat_is_read_as_such():
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    told = [
        {**head, "choices": [{"index": 0, "delta": {"content": part}, "finish_reason": None}]}
        for part in PARTS
    ]
    told.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    records, _ = play(recovery_of(), [wire(told)[:2], [b"".join(wire(told))]])
    assert "".join(record["choices"][0]["delta"].get("content", "") for record in records) == TEXT


@pytest.mark.parametrize("garbage", ["{", "[1]", '{"choices": 3}', '"text"'])
def test_garbage_is_no_chunk(garbage):
    assert as_chat(garbage) == garbage
    recovery = recovery_of(policy=Policy(attempts=1, backoff=0.0, strategies=frozenset({"replay"})))
    play(recovery, [[*wire(like_openai("a"))[:2], f"data: {garbage}\n\n".encode()]])
    assert recovery.outcome == "interrupted"


def test_there_and_back_is_the_same():
    for make in STREAMS.values():
        for one in make("a"):
            assert json.loads(as_completion(as_chat(json.dumps(one)))) == one


@pytest.mark.parametrize(
    ("more", "text_only"),
    [
        ({}, True),
        ({"n": 1, "best_of": None, "echo": False, "logprobs": None, "suffix": None, "stop": ["x"]}, True),
        ({"n": 2}, False),
        ({"n": True}, False),
        ({"best_of": 3}, False),
        ({"echo": True}, False),
        ({"logprobs": 0}, False),
        ({"logprobs": 2}, False),
        ({"suffix": "end"}, False),
        ({"prompt": ["a"]}, False),
        ({"prompt": [1, 2]}, False),
        ({"prompt": None}, False),
    ],
)
def test_what_is_recovered_is_one_prompt_and_one_text(more, text_only):
    body = {**ASK, **more}
    assert is_text_only(body) is text_only
    if not text_only:
        with pytest.raises(InvalidRequestError) as refused:
            OPENAI_COMPLETIONS.request(body)
        assert refused.value.param == "prompt"


@pytest.mark.parametrize(("name", "value"), [("stream", 1), ("model", 3), ("stream_options", [])])
def test_a_field_of_the_wrong_type_is_named(name, value):
    with pytest.raises(InvalidRequestError) as refused:
        OPENAI_COMPLETIONS.request({**ASK, name: value})
    assert refused.value.param == name


def test_an_event_that_would_hurt_is_refused():
    request, history = OPENAI_COMPLETIONS.request(ASK), OPENAI_COMPLETIONS.history()
    reader = OPENAI_COMPLETIONS.decoder(request, history, first=True)
    with pytest.raises(MalformedEventError):
        reader.read(ServerSentEvent(data="[" * 100_000))
