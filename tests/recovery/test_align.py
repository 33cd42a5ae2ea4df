"""A further attempt compared with what was delivered: every cut, every split of the second attempt, byte for byte."""

from __future__ import annotations

import json

import pytest

from delivered import chunk, delivered
from everytoken.dialects.openai_chat import Accumulator, decode_chunk
from everytoken.dialects.openai_chat.calls import Calls
from everytoken.dialects.openai_chat.dialect import OPENAI_CHAT
from everytoken.dialects.openai_chat.pieces import chunk_from
from everytoken.errors import DivergedError
from everytoken.recovery.align import ContinueAligner, PrefillAligner, ReplayAligner
from simulation import text_of

TEXTS = [
    pytest.param("Streaming sends tokens.", id="words"),
    pytest.param("ha ha ha ha ha", id="a text that repeats itself"),
    pytest.param("aaaaaaaa", id="one letter over and over"),
    pytest.param("流式传输。", id="Chinese"),
    pytest.param("👨‍👩‍👧🇯🇵é", id="characters of several code points"),
    pytest.param("  \n\t \n", id="nothing but white space"),
    pytest.param("line\u2028separator\r\n\0end", id="separators and a NUL"),
]


def replay(transcript):
    return ReplayAligner(transcript, rewriter(transcript))


def prefill(transcript, overlap):
    return PrefillAligner(transcript, rewriter(transcript), overlap=overlap)


def rewriter(transcript):
    return OPENAI_CHAT.rewriter(transcript.history, transcript.first)


def feed(aligner, *raws):
    calls = Calls()
    return [
        record
        for raw in raws
        for record in aligner.feed(chunk_from(decode_chunk(raw), raw, calls, several=False))
    ]


def splits(text):
    """Yield the pieces `text` can come in: whole, one by one, and cut in two everywhere."""
    yield [text]
    yield list(text)
    yield from ([text[:at], text[at:]] for at in range(1, len(text)))


def second(pieces):
    role = chunk({"role": "assistant", "content": ""}, number=1)
    return [
        role,
        *(chunk({"content": piece}, number=1) for piece in pieces),
        chunk({}, finish="stop", number=1),
    ]


@pytest.mark.parametrize("text", TEXTS)
def test_a_repeated_answer_gives_the_rest_once_at_every_cut_and_split(text):
    for cut in range(1, len(text) + 1):
        for pieces in splits(text):
            transcript = delivered(chunk({"role": "assistant", "content": text[:cut]}))
            aligner = replay(transcript)
            records = feed(aligner, *second(pieces))
            assert (cut, pieces, text_of(records)) == (cut, pieces, text[cut:])
            assert aligner.caught_up
            assert decode_chunk(records[-1]).choices[0].finish_reason == "stop"
            assert all(b'"role"' not in record for record in records)
            assert {json.loads(record)["id"] for record in records} == {"chatcmpl-0"}


@pytest.mark.parametrize("text", TEXTS)
def test_a_repeated_answer_that_differs_anywhere_is_refused(text):
    for cut in range(1, len(text) + 1):
        for at in range(cut):
            other = text[:at] + "X" + text[at + 1 :]
            for pieces in ([other], list(other)):
                aligner = replay(delivered(chunk({"content": text[:cut]})))
                with pytest.raises(DivergedError):
                    feed(aligner, *second(pieces))


@pytest.mark.parametrize("text", TEXTS)
def test_a_repeated_answer_that_ends_early_is_refused(text):
    for cut in range(1, len(text) + 1):
        for end in range(cut):
            aligner = replay(delivered(chunk({"content": text[:cut]})))
            with pytest.raises(DivergedError):
                feed(aligner, *second([text[:end]] if end else []))


@pytest.mark.parametrize("text", TEXTS)
def test_a_continuation_is_passed_on_non_streaming(text):
    for pieces in splits(text):
        aligner = ContinueAligner(rewriter(delivered(chunk({"role": "assistant", "content": "Before. "}))))
        records = feed(aligner, *second(pieces))
        assert text_of(records) == text
        assert len(records) == len(pieces) + 1, "only the chunk with nothing but the role is left out"


