"""Requests of Claude Code 2.1.197 and Codex 0.171.0, as they sent them to a scripted provider, with their texts shortened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neutral_requests import APIS, CHAT, MESSAGES, RESPONSES, translated
from request_types import check

FOLDER = Path(__file__).parents[1] / "fixtures" / "requests"
CLAUDE_CODE = json.loads((FOLDER / "claude_code.json").read_text(encoding="utf-8"))
CODEX = json.loads((FOLDER / "codex.json").read_text(encoding="utf-8"))
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
}


@pytest.mark.parametrize("upstream", APIS)
@pytest.mark.parametrize(
    ("body", "caller"),
    [pytest.param(CLAUDE_CODE, MESSAGES, id="Claude Code"), pytest.param(CODEX, RESPONSES, id="Codex")],
)
def test_an_agent_works_over_an_upstream_of_any_api(body, caller, upstream):
    there = translated(body, caller, upstream)
    check(upstream, there)
    assert there["stream"] is True
    assert there["model"] == body["model"]


def test_claude_code_over_chat_completions():
    there = translated(CLAUDE_CODE, MESSAGES, CHAT)
    assert [message["role"] for message in there["messages"]] == [
        "system",
        "user",
        "system",
        "assistant",
        "tool",
    ]
    assert [tool["function"]["name"] for tool in there["tools"]] == [
        tool["name"] for tool in CLAUDE_CODE["tools"]
    ]
    assert there["messages"][3]["tool_calls"][0]["id"] == there["messages"][4]["tool_call_id"] == "toolu_0"
    assert there["reasoning_effort"] == CLAUDE_CODE["output_config"]["effort"]
    assert there["max_tokens"] == 64000
    assert len(there["user"]) == 64  # of 150 characters


def test_codex_over_messages():
    body = {**CODEX, "tools": [*CODEX["tools"], PATCH], "text": {"verbosity": "low"}}
    body["reasoning"] = {"effort": "medium", "summary": "auto"}
    there = translated(body, RESPONSES, MESSAGES)
    check(MESSAGES, there)
    names = [tool["name"] for tool in there["tools"]]
    assert names[:4] == ["exec_command", "write_stdin", "request_user_input", "view_image"]
    assert "multi_agent_v1__spawn_agent" in names
    assert "web_search" not in names
    patch = there["tools"][-1]
    assert patch["name"] == "apply_patch"
    assert "lark" in patch["description"]
    assert [message["role"] for message in there["messages"]] == ["user", "assistant", "user"]
    assert there["messages"][2]["content"][0]["type"] == "tool_result"
    assert there["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert there["output_config"] == {"effort": "medium"}
