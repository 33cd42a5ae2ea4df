"""Answers of any kind through all nine pairs of APIs: the SDK of the caller sees what that of the upstream would."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everytoken.dialects.registry import dialect_named
from everytoken.errors import TruncatedError
from everytoken.translation.events import (
    CLOSED,
    Arguments,
    Began,
    CallBegan,
    CallEnded,
    Citation,
    Ended,
    Reasoned,
    Refused,
    Sealed,
    Usage,
    Wrote,
)
from sampling import SOAK
from translated import (
    APIS,
    ASK,
    MESSAGES,
    PAIRS,
    READERS,
    WRITERS,
    neutral,
    read_by_sdk,
    translated,
    written,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
JSON = st.dictionaries(
    st.text("ab", min_size=1), st.one_of(TEXT, st.integers(-9, 9), st.just([{}, None])), max_size=3
)
WORD = st.text("abcxyz_", min_size=1, max_size=8)


@st.composite
def usages(draw):
    cached, made, rest = (draw(st.integers(0, 9)) for _ in range(3))
    reasoning, words = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    return Usage(
        prompt=cached + made + rest,
        answer=reasoning + words,
        cached=draw(st.sampled_from([cached])),
        written=made,
        reasoning=reasoning,
    )


@st.composite
def pieces(draw, text):
    """Cut a text."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=2)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return [part for part in parts if part]


@st.composite
def texts(draw):
    events = [Wrote(text) for text in draw(st.lists(TEXT, min_size=1, max_size=3))]
    if draw(st.booleans()):
        events.append(Citation("http://" + draw(WORD), draw(WORD)))
    return [*events, CLOSED] if draw(st.booleans()) else events


@st.composite
def thoughts(draw):
    summary = draw(st.booleans())
    events = [Reasoned(text, summary) for text in draw(st.lists(TEXT, min_size=1, max_size=3))]
    end = draw(st.sampled_from([[], [CLOSED], [Sealed("sig=="), CLOSED]]))
    return [*events, *end]


@st.composite
def calls(draw, first):
    """Return calls under way together, whose pieces come in turns, or one."""
    count = draw(st.integers(1, 3))
    events, rest = [], []
    for number in range(first, first + count):
        events.append(CallBegan(number, f"call_{number}", draw(WORD)))
        given = draw(st.one_of(st.just(""), JSON.map(json.dumps)))
        rest.append([*(Arguments(number, piece) for piece in draw(pieces(given))), CallEnded(number)])
    if draw(st.booleans()):
        # One behind the other, as most servers do.
        return count, [event for one, more in zip(events, rest, strict=True) for event in (one, *more)]
    while any(rest):
        one = draw(st.sampled_from([more for more in rest if more]))
        events.append(one.pop(0))
    return count, events


@st.composite
def answers(draw):
    events = [Began("id1", "model-x", 1_700_000_001)]
    begun = 0
    for kind in draw(st.lists(st.sampled_from(["text", "thought", "calls"]), max_size=4)):
        if kind == "calls":
            count, more = draw(calls(begun))
            begun += count
        else:
            more = draw(texts() if kind == "text" else thoughts())
        events += more
    reasons = ["tool_calls"] if begun else ["stop", "stop_sequence", "content_filter", "refusal"]
    reason = draw(st.sampled_from(["length", *reasons]))
    if reason == "stop" and draw(st.booleans()):
        events += [Refused(text) for text in draw(st.lists(TEXT, min_size=1, max_size=2))]
    return [*events, Ended(reason, draw(usages()), "END" if reason == "stop_sequence" else None)]


@pytest.mark.parametrize(("source", "target"), PAIRS)
@given(answer=answers())
@settings(max_examples=100 if SOAK else 12, deadline=None)
def test_the_callers_sdk_reads_what_the_upstreams_own_would(source, target, answer):
    upstream = written(source, answer)
    truth = read_by_sdk(source, upstream)
    seen = read_by_sdk(target, translated(source, target, upstream))
    assert seen == truth


@pytest.mark.parametrize(("source", "target"), PAIRS)
@given(answer=answers())
@settings(max_examples=50 if SOAK else 6, deadline=None)
def test_only_the_upstreams_own_end_is_an_end(source, target, answer):
    upstream = written(source, answer)
    dialect = dialect_named(target)
    reader, writer = READERS[source](), WRITERS[target](ASK[target])
    decoder = dialect.decoder(dialect.request(ASK[target]), dialect.history(), first=True)
    ended = False
    for number, event in enumerate(upstream):
        cut = READERS[source]()
        for before in upstream[:number]:
            cut.read(before)
        if cut.terminal:
            assert number == len(upstream) - 1 or source == "openai-chat"
            cut.receive_eof()
        else:
            with pytest.raises(TruncatedError):
                cut.receive_eof()
        assert not ended
        assert not decoder.terminal
        for one in writer.write(reader.read(event)):
            decoder.read(one)
        ended = reader.done
    assert (ended, decoder.terminal, reader.terminal) == (True, True, True)
    decoder.receive_eof()
    assert not reader.receive_eof()


@pytest.mark.parametrize("api", APIS)
@given(answer=answers())
@settings(max_examples=100 if SOAK else 20, deadline=None)
def test_what_is_read_back_says_the_same(api, answer):
    again = neutral(api, written(api, answer))
    assert written(api, again) == written(api, neutral(api, written(api, again)))
    for kind in (Wrote, Reasoned):
        assert "".join(event.text for event in again if isinstance(event, kind)) == "".join(
            event.text
            for event in answer
            if isinstance(event, kind) or (kind is Wrote and api == MESSAGES and isinstance(event, Refused))
        )


@pytest.mark.parametrize(("source", "target"), PAIRS)
@given(answer=answers())
@settings(max_examples=50 if SOAK else 6, deadline=None)
def test_there_and_back_again(source, target, answer):
    answer = [event for event in answer if not isinstance(event, (Refused, Sealed, Citation))]
    if answer[-1].reason in {"stop_sequence", "refusal", "content_filter"}:
        answer[-1] = Ended("stop", answer[-1].usage)
    upstream = written(source, answer)
    back = translated(target, source, translated(source, target, upstream))
    assert read_by_sdk(source, back) == read_by_sdk(source, upstream)
