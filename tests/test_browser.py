"""The chat page in a real browser: `tests/browser/*.test.mjs`, run by node against `everytoken serve`."""

from __future__ import annotations

import pytest

from node_packages import BROWSER_TESTS, node_tests

# component.test.mjs needs an example that is built: see test_examples.py
FILES = sorted({path.name for path in BROWSER_TESTS.glob("*.test.mjs")} - {"component.test.mjs"})


@pytest.mark.parametrize("name", FILES)
def test_browser(name: str) -> None:
    node_tests(name)
