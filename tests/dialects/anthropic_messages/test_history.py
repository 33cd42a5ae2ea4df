"""Messages through recovery: cut anywhere, read in any pieces, on the first attempt and always."""

from __future__ import annotations

import json

import pytest

from everytoken.errors import NodeLostError, StatusError
from everytoken.recovery import LearnedCapabilities, Policy
from everytoken.testing.splits import split_everywhere
from messages_play import MESSAGES, POLICY, is_prefix, message_of, play, recovery_of, unmarked, whole
from messages_streams import (
    ASK,
    STREAMS,
    again,
    begin,
    delta,
    encoded,
    end,
    inputs,
    start,
    stop,
    texts,
    visible,
)
from sampling import sampled

NAMES = list(STREAMS)
REPLAY = Policy(backoff=0.0, retry_after_max=0.0, strategies=frozenset({"replay"}))


@pytest.mark.parametrize("name", sampled(NAMES, 2))
def test_a_message_is_passed_on_as_it_came(name):
    events = STREAMS[name]
    recovery = recovery_of()
    records, connects = play(recovery, [encoded(events)])
    assert (recovery.outcome, records, len(connects)) == ("completed", visible(events), 1)
    assert "seed" not in connects[0].body
    assert recovery.usage["input_tokens"] == 25
    assert recovery.usage["output_tokens"] == events[-2]["usage"]["output_tokens"]
    assert recovery.attempts[0].model == "claude-x"


@pytest.mark.parametrize("name", sampled(NAMES, 2))
@pytest.mark.parametrize("other", [False, True], ids=["the same again", "in other pieces"])
def test_cut_anywhere_it_is_repeated_and_continued(name, other):
    events = STREAMS[name]
    stream = b"".join(encoded(events))
    second = b"".join(encoded(again(events) if other else events))
    truth = message_of(visible(events))
    for cut in range(0, len(stream), 3 if len(stream) < 1500 else 7):
        recovery = recovery_of(policy=REPLAY)
        records, _ = play(recovery, [[stream[:cut]], [second]])
        assert (cut, recovery.outcome, recovery.error) == (cut, "completed", None)
        message = message_of(records)
        assert (cut, message["content"] if not other else _unnamed(message)) == (
            cut,
            truth["content"] if not other else _unnamed(truth),
        )
        assert message["stop_reason"] == truth["stop_reason"]
        if not other:
            assert unmarked(records) == unmarked(visible(events))
        assert [record["type"] for record in records].count("message_start") == 1
        assert records[-1] == {"type": "message_stop"}


def _unnamed(message):
    """Return the content without the ids, which are those of the attempt that began the block."""
    text = json.dumps(message["content"]).replace("toolu_9", "toolu_0")
    return json.loads(text)


@pytest.mark.parametrize("name", sampled(NAMES, 2))
def test_cut_between_all_events_and_read_in_all_pieces(name):
    events = STREAMS[name]
    parts = encoded(events)
    for cut in range(len(parts)):
        around = b"".join(parts[max(0, cut - 1) : cut + 1])
        before, behind = b"".join(parts[: max(0, cut - 1)]), b"".join(parts[cut + 1 :])
        for number, reads in enumerate(split_everywhere(around)):
            if number % 23 and number > 3:
                continue
            recovery = recovery_of(policy=REPLAY)
            records, _ = play(recovery, [parts[:cut], [before, *reads, behind]])
            assert (cut, recovery.outcome) == (cut, "completed")
            assert unmarked(records) == unmarked(visible(events))


@pytest.mark.parametrize("name", sampled(NAMES, 2))
def test_always_cut_there_it_never_has_an_end(name):
    events = STREAMS[name]
    parts = encoded(events)
    for cut in range(len(parts)):
        recovery = recovery_of(policy=REPLAY)
        records, _ = play(recovery, [parts[:cut]])
        assert (cut, recovery.outcome in {"interrupted", "failed"}) == (cut, True)
        assert recovery.error is not None
        assert (cut, is_prefix(records, visible(events))) == (cut, True)


@pytest.mark.parametrize("name", sampled(NAMES, 2))
def test_a_stream_that_keeps_breaking_is_asked_for_in_one_piece(name):
    events = STREAMS[name]
    parts = encoded(events)
    for cut in range(len(parts)):
        recovery = recovery_of(policy=Policy(backoff=0.0, strategies=frozenset({"replay", "non-streaming"})))
        records, connects = play(recovery, [*[parts[:cut]] * 3, whole(events)])
        assert "stream" not in connects[-1].body
        # JSON has other blanks in one piece, and nobody knows in which pieces the unknown would have come.
        unlike = any(record.get("delta", {}).get("partial_json") for record in visible(events)[:cut])
        if recovery.outcome == "interrupted" and (unlike or name == "what comes next year"):
            assert is_prefix(records, visible(events))
            continue
        assert (cut, recovery.outcome) == (cut, "completed")
        assert message_of(records)["content"] == message_of(visible(events))["content"]


