"""The npm package in `js/`: built, and its own tests run by node's test runner."""

from __future__ import annotations

from pathlib import Path

import pytest

from node_packages import BROWSER_TESTS, BROWSERS, built, install, run_node_tests

PACKAGE = Path(__file__).parents[1] / "js"
FILES = sorted(path.name for path in (PACKAGE / "test").glob("*.test.mjs"))


@pytest.mark.parametrize("name", FILES)
def test_js(name: str) -> None:
    if name == "react.test.mjs":
        if not any(path and Path(path).exists() for path in BROWSERS):
            pytest.skip("no Chromium or Chrome found: set CHROMIUM to its path")
        install(BROWSER_TESTS)
    built(PACKAGE)
    run_node_tests(PACKAGE, f"test/{name}")


def test_the_lock_file_names_no_registry() -> None:
    text = (PACKAGE / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
    assert "registry" not in text
