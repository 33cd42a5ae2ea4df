"""Rules of this repository that ruff does not know."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def literal_sleeps(source: str) -> list[int]:
    """Return the lines with a call of `sleep` that waits a literal time."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and (getattr(node.func, "attr", None) or getattr(node.func, "id", None)) == "sleep"
        and any(
            isinstance(part, ast.Constant) and part.value
            for argument in node.args
            for part in ast.walk(argument)
        )
    ]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        pytest.param("import time\ntime.sleep(0.1)", [2], id="a literal time is found"),
        pytest.param("await asyncio.sleep(2 * 3)", [1], id="a product of literals is found"),
        pytest.param("sleep(1)", [1], id="a bare name is found"),
        pytest.param("await asyncio.sleep(0)", [], id="giving way is no sleep"),
        pytest.param("await asyncio.sleep(pause)", [], id="a named time is allowed"),
    ],
)
def test_the_rule_itself(source, lines):
    assert literal_sleeps(source) == lines


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_sleeps(path):
    """Tests wait for events, or use `@pytest.mark.virtual_time`."""
    # This file's own samples are text, so they do not count.
    assert literal_sleeps(path.read_text(encoding="utf-8")) == []
