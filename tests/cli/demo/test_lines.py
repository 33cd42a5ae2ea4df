"""Text that comes token by token, in lines that fit a terminal."""

from __future__ import annotations

import pytest

from everytoken.cli.demo.lines import Column, folded, painted


def lines(column, *pieces):
    return [line for piece in pieces for line in column.push(piece)] + [column.open]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["One two three"], ["One two", "three"]),
        (["One tw", "o thr", "ee"], ["One two", "three"]),
        (["One\n\ntwo"], ["One", "", "two"]),
        (["12345678901"], ["12345678", "901"]),
        (["流式传输让"], ["流式传输", "让"]),
    ],
)
def test_lines_are_broken_at_spaces_or_where_they_are_full(pieces, expected):
    assert lines(Column(8), *pieces) == expected


def test_what_follows_a_cut_stands_in_the_same_column_below():
    column = Column(12)
    column.push("One tw")
    assert column.cut() == ["One tw"]
    assert lines(column, "o three") == ["      o", "three"]


def test_a_word_that_does_not_fit_behind_a_cut_begins_the_next_line():
    column = Column(12)
    column.push("One two th")
    column.cut()
    assert lines(column, "ree four") == ["ree four"]


def test_an_empty_line_is_not_cut():
    assert Column(12).cut() == []


def test_folded_lines_are_indented():
    assert folded("✗ one two three", 9, "  ") == ["✗ one two", "  three"]


def test_nobody_gets_colours_who_wants_none(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert painted("x", "2") == "\x1b[2mx\x1b[0m"
    assert painted("", "2") == ""
    monkeypatch.setenv("NO_COLOR", "1")
    assert painted("x", "2") == "x"
