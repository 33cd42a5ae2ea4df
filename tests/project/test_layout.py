"""How large modules and classes may be. Long ones have more than one subject, and are split by it."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "everytoken"
MODULES = {str(path.relative_to(SOURCE)): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}

LONGEST_MODULE = 450
LONGEST_CLASS = 250
MEDIAN_MODULE = 150
KNOWN: set[str] = set()


def long_modules(modules: dict[str, str]) -> dict[str, int]:
    """Return the modules over the limit, and how many lines they have."""
    lengths = {name: len(text.splitlines()) for name, text in modules.items()}
    return {name: length for name, length in lengths.items() if length > LONGEST_MODULE}


def long_classes(modules: dict[str, str]) -> dict[str, int]:
    """Return the classes over the limit as `module:class`, and how many lines they have, decorators not counted."""
    found = {}
    for name, text in modules.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                found[f"{name}:{node.name}"] = (node.end_lineno or 0) - node.lineno + 1
    return {name: length for name, length in found.items() if length > LONGEST_CLASS}


@pytest.mark.parametrize(
    ("lines", "modules", "classes"),
    [
        pytest.param(["class A:", *["    x = 1"] * 249], {}, {}, id="a class at the limit"),
        pytest.param(["class A:", *["    x = 1"] * 250], {}, {"a.py:A": 251}, id="a class over the limit"),
        pytest.param(
            ["class A:", "    class B:", *["        x = 1"] * 250],
            {},
            {"a.py:A": 252, "a.py:B": 251},
            id="a class inside a class",
        ),
        pytest.param(["x = 1"] * 450, {}, {}, id="a module at the limit"),
        pytest.param(["x = 1"] * 451, {"a.py": 451}, {}, id="a module over the limit"),
    ],
)
def test_the_measures_themselves(lines, modules, classes):
    sample = {"a.py": "\n".join(lines) + "\n"}
    assert (long_modules(sample), long_classes(sample)) == (modules, classes)


def test_nothing_is_too_long():
    found = long_modules(MODULES) | long_classes(MODULES)
    assert {name: length for name, length in found.items() if name not in KNOWN} == {}
    assert KNOWN - set(found) == set(), "no longer too long: remove it from KNOWN"


def test_most_modules_are_short():
    lengths = {name: len(text.splitlines()) for name, text in MODULES.items()}
    longer = sorted(name for name, length in lengths.items() if length > MEDIAN_MODULE)
    assert median(lengths.values()) <= MEDIAN_MODULE, longer
