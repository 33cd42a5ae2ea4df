"""The chat page in a real browser: `tests/browser/*.test.mjs`, run by node against `everytoken serve`."""

from __future__ import annotations

import pytest

from node_packages import BROWSER_TESTS, node_tests

# These need an example that is built: see test_examples.py
EXAMPLES = {"component.test.mjs", "nextjs.test.mjs"}
FILES = sorted({path.name for path in BROWSER_TESTS.glob("*.test.mjs")} - EXAMPLES)


@pytest.mark.parametrize("name", FILES)
def test_browser(name: str) -> None:
    node_tests(name)
