"""The fault table over real sockets, and docs/faults.md, which shows it."""

from __future__ import annotations

import json

import pytest

from api_faults import HEADING
from everytoken.errors import TABLE
from everytoken.testing import FAULTS, Kind
from fault_table import ANSWER, DOCUMENT, Row, cell, fault_named, render, row

pytestmark = pytest.mark.virtual_time

ROWS: dict[str, Row] = {}


def of(kind):
    return [name for name, fault in FAULTS.items() if fault.kind is kind]


async def results_of(name):
    ROWS[name] = await row(fault_named(name))
    return ROWS[name].items()


SLOW = {"silent", "silent-after-accept", "silent-after-head", "only-comments", "only-empty-deltas"}


@pytest.mark.parametrize("name", of(Kind.BROKEN))
async def test_a_broken_answer_is_repaired_or_its_error_is_told(name):
    for case, result in await results_of(name):
        _, when, _ = case
        if when == "first":
            assert (case, str(result)) == (case, "exact")
            # A broken address gets a second try before the next upstream is asked.
            assert len(result.attempts) == (2 if FAULTS[name].address is None or name == "tls-silent" else 3)
            if name in SLOW:
                assert result.attempts[0]["cause"] is None, "it was only slow, and lost against a hedge"
            else:
                assert result.attempts[0]["cause"]["code"] in TABLE
        elif when == "second":
            assert (case, str(result)) == (case, "exact")
            assert result.elsewhere <= 1
        elif not result.exact:
            assert result.outcome == ("interrupted" if result.text else "failed"), case
            assert result.code in TABLE, case
            assert any(truth.startswith(result.text) for truth in result.truths) or not result.text, case
            assert json.loads(result.error)["error"]["code"] == result.code
        if FAULTS[name].address is None:
            assert result.requests == len(result.attempts)


@pytest.mark.parametrize("name", of(Kind.REFUSED))
async def test_a_refusal_is_passed_on_and_not_tried_again(name):
    for case, result in await results_of(name):
        if result.elsewhere:
            # What only the first refuses, its key or its models, says nothing of the second.
            assert (case[1], str(result), result.requests) == ("second", "exact", 2), case
            continue
        assert result.requests == 1, case
        assert (result.outcome, result.code) == ("failed", "upstream-status"), case


@pytest.mark.parametrize("name", of(Kind.HEALTHY))
async def test_an_odd_answer_is_passed_on_exactly(name):
    for case, result in await results_of(name):
        assert (case, str(result), result.requests, result.elsewhere) == (case, "exact", 1, 0)


async def test_a_compressed_answer_is_passed_on_as_if_it_were_not():
    fault = FAULTS["gzip"]
    plain, packed = [
        await cell(FAULTS[name], "start", "always", "continues") for name in ("no-space-data", "gzip")
    ]
    assert packed.records == plain.records
    assert packed.text == ANSWER.text
    assert fault.kind is Kind.HEALTHY


def test_the_document_shows_the_table():
    """If this fails, run `python tests/fault_table.py` and read what has changed."""
    if ROWS.keys() != FAULTS.keys():
        pytest.skip("not every row of the table was run")
    shown = DOCUMENT.read_text(encoding="utf-8").partition(f"\n{HEADING}")[0]
    assert shown == render({name: ROWS[name] for name in FAULTS})
