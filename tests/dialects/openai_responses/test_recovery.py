"""Responses cut everywhere: the stream that is delivered is one stream, with one set of ids and no gap in its numbers."""

from __future__ import annotations

import json

import pytest

from everytoken.dialects.openai_responses.dialect import OPENAI_RESPONSES
from everytoken.errors import StatusError
from everytoken.recovery import Breaker, Connect, End, LearnedCapabilities, Policy, Recovery, Target
from everytoken.testing.splits import split_everywhere
from responses_streams import (
    STREAMS,
    check_one_stream,
    encrypted,
    function_call,
    like_llama,
    read_by_sdk,
    text,
    texts_of,
    wire,
)
from sampling import sampled

ASK = {"model": "m", "input": "Hello", "stream": True}
POLICY = Policy(backoff=0.0, retry_after_max=0.0)


def recovery_of(ask=ASK, policy=POLICY):
    learned = LearnedCapabilities()
    request = OPENAI_RESPONSES.request(ask)
    return Recovery(
        request=request,
        targets=[Target(name="a", policy=policy)],
        seed=None,
        jitter=lambda: 0.0,
        experience=lambda _: learned,
        breaker=Breaker(),
    )


def play(*attempts, ask=ASK, policy=POLICY, recovery=None):
    """Return the recovery and the events it delivers when each attempt sends these reads and then ends.

    An attempt that is bytes is an answer in one piece; what comes behind the last attempt is the last one again.
    """
    recovery = recovery or recovery_of(ask, policy)
    recovery.start(0.0)
    records = []
    reads = list(attempts)
    while recovery.outcome is None:
        decisions, recovery.decisions = list(recovery.decisions), type(recovery.decisions)()
        if not any(isinstance(decision, (Connect, End)) for decision in decisions):
            records += recovery.tick(recovery.deadline)
            continue
        attempt = reads.pop(0) if len(reads) > 1 else reads[0]
        recovery.accept(0.0)
        if isinstance(attempt, bytes):
            records += recovery.receive_non_streaming(0.0, attempt)
            continue
        for data in attempt:
            records += recovery.receive_data(0.0, data)
        records += recovery.receive_eof(0.0)
    return recovery, [json.loads(record) for record in records]


@pytest.mark.parametrize("name", STREAMS)
def test_a_whole_stream_is_passed_on_as_it_came(name):
    events = STREAMS[name]("a")
    recovery, delivered = play([b"".join(wire(events))])
    assert (recovery.outcome, delivered) == ("completed", events)
    check_one_stream(delivered, events)
    assert recovery.usage == events[-1]["response"]["usage"]


@pytest.mark.parametrize("name", STREAMS)
def test_cut_behind_any_event_it_is_continued(name):
    first, second = STREAMS[name]("a"), STREAMS[name]("b")
    whole = b"".join(wire(second))
    for cut in sampled(range(len(first)), 5):
        for more in (b"", wire(first)[cut][:-3]):
            recovery, events = play([b"".join(wire(first)[:cut]) + more], [whole])
            if recovery.outcome != "completed":
                # The one thing that another attempt cannot finish.
                assert name == "encrypted"
                assert "encrypted content" in recovery.error.message
                assert events[-1]["output_index"] == 0
                assert events[-1]["type"] != "response.output_item.done"
                continue
            check_one_stream(events, first)


def test_cut_at_any_byte_it_is_continued():
    first, second = b"".join(wire(text("a"))), b"".join(wire(text("b")))
    for cut in sampled(range(0, len(first), 5), 5):
        recovery, events = play([first[:cut]], [second])
        assert recovery.outcome == "completed", cut
        check_one_stream(events, text("a"))


@pytest.mark.parametrize("name", ["text", "function_call", "encrypted"])
def test_reads_of_any_size_make_no_difference(name):
    events = STREAMS[name]("a")
    data = b"".join(wire(events))
    for reads in list(split_everywhere(data))[::7]:
        _, delivered = play(reads)
        assert delivered == events


