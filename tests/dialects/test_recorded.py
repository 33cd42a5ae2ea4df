"""Answers recorded from a real server, in each API, cut at every place: exact, or an explicit error."""

from __future__ import annotations

import base64
import json
import os
import re
from itertools import pairwise
from pathlib import Path

import pytest

from api_faults import spoken
from everytoken.dialects.registry import dialect_named
from everytoken.errors import ConnectError, TruncatedError
from everytoken.recovery import Breaker, Connect, LearnedCapabilities, Policy, Recovery, Target

FIXTURES = Path(__file__).parents[1] / "fixtures" / "upstreams"
FOLDERS = {"openai-chat": "", "anthropic-messages": "messages", "openai-responses": "responses"}
ENDS = {"message_stop", "response.completed", "response.incomplete"}
POLICY = Policy(backoff=0.0, backoff_max=0.0)
SOAK = bool(os.environ.get("EVERYTOKEN_SOAK"))
PARTS = 24 if SOAK else 1  # each within the time that a test may take


def recordings():
    """Yield the dialect, the request and the bytes of each streamed answer."""
    for dialect, folder in FOLDERS.items():
        for path in sorted((FIXTURES / folder).glob("*.jsonl")):
            head, *reads = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            body = b"".join(base64.b64decode(read["data"]) for read in reads)
            if head["status"] == 200 and head["request"].get("stream"):
                yield pytest.param(dialect, head["request"], body, id=f"{dialect} {head['name']}")


def play(dialect, asked, attempt):
    """Return the recovery and the records of an answer whose n-th attempt sends `attempt(n)`: bytes, and whether they end well.

    Without streaming there is no answer.
    """
    learned = LearnedCapabilities()
    recovery = Recovery(
        request=dialect.request(asked),
        targets=[Target(name="a", policy=POLICY)],
        seed=None,
        jitter=lambda: 0.0,
        experience=lambda _: learned,
        breaker=Breaker(threshold=1000),
    )
    records: list[bytes] = []
    number = 0
    recovery.start(0.0)
    while recovery.outcome is None:
        decisions, recovery.decisions = list(recovery.decisions), type(recovery.decisions)()
        connects = [decision for decision in decisions if isinstance(decision, Connect)]
        if not connects:
            records += recovery.tick(recovery.deadline)
            continue
        data, ends_well = attempt(number)
        number += 1
        if not connects[0].streamed:
            records += recovery.fail(0.0, ConnectError("no connection"))
            continue
        recovery.accept(0.0)
        records += recovery.receive_data(0.0, data)
        if recovery.outcome is None:
            end = recovery.receive_eof(0.0) if ends_well else recovery.fail(0.0, TruncatedError("cut"))
            records += end
    return recovery, records


def answer_in(dialect, records):
    """Return what an answer says, and how it ended, without what differs between one attempt and several."""
    joined = dialect.accumulator()
    for record in records:
        joined.add(record)
    whole = joined.message()
    names = ("choices", "content", "stop_reason", "stop_sequence", "output", "status", "incomplete_details")
    return {name: whole[name] for name in names if name in whole}


def places(body, part):
    """Return where to cut: at every byte in a soak; else around the end of each event, in its middle, and in every character."""
    if SOAK:
        return range(part, len(body), PARTS)
    borders = [0, *(match.end() for match in re.finditer(b"\n\n", body))]
    middles = [(begin + end) // 2 for begin, end in pairwise(borders)]
    characters = [match.start() + 1 for match in re.finditer(rb"[\xc2-\xf4]", body)]
    around = [border + step for border in borders for step in (-1, 1)]
    return sorted({at for at in (*borders, *middles, *characters, *around) if 0 <= at < len(body)})


def continuable(asked):
    return asked.get("n", 1) == 1 and not asked.get("logprobs")


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("ends_well", [True, False], ids=["a clean end", "a break"])
@pytest.mark.parametrize(("name", "asked", "body"), list(recordings()))
def test_cut_once_it_is_the_uncut_answer(name, asked, body, ends_well, part):
    dialect = dialect_named(name)
    recovery, records = play(dialect, asked, lambda _: (body, True))
    assert recovery.outcome == "completed"
    whole = answer_in(dialect, records)
    for at in places(body, part):
        cut = (body[:at], ends_well)
        recovery, records = play(dialect, asked, lambda number, cut=cut: (body, True) if number else cut)
        if recovery.outcome != "completed":
            assert (at, recovery.error.code) == (at, "not-continuable")
            assert not continuable(asked)
            continue
        assert (at, answer_in(dialect, records)) == (at, whole)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(("name", "asked", "body"), list(recordings()))
def test_cut_always_it_is_a_beginning_and_an_error(name, asked, body, part):
    dialect = dialect_named(name)
    _, records = play(dialect, asked, lambda _: (body, True))
    whole = "".join(spoken(list(map(json.loads, records)))) if continuable(asked) else ""
    for at in places(body, part)[:: 1 if SOAK else 3]:
        cut = (body[:at], True)
        recovery, records = play(dialect, asked, lambda _, cut=cut: cut)
        values = list(map(json.loads, records))
        if recovery.outcome == "completed":
            # Nothing but the end mark, or what stands behind it, was missing.
            assert whole == "".join(spoken(values)) or not continuable(asked), at
            continue
        assert recovery.outcome in {"interrupted", "failed"}
        assert recovery.error is not None
        assert not {value.get("type") for value in values} & ENDS, at
        assert not any(
            choice.get("finish_reason") for value in values for choice in value.get("choices", ())
        ) or not continuable(asked), at
        if continuable(asked):
            assert whole.startswith("".join(spoken(values))), at


def test_there_are_recordings_of_every_api():
    found = [one.values[0] for one in recordings()]
    assert set(found) == set(FOLDERS)
    assert all(found.count(name) >= 3 for name in FOLDERS)