@pytest.mark.parametrize("name", sampled(NAMES, 2))
def test_an_answer_in_one_piece_becomes_the_events_it_would_have_been(name):
    body = whole(STREAMS[name])
    records = [json.loads(record) for record in MESSAGES.records_in(body)]
    assert message_of(records) == json.loads(body)
    for refused in (
        b"{}",
        b"[]",
        b"hello",
        b'{"type":"message","content":[]}',
        b'{"content":[1],"stop_reason":"x"}',
    ):
        with pytest.raises(Exception, match="upstream"):
            MESSAGES.records_in(refused)


# What a second attempt must not become a part of: (name, delivered events, the whole of the second attempt)
THOUGHT = [
    start(),
    begin(0, "thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="Hm. "),
]
CALL = [start(), begin(0, "tool_use", id="t", name="rm", input={}), *inputs(0, '{"path": "')]
SAID = [start(), begin(0, "text", text=""), *texts(0, "One ")]
SIGNED = [*THOUGHT, delta(0, "signature_delta", signature="abc")]
CITED = {"type": "page_location", "cited_text": "x", "start_page_number": 1}
DIVERGED = [
    ("another thought", THOUGHT, [*THOUGHT[:2], delta(0, "thinking_delta", thinking="Ha. "), stop(0), *end()]),
    ("another signature", SIGNED, [*THOUGHT, delta(0, "signature_delta", signature="abd"), stop(0), *end()]),
    ("a longer signature", SIGNED, [*THOUGHT, delta(0, "signature_delta", signature="abcd"), stop(0), *end()]),
    ("another input", CALL, [*CALL[:2], *inputs(0, '{"name": "a"}'), stop(0), *end("tool_use")]),
    ("another tool", CALL, [start(), begin(0, "tool_use", id="t", name="ls", input={}), *inputs(0, '{"path": "a"}'), stop(0), *end()]),
    ("a text in place of a tool", CALL, [*SAID, stop(0), *end()]),
    ("a thought before the text", SAID, [*THOUGHT, stop(0), begin(1, "text", text=""), *texts(1, "One "), stop(1), *end()]),
    ("a text that is shorter", SAID, [start(), begin(0, "text", text=""), *texts(0, "On"), stop(0), *end()]),
    ("a text that ends in another block", SAID, [start(), begin(0, "text", text=""), *texts(0, "On"), stop(0), begin(1, "text", text=""), *texts(1, "e two"), stop(1), *end()]),
    ("a longer block than the one that has ended", [*SAID, stop(0)], [*SAID, *texts(0, "two"), stop(0), *end()]),
    ("a longer input than the one that has ended", [*CALL, *inputs(0, 'a"}'), stop(0)], [*CALL, *inputs(0, 'a"} '), stop(0), *end()]),
    ("another result", [start(), begin(0, "x_tool_result", content=[{"title": "a"}])], [start(), begin(0, "x_tool_result", content=[{"title": "b"}]), stop(0), *end()]),
    ("a longer result", [start(), begin(0, "x_tool_result", content=[{"title": "a"}])], [start(), begin(0, "x_tool_result", content=[{"title": "a"}, {"title": "b"}]), stop(0), *end()]),
    ("another citation", [*SAID, delta(0, "citations_delta", citation=CITED)], [*SAID, delta(0, "citations_delta", citation={**CITED, "start_page_number": 2}), stop(0), *end()]),
    ("a longer citation", [*SAID, delta(0, "citations_delta", citation=CITED)], [*SAID, delta(0, "citations_delta", citation={**CITED, "file_id": "f"}), stop(0), *end()]),
    ("an empty message", SAID, [start(), *end()]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("delivered", "second"), [case[1:] for case in DIVERGED], ids=[case[0] for case in DIVERGED]
)
def test_what_differs_is_never_spliced(delivered, second):
    recovery = recovery_of(policy=REPLAY)
    records, _ = play(recovery, [encoded(delivered), encoded(second), encoded([])])
    assert (recovery.outcome, records) == ("interrupted", delivered)
    assert "upstream-diverged" in {attempt.cause.code for attempt in recovery.attempts}


MALFORMED = [
    ("a delta before the start", [begin(0, "text", text="")]),
    ("a delta of no block", [start(), *texts(0, "x")]),
    ("a second start", [*SAID, start()]),
    ("a block that begins twice", [*SAID, begin(0, "text", text="")]),
    ("a delta of a block that has ended", [*SAID, stop(0), *texts(0, "x")]),
    ("a text that is a number", [*SAID, delta(0, "text_delta", text=1)]),
    ("an index that is none", [start(), begin(-1, "text", text="")]),
    ("no type", [*SAID, {"index": 0}]),
    ("an end without a stop_reason", [*SAID, stop(0), {"type": "message_stop"}]),
    ("an end inside a tool call", [*CALL, *end("tool_use")]),
    ("an end behind a stop_reason only", [*SAID, stop(0), end()[0]]),
]


@pytest.mark.parametrize("events", [case[1] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_what_no_client_could_read_is_no_message(events):
    recovery = recovery_of(policy=Policy(attempts=1, strategies=frozenset()))
    records, _ = play(recovery, [encoded(events)])
    assert recovery.outcome != "completed"
    assert not any(record["type"] in {"message_delta", "message_stop"} for record in records)


ERRORS = [
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 529),
    ({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}, 400),
    (
        {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}, "request_id": "r"},
        429,
    ),
    ({"error": {"message": "boom", "code": 500}}, 500),
]


@pytest.mark.parametrize(("error", "status"), ERRORS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("cut", range(5))
def test_an_error_inside_the_stream_is_recovered_from(error, status, cut):
    events = STREAMS["text"]
    reads = [*encoded(events)[:cut], f"event: error\ndata: {json.dumps(error)}\n\n".encode()]
    recovery = recovery_of(policy=REPLAY)
    records, _ = play(recovery, [reads, encoded(events)])
    assert recovery.attempts[0].cause.upstream_status == status
    if cut < 4 and status == 400:  # before the first text it is the caller's own fault
        assert recovery.outcome == "failed"
    else:
        assert (recovery.outcome, unmarked(records)) == ("completed", unmarked(visible(events)))


HEARTBEATS = [
    b'event: ping\ndata: {"type": "ping"}\n\n',
    b": hi\n\n",
    b"data: [DONE]\n\n",
    b"event: ping\ndata:\n\n",
]


@pytest.mark.parametrize("beat", HEARTBEATS)
def test_a_sign_of_life_is_none_of_the_message(beat):
    events = STREAMS["tool"]
    recovery = recovery_of()
    records, _ = play(recovery, [[read for part in encoded(events) for read in (beat, part)] + [beat]])
    assert (recovery.outcome, records) == ("completed", visible(events))


def test_a_character_cut_in_two_is_one():
    events = [start(), begin(0, "text", text=""), *texts(0, "a\ud83d", "\udc4d b", "c"), stop(0), *end()]
    reads = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
    for cut in range(len(reads)):
        recovery = recovery_of(policy=REPLAY)
        records, _ = play(recovery, [reads[:cut], reads])
        if cut == 3:  # cut inside a character: nothing can be compared
            assert recovery.outcome == "interrupted"
        else:
            assert (cut, recovery.outcome) == (cut, "completed")
            assert message_of(records)["content"] == [{"type": "text", "text": "a👍 bc"}]


def test_the_usage_of_several_attempts_is_told_together_and_marked():
    events = STREAMS["text"]
    parts = encoded(events)
    records, _ = play(recovery_of(policy=REPLAY), [parts[:5], parts])
    told = records[-2]
    assert told["usage"]["input_tokens"] == 50
    assert told["usage"]["output_tokens"] == 15 + 2  # a chunk counts as a token
    assert told["usage"]["estimated"] is True
    assert [attempt["strategy"] for attempt in told["everytoken"]["attempts"]] == ["first", "replay"]


# Prefill


TRUSTED = {"prefill": "yes"}


def continued(*parts):
    return encoded([start(id="msg_02"), begin(0, "text", text=""), *texts(0, *parts), stop(0), *end()])


def test_a_text_is_continued_by_a_prefill():
    parts = encoded([start(), begin(0, "text", text=""), *texts(0, "One", " two,")])
    recovery = recovery_of(**TRUSTED)
    records, connects = play(recovery, [parts, continued(" three", ".")])
    assert recovery.outcome == "completed"
    assert connects[1].body["messages"][1:] == [{"role": "assistant", "content": "One two,"}]
    assert connects[1].body["max_tokens"] == 510
    assert message_of(records)["content"] == [{"type": "text", "text": "One two, three."}]
    assert [record["type"] for record in records].count("content_block_start") == 1
    assert records[0]["message"]["id"] == "msg_01"


def test_a_prefill_never_ends_in_white_space_which_has_to_come_back():
    parts = encoded([start(), begin(0, "text", text=""), *texts(0, "One", " two \n")])
    recovery = recovery_of(**TRUSTED)
    records, connects = play(recovery, [parts, continued(" \nthree", ".")])
    assert recovery.outcome == "completed"
    assert connects[1].body["messages"][-1]["content"] == "One two"
    assert message_of(records)["content"] == [{"type": "text", "text": "One two \nthree."}]
    recovery = recovery_of(
        policy=Policy(backoff=0.0, attempts=2, strategies=frozenset({"prefill"})), **TRUSTED
    )
    records, _ = play(recovery, [parts, continued(" three", ".")])
    assert recovery.outcome == "interrupted"
    assert message_of(records)["content"] == [{"type": "text", "text": "One two \n"}]


def test_a_prefill_is_proved_by_what_it_gives_back():
    parts = encoded(
        [start(), begin(0, "text", text=""), *texts(0, "One two three four", " five six", " seven")]
    )
    recovery = recovery_of(policy=Policy(backoff=0.0, strategies=frozenset({"prefill"})))
    records, connects = play(recovery, [parts, continued(" five six seven", " eight")])
    assert recovery.outcome == "completed"
    assert connects[1].body["messages"][-1]["content"] == "One two three four"
    assert message_of(records)["content"][0]["text"] == "One two three four five six seven eight"
    assert recovery.experience(recovery.targets[0]).prefill == "continues"


def test_a_model_that_refuses_a_prefill_is_asked_for_none_again():
    parts = encoded([start(), begin(0, "text", text=""), *texts(0, "One", " two,")])
    refusal = StatusError(
        "This model does not support assistant message prefill.", upstream_status=400, body=b"{}"
    )
    learned = LearnedCapabilities()
    recovery = recovery_of(learned=learned, **TRUSTED)
    records, _ = play(
        recovery,
        [
            parts,
            refusal,
            encoded([start(), begin(0, "text", text=""), *texts(0, "One two, 3"), stop(0), *end()]),
        ],
    )
    assert [attempt.strategy for attempt in recovery.attempts] == ["first", "prefill", "replay"]
    assert (recovery.outcome, learned.prefill) == ("completed", "refused")
    assert message_of(records)["content"][0]["text"] == "One two, 3"
    recovery = recovery_of(learned=learned, **TRUSTED)
    play(recovery, [parts, continued("One two,")])
    assert [attempt.strategy for attempt in recovery.attempts] == ["first", "replay"]


@pytest.mark.parametrize(
    "more",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"thinking": {"type": "adaptive"}},
        {"tool_choice": {"type": "any"}},
        {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
    ],
    ids=str,
)
def test_where_the_api_takes_no_prefill_none_is_sent(more):
    parts = encoded([start(), begin(0, "text", text=""), *texts(0, "One", " two,")])
    recovery = recovery_of({**ASK, **more}, **TRUSTED)
    play(recovery, [parts, continued("One two,", " three")])
    assert [attempt.strategy for attempt in recovery.attempts] == ["first", "replay"]
    assert recovery.outcome == "completed"


@pytest.mark.parametrize("name", sampled(NAMES, 2))
def test_every_cut_with_prefill_and_replay_is_exact_or_told(name):
    """An upstream that continues what it is given, wherever it is told to."""
    events = STREAMS[name]
    parts = encoded(events)
    for cut in range(len(parts)):
        recovery = recovery_of(**TRUSTED)
        records, connects = play(recovery, [parts[:cut], _Continuing(events, recovery), parts])
        assert (cut, recovery.outcome) == (cut, "completed")
        assert message_of(records)["content"] == message_of(visible(events))["content"]
        used = {attempt.strategy for attempt in recovery.attempts}
        assert len(connects) == 2
        if "prefill" in used:
            assert name in {"text", "length", "tool", "citations", "server tool"}


class _Continuing:
    """Reads of the rest of the message behind what the request gives."""

    def __init__(self, events, recovery):
        self.events, self.recovery = events, recovery

    def __iter__(self):
        if self.recovery.attempts[-1].strategy != "prefill":
            yield from encoded(self.events)
            return
        given = self.recovery.transcript.text.rstrip()
        left = given
        for event in self.events:
            said = event.get("delta", {}).get("text")
            if said and left:
                common = min(len(said), len(left))
                assert said[:common] == left[:common]
                left = left[common:]
                event = {**event, "delta": {**event["delta"], "text": said[common:]}}  # noqa: PLW2901
            yield encoded([event])[0]


# Takeover


@pytest.mark.parametrize("name", sampled(NAMES, 2))
def test_taken_over_anywhere_it_is_the_same_message(name):
    events = STREAMS[name]
    truth = visible(events)
    for cut in range(1, len(truth) + 1):
        recovery = recovery_of(policy=POLICY)
        delivered = [json.dumps(event).encode() for event in truth[:cut]]
        more = recovery.resume(0.0, delivered, NodeLostError("gone"))
        records = [json.loads(record) for record in (*delivered, *more)]
        if recovery.outcome is None:
            recovery.accept(0.0)
            for data in encoded(events):
                records += map(json.loads, recovery.receive_data(0.0, data))
        assert (cut, recovery.outcome) == (cut, "completed")
        assert (cut, unmarked(records)) == (cut, unmarked(truth))
