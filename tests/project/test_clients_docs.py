"""docs/clients.md says what its programs do: each is run, and its connection cut."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from clients_table import CLIENTS, COLUMNS, PROGRAMS, Client, documented, render, row
from other_programs import stop_interpreters

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="module")
def _interpreters() -> Iterator[None]:
    yield
    stop_interpreters()


def rows() -> list[tuple[str, ...]]:
    lines = [line for line in documented().splitlines() if line.startswith("| ")]
    return [tuple(line.strip("| ").split(" | ")) for line in lines]


@pytest.mark.timeout(300)  # npm may have to install first
@pytest.mark.parametrize("client", CLIENTS, ids=[re.sub(r"[`…]", "", client.name) for client in CLIENTS])
async def test_the_row_says_what_is_seen(client: Client) -> None:
    """If this fails, run `python tests/clients_table.py` and read what has changed."""
    found = {cells[0]: cells for cells in rows()}
    seen = await row(client)
    assert dict(zip(COLUMNS, found[client.name], strict=True)) == dict(zip(COLUMNS, seen, strict=True))
    assert seen[1] == "yes"


def test_every_row_and_every_program_is_run() -> None:
    assert render(rows()[1:]) == documented()
    assert [cells[0] for cells in rows()] == [COLUMNS[0], *(client.name for client in CLIENTS)]
    run = {client.program for client in CLIENTS}
    assert {name.removesuffix("-rest") for name in PROGRAMS} - {"llm-models"} == run


def test_nobody_who_can_see_an_error_sees_an_end() -> None:
    for cells in rows()[1:]:
        assert re.search(r"recovery-exhausted|with the reason|anthropic\.", cells[-1]), cells