@pytest.mark.parametrize("name", STREAMS)
def test_cut_always_it_ends_with_what_there_is_and_no_end(name):
    streams = [STREAMS[name](tag) for tag in "abcdefghijkl"]
    for cut in sampled(range(2, len(streams[0])), 5):
        attempts = [[b"".join(wire(events)[:cut])] for events in streams]
        recovery, events = play(*attempts)
        assert recovery.outcome in {"interrupted", "failed"}
        assert not {event["type"] for event in events} & {"response.completed", "response.incomplete"}
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        if recovery.outcome == "failed":
            assert events == []  # nothing but frames had come
        for place, told in texts_of(events).items():
            assert texts_of(streams[0])[place].startswith(told)


@pytest.mark.parametrize("name", STREAMS)
def test_a_later_attempt_may_cut_its_texts_elsewhere(name):
    first, second = STREAMS[name]("a"), STREAMS[name]("b")
    joined = []
    for event in second:
        before = joined[-1] if joined else {}
        if event["type"].endswith(".delta") and {**before, "delta": 0, "sequence_number": 0} == {
            **event,
            "delta": 0,
            "sequence_number": 0,
        }:
            before["delta"] += event["delta"]
        else:
            joined.append(dict(event))
    for cut in sampled(range(2, len(first)), 5):
        recovery, events = play([b"".join(wire(first)[:cut])], [b"".join(wire(joined))])
        if recovery.outcome == "completed":
            check_one_stream(events, first)
        else:
            assert name == "encrypted"


def test_without_numbers_the_events_get_them():
    for name in ("text", "two_parts", "function_call", "refusal", "reasoning", "custom_tool"):
        events = STREAMS[name]("a")
        _, delivered = play([b"".join(wire(like_llama(events)))])
        check_one_stream(delivered, events)
        for index in ("output_index", "content_index", "summary_index"):
            assert [event.get(index) for event in delivered] == [event.get(index) for event in events]


def test_without_numbers_a_cut_is_continued():
    first, second = (wire(like_llama(STREAMS["function_call"](tag))) for tag in "ab")
    for cut in sampled(range(len(first)), 5):
        recovery, events = play([b"".join(first[:cut])], [b"".join(second)])
        assert recovery.outcome == "completed"
        check_one_stream(events, function_call("a"))


@pytest.mark.parametrize("name", [name for name in STREAMS if name not in {"searched", "incomplete"}])
def test_what_streams_do_not_give_an_answer_in_one_piece_may(name):
    first = STREAMS[name]("a")
    whole = json.dumps(STREAMS[name]("b")[-1]["response"]).encode()
    _, events = play(whole)
    assert events[-1]["response"] == STREAMS[name]("b")[-1]["response"]
    assert read_by_sdk(events).output_text == read_by_sdk(first).output_text
    for cut in sampled(range(2, len(first)), 5):
        recovery, events = play([b"".join(wire(first)[:cut])], whole)
        if recovery.outcome == "completed":
            assert texts_of(events) == texts_of(first)
            assert read_by_sdk(events) is not None


@pytest.mark.parametrize(
    "bad",
    [
        {
            "type": "response.failed",
            "response": {"status": "failed", "error": {"code": "server_error", "message": "x"}},
        },
        {
            "type": "response.completed",
            "response": {"status": "failed", "error": {"code": "x", "message": "x"}},
        },
        {"type": "response.completed", "response": {"status": "cancelled"}},
        {"type": "error", "code": "server_error", "message": "x", "param": None, "sequence_number": 3},
        {"type": "error", "error": {"type": "server_error", "message": "x"}},
        {"error": {"message": "x", "code": 500}},
    ],
)
def test_a_failure_of_the_upstream_is_no_end(bad):
    first, second = wire(text("a")), [b"".join(wire(text("b")))]
    said = b"data: %b\n\n" % json.dumps(bad).encode()
    for cut in sampled(range(len(first)), 5):
        recovery, events = play([b"".join(first[:cut]) + said], second)
        assert recovery.outcome == "completed"
        check_one_stream(events, text("a"))
    recovery, events = play([b"".join(first[:6]) + said])
    assert recovery.outcome == "interrupted"
    assert recovery.error.code in {"upstream-error-event", "recovery-exhausted"}
    assert events == text("a")[:6]


