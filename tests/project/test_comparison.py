"""`docs/comparison.md`: every cell has a source, every source is used, and what we have measured is what the other pages say."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
WITHOUT = {"not tried", "not found", "not looked for", "–", "0", "no"}


def rows(text: str) -> list[list[str]]:
    """Return the rows of all tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    tables = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    marks = [number for number, cells in enumerate(tables) if set(cells[0]) <= {"-"} and cells[0]]
    heads = {*marks, *(mark - 1 for mark in marks)}
    return [cells for number, cells in enumerate(tables) if number not in heads]


def sources() -> dict[str, str]:
    """Return the numbered sources."""
    listed = PAGE.partition("\n## Sources\n")[2]
    return dict(re.findall(r"^(\d+)\. (.*(?:\n {3,}.*)*)", listed, re.MULTILINE))


def test_every_cell_has_a_source_or_says_that_there_is_none():
    told = rows(PAGE.partition("\n## Sources\n")[0])
    assert len(told) > 15
    known = set(sources())
    for name, ours, *others in told:
        for cell in others:
            if cell not in WITHOUT:
                found = re.findall(r"\[(\d+)\]", cell)
                assert found, (name, cell)
                assert set(found) <= known, (name, cell)
        assert ours in {"no", "Python, Apache-2.0", "chat completions, Messages, Responses"} or "[" in ours, (
            name
        )


def test_every_source_is_used_and_can_be_read():
    used = set(re.findall(r"\[(\d+)\]", PAGE.partition("\n## Sources\n")[0]))
    assert used == set(sources())
    for number, text in sources().items():
        assert re.search(r"\]\((?:https://|[a-z]+\.md)", text), number


def measured(pattern: str) -> str:
    [found] = re.findall(pattern, BENCHMARKS)
    return found


def test_the_numbers_are_those_of_the_benchmarks():
    """If this fails after `make bench`: write its numbers into docs/comparison.md and README.md."""
    ours = measured(r"costs ([\d.]+) \([^)]*\) times the CPU of nginx")
    theirs = measured(r"LiteLLM proxy ([\d.]+) \([^)]*\)× with 20 responses")
    assert f"| CPU per chunk, nginx = 1 | {ours} in memory [16] | {theirs} [16] |" in PAGE
    assert f"| CPU per chunk, nginx = 1 | {ours} | {theirs} |" in README
    first = BENCHMARKS.partition("### Time to the first token")[2].partition("\n### ")[0]
    added = {
        name: round(float(value), 1)
        for name, value in re.findall(r"^\| ([^|]+) \| [^|]+ \| ([\d.]+) ", first, re.MULTILINE)
    }
    assert f"| {added['everytoken']} ms [16] | {added['LiteLLM proxy']} ms [16] |" in PAGE
    assert f"| LiteLLM proxy {measured(r'litellm.proxy.==([0-9.]+),')} |" in PAGE


def test_what_is_said_of_our_own_faults_is_what_was_measured():
    recovery = (ROOT / "docs" / "recovery.md").read_text(encoding="utf-8")
    table = {cells[0]: cells[1:] for cells in rows(recovery) if len(cells) == 6}
    for fault in ("503, always", "the request is taken and never answered", "silent for 30 s in the middle"):
        assert table[fault][0].startswith("pass"), fault
    cut = table["cut at two thirds, always"]
    assert [cell.split()[0] for cell in cut] == ["pass", "pass", "pass", "safe", "safe"]
    assert "hangs" in table["the request is taken and never answered"][3]
