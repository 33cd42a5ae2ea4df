"""The AI SDK (`ai`, `@ai-sdk/react`) against `everytoken serve`: `tests/aisdk`, run by node."""

from __future__ import annotations

from pathlib import Path

from node_packages import BROWSER_TESTS, install, run_node_tests


def test_aisdk() -> None:
    install(BROWSER_TESTS)  # it shares their upstream and their gateway
    run_node_tests(Path(__file__).parent, "usechat.test.mjs", NODE_ENV="production")
