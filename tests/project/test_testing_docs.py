"""docs/testing.md and `everytoken fake-upstream` do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from everytoken.testing import ALL_POSITIONS, FAULTS, POSITIONS

DOCS = Path(__file__).parents[2] / "docs" / "testing.md"
TEXT = DOCS.read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PLACES = {ALL_POSITIONS: "every", POSITIONS: "every but `end`", ("start",): "–"}


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs(number):
    exec(compile(SNIPPETS[number], f"docs/testing.md, snippet {number}", "exec"), {"__name__": "snippet"})


def fault_table():
    rows = ["| fault | kind | what happens | positions |", "|---|---|---|---|"]
    for name, fault in FAULTS.items():
        places = PLACES.get(fault.positions) or ", ".join(f"`{place}`" for place in fault.positions)
        rows.append(f"| `{name}` | {fault.kind} | {fault.description} | {places} |")
    return "\n".join(rows)


def test_the_table_of_faults_is_the_registry():
    """If this fails, put what `fault_table()` returns between the two comments."""
    assert (
        re.search(r"<!-- faults: begin .*-->\n(.*)\n<!-- faults: end -->", TEXT, re.DOTALL)[1]
        == fault_table()
    )
