"""docs/apis.md says what is."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = runpy.run_path(str(ROOT / "tools" / "apis_docs.py"))


def test_the_page_is_the_tables():
    assert DOCS["page"]() == DOCS["PAGE"].read_text(encoding="utf-8"), "run: python tools/apis_docs.py"


def test_a_field_is_shown_with_what_happens_to_it_over_each_api():
    lines = DOCS["page"]().splitlines()
    assert (
        "| `stop` | yes; as `stop_sequences`; one of white space only is refused | **refused**: the API has no stop sequences |"
        in lines
    )
    assert "- `n`: other APIs give one answer to a request" in lines
