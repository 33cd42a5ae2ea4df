"""Cuts in three APIs, on three journals, through the gateway: exact, or an explicit error. docs/faults.md shows it."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

import api_faults
from api_faults import (
    ANSWER,
    API,
    JOURNALS,
    Cell,
    cells,
    fields_of,
    judged,
    result_of,
    sample,
    tables,
)
from everytoken.testing.upstream import APIS as RENDERED
from fault_table import DOCUMENT

SOAK = bool(os.environ.get("EVERYTOKEN_SOAK"))


@pytest.mark.parametrize("journal", JOURNALS)
@pytest.mark.parametrize("api", API)
async def test_a_cut_answer_is_repaired_or_its_error_is_told(api, journal):
    """If this fails only for what the document says, run `python tests/fault_table.py` and read what has changed."""
    told = fields_of(DOCUMENT.read_text(encoding="utf-8"))
    for cell in cells([api], [journal]) if SOAK else sample(api, journal):
        result = await result_of(cell)
        assert (cell, result) == (cell, "exact") or cell.when == "always"
        assert result in told[cell[:3]], cell


@pytest.mark.parametrize("api", API)
def test_every_field_is_in_the_sample(api):
    assert {cell[:4] for cell in sample(api, "memory")} == {cell[:4] for cell in cells([api])}
    assert {cell.cut for cell in sample(api, "memory")} == set(api_faults.CUTS)


@pytest.mark.parametrize("place", ["text", "arguments", "end"])  # before them all attempts say the same
@pytest.mark.parametrize("api", API)
async def test_an_upstream_that_says_something_else_each_time_is_never_joined(api, place, monkeypatch):
    moody = replace(ANSWER, deterministic=False, prefill="refuse")
    monkeypatch.setattr(api_faults, "ANSWER", moody)
    for when in ("first", "always"):
        result = await result_of(Cell(api, place, when, True, "memory", "close"))
        assert result.startswith("interrupted: ")


def events_of(api):
    plan = RENDERED[api][1](ANSWER, {**API[api].ask, "stream": True}, number=0)
    lines = b"".join(plan.pieces).decode().split("\n")
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


ERROR = json.dumps({"type": "error", "error": {"code": "x"}})


@pytest.mark.parametrize("api", API)
def test_the_judge_knows_a_wrong_answer(api):
    events = events_of(api)
    assert judged(API[api], events) == "exact"
    texts = [
        number for number, event in enumerate(events) if API[api].text in event.encode() and "look" in event
    ]
    at = texts[0]
    wrong = {
        "silent": events[:-1],
        "empty": [],
        "doubled": [*events[: at + 1], *events[at:]],
        "a piece is missing": [*events[:at], *events[at + 1 :]],
        "other words": [*events[:at], events[at].replace("look", "took"), *events[at + 1 :]],
        "an end behind an error": [*events[:at], ERROR, *events[at:]],
        "an error behind the end": [*events, ERROR],
        "two ends": [*events, events[-1]],
        "other words, and an error": [*events[:at], events[at].replace("look", "took"), ERROR],
    }
    for name, stream in wrong.items():
        with pytest.raises((AssertionError, KeyError)):
            pytest.fail(f"{name}: {judged(API[api], stream)}")
    assert judged(API[api], [*events[:at], ERROR]) == "interrupted: `x`"
    assert judged(API[api], [ERROR]) == "failed: `x`"


def test_fields_that_differ_are_told_apart():
    found = {
        Cell("chat", "one", "first", True, journal, "close"): "exact"
        if journal == "memory"
        else "failed: `x`"
        for journal in JOURNALS
    }
    text = api_faults._told(found)
    assert text == "exact (`close`, memory); failed: `x` (`close`, redis; `close`, sqlite)"


def test_the_tables_can_be_read_again():
    results = dict.fromkeys(cells(journals=["memory"]), "exact")
    assert set(fields_of(tables(results)).values()) == {"exact"}
    assert len(fields_of(tables(results))) == len(results) // len(api_faults.CUTS) // 2