@pytest.mark.parametrize("text", TEXTS)
def test_a_continuation_proves_itself_or_is_refused_but_never_doubles(text):
    """What is delivered is the rest, exactly, or nothing; only a text whose end looks like its beginning is refused."""
    refused = 0
    for cut in range(2, len(text) + 1):
        for overlap in range(1, cut):
            start = cut - overlap
            for pieces in splits(text[start:]):
                aligner = prefill(delivered(chunk({"content": text[:cut]})), overlap=overlap)
                try:
                    records = feed(aligner, *second(pieces))
                except DivergedError:
                    refused += 1
                    assert text.startswith(text[start:cut])
                    continue
                assert (cut, overlap, text_of(records)) == (cut, overlap, text[cut:])
                assert aligner.verdict == "continues"
    assert (refused > 0) == (text in {"ha ha ha ha ha", "aaaaaaaa"})


@pytest.mark.parametrize("text", TEXTS)
def test_a_restart_is_recognised_and_aligned_or_refused(text):
    for cut in range(2, len(text) + 1):
        for overlap in range(1, cut):
            for pieces in splits(text):
                aligner = prefill(delivered(chunk({"content": text[:cut]})), overlap=overlap)
                try:
                    records = feed(aligner, *second(pieces))
                except DivergedError:
                    assert text.startswith(text[cut - overlap : cut])
                    continue
                assert (cut, overlap, text_of(records)) == (cut, overlap, text[cut:])
                assert aligner.verdict == "restarts"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("Something else.", id="another answer"),
        pytest.param("fox jumps over", id="one that leaves a word of the overlap out"),
        pytest.param("", id="nothing"),
        pytest.param("brown", id="half of the overlap"),
        pytest.param("The quick", id="half of a restart"),
    ],
)
def test_what_proves_nothing_is_refused(answer):
    aligner = prefill(delivered(chunk({"content": "The quick brown fox"})), overlap=9)
    with pytest.raises(DivergedError):
        feed(aligner, *second([answer] if answer else []))
    assert aligner.verdict is None


# Reasoning, refusals and tool calls

CALL = [
    {
        "tool_calls": [
            {"index": 0, "id": "call_a", "type": "function", "function": {"name": "get", "arguments": ""}}
        ]
    },
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '"Zürich"}'}}]},
    {
        "tool_calls": [
            {"index": 1, "id": "call_b", "type": "function", "function": {"name": "put", "arguments": "{"}}
        ]
    },
    {"tool_calls": [{"index": 1, "function": {"arguments": "}"}}]},
]


def changed(deltas, change):
    return json.loads(change(json.dumps(deltas)))


def without_index(deltas):
    return [{"tool_calls": [{k: v for k, v in d["tool_calls"][0].items() if k != "index"}]} for d in deltas]


FORMS = [
    pytest.param(CALL, id="as documented"),
    pytest.param(without_index(CALL), id="without index"),
    pytest.param(
        changed(CALL, lambda s: s.replace('"index": 1', '"index": 2').replace('"index": 0', '"index": 1')),
        id="from 1",
    ),
    pytest.param(
        [{"content": "Let me see. "}, {"reasoning_content": "Hm, "}, {"reasoning_content": "yes."}, *CALL],
        id="after text",
    ),
    pytest.param(
        [{"reasoning": "Hm, "}, {"content": "Well."}, {"content": " Yes."}], id="reasoning, then text"
    ),
    pytest.param([{"refusal": "I ca"}, {"refusal": "n not."}], id="a refusal"),
    pytest.param(
        [
            {"function_call": {"name": "get", "arguments": ""}},
            {"function_call": {"arguments": '{"a":'}},
            {"function_call": {"arguments": "1}"}},
        ],
        id="the old form of a call",
    ),
]


def message_of(*raws):
    joined = Accumulator()
    for raw in raws:
        joined.add(raw)
    message = joined.message()["choices"][0]["message"]
    for call in message.get("tool_calls", ()):
        assert call.pop("id")
    return message


def renamed(delta):
    return json.loads(json.dumps(delta).replace("call_", "other_"))


