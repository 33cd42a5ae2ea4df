"""The decision records all have one form, and the index knows every one of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")
STATUS = r"accepted|rejected|superseded by \d{4}"
FORM = re.compile(
    rf"""
    \#\ (?P<number>\d{{4}}):\ (?P<title>[^\n]+)\n\n
    Status:\ (?P<status>{STATUS}),\ 20\d\d-\d\d-\d\d\n\n
    \#\#\ Context\n\n(?P<context>.+?)\n\n
    \#\#\ Decision\n\n(?P<decision>.+?)\n\n
    \#\#\ Consequences\n\n(?P<consequences>.+)\n
    """,
    re.VERBOSE | re.DOTALL,
)
ROW = re.compile(rf"^\| \[(\d{{4}})\] \| ([^|]+) \| ({STATUS}) \| ([^|]+) \|$", re.MULTILINE)
LINK = re.compile(r"^\[(\d{4})\]: (\S+)$", re.MULTILINE)


def parts(record: Path) -> dict[str, str]:
    found = FORM.fullmatch(record.read_text(encoding="utf-8"))
    assert found is not None, "title, status, context, decision, consequences: in this order and form"
    return found.groupdict()


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_a_title_a_status_a_context_a_decision_and_consequences(record):
    sections = parts(record)
    assert record.name.startswith(f"{sections['number']}-")
    assert re.findall(r"^## .*", record.read_text(encoding="utf-8"), re.MULTILINE) == [
        "## Context",
        "## Decision",
        "## Consequences",
    ]


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_lines_are_under_120_characters(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) >= 120] == []


def test_records_are_numbered_without_a_gap():
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))


def test_the_index_has_every_record_with_its_title_its_status_and_one_sentence():
    rows = ROW.findall(INDEX)
    assert [row[:3] for row in rows] == [
        (found["number"], found["title"], found["status"]) for found in map(parts, RECORDS)
    ]
    for *_, sentence in rows:
        assert re.fullmatch(r"[A-Z`][^.]*\.", sentence), sentence
    assert LINK.findall(INDEX) == [(path.name[:4], path.name) for path in RECORDS]
