"""The AI SDK (`ai`, `@ai-sdk/react`) against `everytoken serve`: `tests/aisdk`, run by node."""

from __future__ import annotations

from pathlib import Path

import pytest

from node_packages import BROWSER_TESTS, install, run_node_tests


@pytest.mark.parametrize("name", ["usechat.test.mjs", "versions.test.mjs"])
def test_aisdk(name: str) -> None:
    install(BROWSER_TESTS)  # it shares their upstream and their gateway
    run_node_tests(Path(__file__).parent, name, NODE_ENV="production")