@pytest.mark.parametrize("deltas", FORMS)
@pytest.mark.parametrize("rechunked", [False, True])
def test_everything_a_message_can_hold_is_repeated_at_every_cut(deltas, rechunked):
    whole = [chunk({"role": "assistant"}), *map(chunk, deltas), chunk({}, finish="stop")]
    again = list(map(renamed, deltas))
    if rechunked:
        again = [half for delta in again for half in halves(delta)]
    repeated = [
        chunk({"role": "assistant"}, number=1),
        *(chunk(d, number=1) for d in again),
        chunk({}, finish="stop", number=1),
    ]
    for cut in range(2, len(deltas) + 2):
        before = whole[:cut]
        records = feed(replay(delivered(*before)), *repeated)
        assert (cut, message_of(*before, *records)) == (cut, message_of(*whole))


def halves(delta):
    """Cut the one text of a delta in two."""
    for name in ("content", "reasoning_content", "reasoning", "refusal"):
        if name in delta:
            text = delta[name]
            return [{name: text[:1]}, {name: text[1:]}]
    name = "tool_calls" if "tool_calls" in delta else "function_call"
    call = delta[name][0] if name == "tool_calls" else delta[name]
    function = call["function"] if name == "tool_calls" else call
    arguments = function.get("arguments", "")
    if len(arguments) < 2:
        return [delta]
    first = json.loads(json.dumps(delta))
    second_half = json.loads(json.dumps(delta))
    for one, text in ((first, arguments[:1]), (second_half, arguments[1:])):
        holder = one[name][0]["function"] if name == "tool_calls" else one[name]
        holder["arguments"] = text
    holder.pop("name", None)
    if name == "tool_calls":
        second_half[name][0].pop("id", None)
        second_half[name][0].pop("type", None)
    return [first, second_half]


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param(
            [*CALL[:1], {"tool_calls": [{"index": 0, "function": {"arguments": '{"town": '}}]}],
            id="other arguments",
        ),
        pytest.param([{"content": "No call at all."}], id="text in place of a call"),
        pytest.param([changed(CALL, lambda s: s.replace("get", "set"))[0]], id="another name"),
        pytest.param([*CALL[:1], CALL[3]], id="another call before the first is done"),
    ],
)
def test_half_a_call_that_does_not_come_again_is_refused(deltas):
    aligner = replay(delivered(*map(chunk, CALL[:2])))
    with pytest.raises(DivergedError):
        feed(aligner, *(chunk(delta, number=1) for delta in deltas), chunk({}, finish="tool_calls", number=1))


def test_both_names_of_reasoning_are_cut_alike():
    transcript = delivered(chunk({"reasoning": "Hm", "reasoning_content": "Hm"}))
    records = feed(replay(transcript), chunk({"reasoning": "Hmm.", "reasoning_content": "Hmm."}, number=1))
    assert json.loads(records[0])["choices"][0]["delta"] == {"reasoning": "m.", "reasoning_content": "m."}


def test_a_chunk_that_is_cut_keeps_what_else_it_holds():
    raw = chunk({"content": "Hello"}, number=1, logprobs=None, native_finish_reason="x")
    record = json.loads(feed(replay(delivered(chunk({"content": "He"}))), raw)[0])
    assert record["choices"][0] == {
        "index": 0,
        "delta": {"content": "llo"},
        "finish_reason": None,
        "logprobs": None,
        "native_finish_reason": "x",
    }


def test_content_in_parts_is_read_as_its_text():
    raw = chunk({"content": [{"type": "text", "text": "Hello"}]}, number=1)
    assert text_of(feed(replay(delivered(chunk({"content": "He"}))), raw)) == "llo"


def test_content_that_is_no_text_is_refused_while_text_is_expected():
    raw = chunk({"content": [{"type": "thinking", "thinking": "Hm"}]}, number=1)
    with pytest.raises(DivergedError):
        feed(replay(delivered(chunk({"content": "He"}))), raw)


def test_json_beyond_64_bits_is_joined_like_any_other():
    raw = chunk({"content": "Hello"}, number=1).replace(
        '"created": 1', f'"created": {10**30}, "odd": {10**30}'
    )
    assert text_of(feed(replay(delivered(chunk({"content": "He"}))), raw)) == "llo"
