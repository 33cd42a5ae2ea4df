"""Claude Code and Codex as real programs: they run a command that a scripted model asks for, and the provider is cut.

Their packages take 660 MB, so `make test` leaves them out: `make agents` installs them and runs this.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from pathlib import Path

import pytest

from gateway_serving import serving
from messages_streams import begin, encoded, end, inputs, start, stop, texts
from node_packages import install
from responses_streams import Script, output_text, wire
from tool_provider import Provider

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "agents.md"
URL = "http://127.0.0.1:8000"
DONE = ("The line ", "is there, once.")
LIMIT = 120.0  # seconds for one run of an agent
BEFORE = ("I will ", "add the", " line.")
CUTS = ["", "in the text", "in the tool's arguments", "before the end"]
# The last event that comes of an answer: a part of the text, one of the arguments, or what is next to the end.
MARKS = {
    "": dict.fromkeys(("chat", "messages", "responses"), ""),
    "in the text": dict.fromkeys(("chat", "messages", "responses"), '"add the'),
    "in the tool's arguments": dict.fromkeys(("chat", "messages", "responses"), "once"),
    "before the end": {"chat": "log.txt", "messages": "message_delta", "responses": "output_item.done"},
}

pytestmark = [
    pytest.mark.skipif("EVERYTOKEN_AGENTS" not in os.environ, reason="run by `make agents`"),
    pytest.mark.timeout(300),
]


class Asked:
    """The answers of a model that asks for `tool` once, in each API, under ids that every attempt has of its own."""

    def __init__(self, tool: str, arguments: tuple[str, ...]) -> None:
        self.tool = tool
        self.arguments = arguments

    def chat(self, body: dict[str, object], number: int) -> tuple[bool, list[bytes]]:
        """Return whether a request is the one that gets the command, and the events that answer it."""
        ran = body["messages"][-1]["role"] == "tool"
        runs = not ran and any(one["function"]["name"] == self.tool for one in body.get("tools", ()))
        deltas = [{"content": text} for text in (BEFORE if runs else DONE)]
        if runs:
            call = {"index": 0, "id": f"call_{number}", "type": "function"}
            deltas.append({"tool_calls": [{**call, "function": {"name": self.tool, "arguments": ""}}]})
            deltas += [
                {"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in self.arguments
            ]
        choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls" if runs else "stop"})
        head = {"id": f"c{number}", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        events = [f"data: {json.dumps({**head, 'choices': [one]})}\n\n".encode() for one in choices]
        return runs, [*events, b"data: [DONE]\n\n"]

    def messages(self, body: dict[str, object], number: int) -> tuple[bool, list[bytes]]:
        """Do the same for `/messages`."""
        last = body["messages"][-1]["content"]
        ran = isinstance(last, list) and any(part.get("type") == "tool_result" for part in last)
        runs = not ran and any(tool.get("name") == self.tool for tool in body.get("tools", ()))
        events = [start(id=f"msg_{number}"), begin(0, "text", text="")]
        events += [*texts(0, *(BEFORE if runs else DONE)), stop(0)]
        if runs:
            events.append(begin(1, "tool_use", id=f"toolu_{number}", name=self.tool, input={}))
            events += [*inputs(1, *self.arguments), stop(1)]
        return runs, encoded([*events, *end("tool_use" if runs else "end_turn")])

    def responses(self, body: dict[str, object], number: int) -> tuple[bool, list[bytes]]:
        """Do the same for `/responses`."""
        ran = any(item.get("type") == "function_call_output" for item in body["input"])
        runs = not ran and any(tool.get("name") == self.tool for tool in body.get("tools", ()))
        script = Script("abcdef"[number % 6])
        script.message((output_text(), BEFORE if runs else DONE))
        if runs:
            script.call(self.tool, self.arguments)
        return runs, wire(script.end())


def told(language: str, number: int) -> str:
    """Return a block of docs/agents.md."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[number]


def exported(block: str) -> dict[str, str]:
    """Return the variables that a block for a shell sets."""
    return dict(re.findall(r"^export (\w+)=(.*)$", block, re.MULTILINE))


def claude(url: str, home: Path) -> tuple[list[str], dict[str, str]]:
    # The package's own link to its program is made by a script, and `npm ci` may be told to run none.
    (program,) = (FOLDER / "node_modules" / "@anthropic-ai").glob("claude-code-*/claude")
    return [str(program), "-p", "Add the line.", "--allowedTools", "Bash"], {
        **exported(told("sh", 1).replace(URL, url)),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


def codex(url: str, home: Path) -> tuple[list[str], dict[str, str]]:
    (home / ".codex").mkdir()
    (home / ".codex" / "config.toml").write_text(told("toml", 0).replace(URL, url), encoding="utf-8")
    program = FOLDER / "node_modules" / ".bin" / "codex"
    flags = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    return [str(program), "exec", *flags, "Add the line."], exported(told("sh", 2))


TOOLS = {
    claude: Asked("Bash", ('{"command": "echo ', 'once >> log.txt",', ' "description": "Add a line"}')),
    codex: Asked("exec_command", ('{"cmd": "echo ', "once >> ", 'log.txt"}')),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
@pytest.mark.parametrize("agent", [claude, codex])
async def test_a_command_is_run_once_whatever_breaks(agent, api, cut, tmp_path):
    """A provider of chat completions is found to be one; one of another API that is not the agent's is configured so."""
    install(FOLDER)
    path = {"chat": "chat/completions"}.get(api, api)
    mark = MARKS[cut][api]
    provider = Provider({f"/v1/{path}": getattr(TOOLS[agent], api)}, mark)
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    async with provider.served(), serving(provider.upstream_of(api)) as gateway:
        command, environ = agent(gateway.url, home)
        run = await asyncio.create_subprocess_exec(
            *command,
            cwd=work,
            env={"PATH": os.environ["PATH"], "HOME": str(home), **environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(LIMIT):
                output, _ = await run.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                run.kill()
    assert run.returncode == 0, output.decode()
    assert "".join(DONE) in output.decode()
    assert (work / "log.txt").read_text() == "once\n"
    assert provider.cuts == bool(mark)
    assert provider.calls == (2 if mark else 1)
