"""Node's SDKs of Messages and Responses against `everytoken serve`, and with `everytoken.fetch`: `tests/sdks`, run by node."""

from __future__ import annotations

from pathlib import Path

import pytest

from node_packages import built, run_node_tests

FOLDER = Path(__file__).parent
PACKAGE = FOLDER.parents[1] / "js"


@pytest.mark.timeout(320)  # a busy machine takes its time
@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.test.mjs")))
def test_node_sdks(name: str) -> None:
    built(PACKAGE)
    run_node_tests(FOLDER, name, limit=300)
