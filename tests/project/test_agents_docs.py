"""`docs/agents.md`: what Claude Code and Codex are told. `make agents` runs both as the page has it."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

from everytoken.gateway.config import parse

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
AGENTS = (ROOT / "tests" / "agents" / "test_agents.py").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_agents_are_run_as_the_page_has_it():
    codex, gateway = (tomllib.loads(block) for block in blocks("toml"))
    [(name, provider)] = codex["model_providers"].items()
    assert codex["model_provider"] == name
    assert provider["base_url"] == "http://127.0.0.1:8000/v1"
    assert provider["wire_api"] == "responses"
    assert 'PAGE.read_text(encoding="utf-8")' in AGENTS
    assert gateway["upstream"][0]["models"][codex["model"]] == codex["model"]
    parse(blocks("toml")[1], {"OPENAI_API_KEY": "sk-" + "x" * 20}, where="docs/agents.md")


def test_what_the_shell_is_told():
    serve, claude, codex = ([shlex.split(line) for line in block.splitlines()] for block in blocks("sh"))
    assert serve == [["OPENAI_API_KEY=…", "everytoken", "serve", "--upstream", "https://api.openai.com/v1"]]
    told = dict(word.split("=", 1) for first, *words in claude[:-1] for word in words if first == "export")
    assert told["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8000"
    assert claude[-1][0] == "claude"
    [[_, variable], command] = codex
    assert (
        variable.partition("=")[0]
        == tomllib.loads(blocks("toml")[0])["model_providers"]["everytoken"]["env_key"]
    )
    assert command[0] == "codex"
