"""docs/limits.md says what is."""

from __future__ import annotations

import runpy
from pathlib import Path

from everytoken.dialects.openai_chat import calls, decoder
from everytoken.gateway import Config
from everytoken.gateway.limits import LIMITS
from everytoken.json import bounds
from everytoken.recovery import held, live
from everytoken.sse import MAX_BYTES
from everytoken.upstream import exchange

ROOT = Path(__file__).parents[2]
DOCS = runpy.run_path(str(ROOT / "tools" / "limits_docs.py"))


def test_the_page_is_the_table():
    assert DOCS["page"]() == DOCS["PAGE"].read_text(encoding="utf-8"), "run: python tools/limits_docs.py"


def test_every_limit_of_the_configuration_has_a_row():
    named = {limit.setting for limit in LIMITS}
    limits = {
        name for name in Config.__struct_fields__ if name.startswith("max_") or name.endswith("_timeout")
    }
    assert limits - named == set()


def test_the_constants_are_what_the_page_says():
    numbers = {limit.what: limit.number for limit in LIMITS}
    assert numbers["nesting levels in a request"] == str(bounds.MAX_DEPTH)
    assert (live.MAX_QUIET, MAX_BYTES) == (16 * 1024**2, 16 * 1024**2)
    assert (held._MAX, held._MAX_BYTES) == (256, 1024**2)
    assert calls._MAX_CALLS == 1024
    assert numbers["nesting levels in what an upstream sends"] == str(bounds.MAX_UPSTREAM_DEPTH)
    assert (bounds.MAX_VALUES, calls._MAX_NAME, decoder.MAX_CHOICES) == (1_000_000, 1024, 128)
    assert exchange._MAX_INFLATED == 256 * 1024
