"""Rules of this repository that ruff does not know."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]


def literal_sleeps(source: str) -> list[int]:
    """Return the lines that call `sleep` with a literal time, outside of tests marked `virtual_time`."""
    return [node.lineno for node in real_time(ast.parse(source)) if is_literal_sleep(node)]


def real_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield `node` and all below it, except what is marked `virtual_time`, where a sleep costs nothing."""
    marks = list(getattr(node, "decorator_list", ()))
    if isinstance(node, ast.Module):
        marks += [part for part in node.body if ast.unparse(part).startswith("pytestmark")]
    if not any("virtual_time" in ast.unparse(mark) for mark in marks):
        yield node
        for child in ast.iter_child_nodes(node):
            yield from real_time(child)


def is_literal_sleep(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and (getattr(node.func, "attr", None) or getattr(node.func, "id", None)) == "sleep"
        and any(
            isinstance(part, ast.Constant) and part.value
            for argument in node.args
            for part in ast.walk(argument)
        )
    )


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        pytest.param("import time\ntime.sleep(0.1)", [2], id="a literal time is found"),
        pytest.param("await asyncio.sleep(2 * 3)", [1], id="a product of literals is found"),
        pytest.param("sleep(1)", [1], id="a bare name is found"),
        pytest.param("await asyncio.sleep(0)", [], id="giving way is no sleep"),
        pytest.param("await asyncio.sleep(pause)", [], id="a named time is allowed"),
        pytest.param(
            "@pytest.mark.virtual_time\nasync def test():\n    sleep(9)", [], id="a virtual test is allowed"
        ),
        pytest.param("async def helper():\n    sleep(9)", [2], id="a test without the mark is not"),
        pytest.param(
            "pytestmark = pytest.mark.virtual_time\nsleep(9)", [], id="nor is a virtual module searched"
        ),
    ],
)
def test_the_rule_itself(source, lines):
    assert literal_sleeps(source) == lines


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_sleeps(path):
    """Tests wait for events, or use `@pytest.mark.virtual_time`."""
    # This file's own samples are text, so they do not count.
    assert literal_sleeps(path.read_text(encoding="utf-8")) == []