def test_another_answer_is_never_spliced():
    first, other = wire(function_call("a")), function_call("b")
    for place, event in enumerate(other):
        if not event["type"].endswith(".delta"):
            continue
        changed = [*other[:place], {**event, "delta": "X" + event["delta"]}, *other[place + 1 :]]
        for cut in range(place + 1, len(first)):
            recovery, events = play([b"".join(first[:cut])], [b"".join(wire(changed))])
            assert recovery.outcome == "interrupted"
            assert events == function_call("a")[:cut]


def test_an_end_inside_a_call_is_a_cut():
    events = function_call("a")
    kept = [
        event
        for event in events
        if event["type"] != "response.output_item.done" or event["output_index"] == 0
    ]
    last = kept[-1] = json.loads(json.dumps(kept[-1]))
    last["response"]["output"] = last["response"]["output"][:1]
    recovery, delivered = play([b"".join(wire(kept))])
    assert recovery.outcome == "interrupted"
    assert delivered[-1]["type"] != "response.completed"


def test_what_is_encrypted_stays_with_the_item_it_was_made_for():
    first, second = encrypted("a"), encrypted("b")
    reasoning_done = next(n for n, event in enumerate(first) if event["type"] == "response.output_item.done")
    for cut in range(reasoning_done + 1, len(first)):
        recovery, events = play([b"".join(wire(first)[:cut])], [b"".join(wire(second))])
        assert recovery.outcome == "completed"
        reasoning = events[-1]["response"]["output"][0]
        assert (reasoning["id"], reasoning["encrypted_content"]) == ("rea_a0", "secret-a")
        done = next(event for event in events if event["type"] == "response.output_item.done")
        assert done["item"] == reasoning


def test_the_last_event_tells_what_all_attempts_used():
    first, second = function_call("a"), function_call("b")
    recovery, events = play([b"".join(wire(first)[:6])], [b"".join(wire(second))])
    last = events[-1]["response"]
    assert last["usage"] == recovery.usage
    assert last["usage"] == {
        "input_tokens": 24,
        "output_tokens": 11,  # the first attempt had brought two pieces
        "total_tokens": 35,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens_details": {"reasoning_tokens": 3},
        "estimated": True,
    }
    assert [attempt["strategy"] for attempt in last["everytoken"]["attempts"]] == ["first", "replay"]


def test_before_content_an_attempt_starts_anew():
    """Nothing but frames: the items of the first attempt are never shown."""
    for name in ("text", "reasoning", "encrypted", "refusal"):
        first, second = STREAMS[name]("a"), STREAMS[name]("b")
        for cut in range(5):
            recovery, events = play([b"".join(wire(first)[:cut])], [b"".join(wire(second))])
            assert recovery.outcome == "completed"
            assert events[:-1] == second[:-1]
            assert events[-1]["response"]["usage"] == second[-1]["response"]["usage"]
            assert [attempt.strategy for attempt in recovery.attempts] == ["first", "retry"]


@pytest.mark.parametrize("name", STREAMS)
def test_another_process_continues_behind_any_record(name):
    first, second = STREAMS[name]("a"), STREAMS[name]("b")
    for cut in sampled(range(len(first) + 1), 5):
        recovery = recovery_of()
        records = [json.dumps(event).encode() for event in first[:cut]]
        delivered = [json.loads(record) for record in [*records, *recovery.resume(0.0, records, _gone())]]
        if recovery.outcome is None:
            recovery.accept(0.0)
            delivered += map(json.loads, recovery.receive_data(0.0, b"".join(wire(second))))
        if name == "encrypted" and delivered[-1]["type"] != "response.completed":
            continue
        # Only that the response is in progress is not told again, where nothing but its beginning had been delivered.
        check_one_stream(delivered, first if cut != 1 else _renumbered([first[0], *first[2:]]))


def _renumbered(events):
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _gone():
    return StatusError("the process is gone", upstream_status=500)
