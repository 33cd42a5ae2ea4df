"""Rows in columns."""

from __future__ import annotations

from everytoken.cli.tables import table, when


def test_columns_are_as_wide_as_they_have_to_be():
    assert table(["A", "LONG"], [["x" * 50, "y"], ["longer", "z" * 50]]).splitlines() == [
        f"{'A':<40}  LONG",
        "x" * 39 + "…  y",
        f"{'longer':<40}  {'z' * 50}",
    ]


def test_without_rows_there_is_nothing():
    assert table(["A"], []) == ""


def test_a_time_is_that_of_whoever_reads_it(monkeypatch):
    assert when(None, "never") == "never"
    assert len(when(1_800_000_000.0, "never")) == 16
