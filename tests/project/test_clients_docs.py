"""docs/clients.md says what its programs do: each is run, and its connection cut."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from clients_table import (
    CLIENTS,
    COLUMNS,
    OURS,
    PROGRAMS,
    THEIRS,
    URL,
    WITH_FRAMEWORKS,
    Client,
    documented,
    render,
    row,
)
from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.upstream.local import MODEL, LocalModel
from gateway_serving import serving
from other_programs import PROGRAMS as FOLDER
from other_programs import Run, stop_interpreters
from sampling import SOAK, sampled
from tool_provider import AFTER, BEFORE, WEATHER, Provider

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
@pytest.mark.parametrize("client", sampled(CLIENTS, 12), ids=lambda client: re.sub(r"[`…]", "", client.name))
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


# With tools, and the upstream cut

TOOL_LOOPS = (FOLDER / "tools.py").read_text("utf-8")
LOOPS = [
    *((OURS, name) for name in ("openai_chat", "openai_responses", "anthropic_loop", "anthropic_runner")),
    *((OURS, name) for name in ("langchain_chat", "langchain_responses")),
    *((WITH_FRAMEWORKS, name) for name in ("openai_agents", "openai_agents_chat", "langchain_anthropic")),
    *((WITH_FRAMEWORKS, f"pydantic_ai_{api}") for api in ("chat", "responses", "anthropic")),
    *((THEIRS, f"litellm_{api}") for api in ("chat", "messages", "responses")),
]
TEXT, ARGUMENTS = "me ", "Par"
CUTS: dict[str, list[str]] = {"in the text, then in the arguments": [TEXT, ARGUMENTS]}
if SOAK:
    CUTS |= {"in the text": [TEXT], "in the arguments": [ARGUMENTS], "behind the arguments": ['is\\"}']}


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("way", "program"), sampled(LOOPS, 16), ids=lambda one: one if isinstance(one, str) else "with"
)
class TestATool:
    """An answer that calls a tool is cut at the upstream, and each client runs the tool once, or is told."""

    async def run(self, way, program, *cuts, always=False):
        way.ready()
        async with (
            Provider(WEATHER, *cuts, always=always).served() as provider,
            serving(provider.upstream, policy=Policy(backoff=0.0)) as gateway,
        ):
            run = Run()
            await way.run(run, f"{TOOL_LOOPS}\n{program}({gateway.url!r})\n", gateway.url)
        return run, provider

    @pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
    async def test_is_called_once_by_an_answer_that_was_cut(self, way, program, cuts):
        run, provider = await self.run(way, program, *cuts)
        assert run.error is None, run.said
        assert run.printed == f"{''.join(BEFORE)}[Paris]{''.join(AFTER)}"
        assert (provider.calls, provider.cuts) == (len(cuts) + 1, len(cuts))

    async def test_is_never_called_by_half_a_call(self, way, program):
        run, provider = await self.run(way, program, ARGUMENTS, always=True)
        assert run.error is not None
        assert run.printed == "".join(BEFORE)
        assert "attempts failed" in run.said
        assert provider.cuts == provider.calls > 1


@pytest.mark.timeout(240)
async def test_a_real_model_answers_in_every_api() -> None:
    """llama.cpp's own server: two clients with the same key are shown one text by each API."""
    async with LocalModel(context_tokens=512, parallel=1) as model:
        url, key = model.endpoint.base_url, model.endpoint.api_key
        async with serving(UpstreamConfig(name="llama", url=url, key=key)) as gateway:
            known = {URL: gateway.url, '"any"': f'"{MODEL}"'}
            for one in ("openai", "responses", "anthropic"):
                said = []
                for program in (one, f"{one}-async"):
                    code = PROGRAMS[program]
                    for old, new in {**known, "question-1": one}.items():
                        assert old in code
                        code = code.replace(old, new)
                    run = Run()
                    await OURS.run(run, code, gateway.url)
                    assert run.error is None, run.said
                    said.append(run.printed)
                assert said[0]
                assert said[0] == said[1]
