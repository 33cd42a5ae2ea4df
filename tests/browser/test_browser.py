"""The chat page in a real browser: `tests/browser/*.test.mjs`, run by node against `everytoken serve`."""

from __future__ import annotations

from pathlib import Path

import pytest

from node_packages import BROWSER_TESTS, built, node_tests
from sampling import SOAK

PACKAGE = Path(__file__).parents[2] / "js"
# These need an example or the site, built: see project/test_examples.py, project/test_docs_site.py
EXAMPLES = {"component.test.mjs", "nextjs.test.mjs", "site.test.mjs"}
WITH_PACKAGE = ["embedded.test.mjs", "long.test.mjs", "origins.test.mjs"]
SLOW = {"embedded.test.mjs", "long.test.mjs"}  # minutes each: in a soak
FILES = sorted({path.name for path in BROWSER_TESTS.glob("*.test.mjs")} - EXAMPLES - {*WITH_PACKAGE})


@pytest.mark.parametrize("name", FILES)
def test_browser(name: str) -> None:
    node_tests(name)


@pytest.mark.timeout(320)  # a busy machine writes a few tokens a second
@pytest.mark.parametrize("name", [name for name in WITH_PACKAGE if SOAK or name not in SLOW])
def test_browser_with_the_npm_package(name: str) -> None:
    built(PACKAGE)
    node_tests(name, limit=300)
