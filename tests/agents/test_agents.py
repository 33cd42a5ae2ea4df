"""Claude Code and Codex as real programs: they run a command that a scripted model asks for, and the provider is cut.

Their packages take 660 MB, so `make test` leaves them out: `make agents` installs them and runs this.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path

import pytest

from gateway_serving import serving
from messages_streams import begin, end, inputs, start, stop, texts
from node_packages import install
from responses_streams import Script, output_text, wire
from tool_provider import Provider

FOLDER = Path(__file__).parent
DONE = ("The line ", "is there, once.")
LIMIT = 120.0  # seconds for one run of an agent
CUTS = {"uncut": "", "in the text": '"add the', "in the tool's arguments": "once", "before the end": "_stop"}

pytestmark = [
    pytest.mark.skipif("EVERYTOKEN_AGENTS" not in os.environ, reason="run by `make agents`"),
    pytest.mark.timeout(300),
]


def asks_for_a_command(number: int) -> list[dict[str, object]]:
    """Return a message that runs a command; every attempt gives it other ids."""
    return [
        start(id=f"msg_{number}"),
        begin(0, "text", text=""),
        *texts(0, "I will ", "add the", " line."),
        stop(0),
        begin(1, "tool_use", id=f"toolu_{number}", name="Bash", input={}),
        *inputs(1, '{"command": "echo ', 'once >> log.txt",', ' "description": "Add a line"}'),
        stop(1),
        *end("tool_use"),
    ]


def says(*parts: str) -> list[dict[str, object]]:
    return [start(), begin(0, "text", text=""), *texts(0, *parts), stop(0), *end()]


def messages(body: dict[str, object], number: int) -> tuple[bool, list[bytes]]:
    """Return whether a request to `/messages` is the one that gets the command, and the events that answer it."""
    last = body["messages"][-1]["content"]
    ran = isinstance(last, list) and any(part.get("type") == "tool_result" for part in last)
    runs = not ran and any(tool.get("name") == "Bash" for tool in body.get("tools", ()))
    events = asks_for_a_command(number) if runs else says(*DONE)
    return runs, [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events]


def responses(body: dict[str, object], number: int) -> tuple[bool, list[bytes]]:
    """Do the same for `/responses`."""
    ran = any(item.get("type") == "function_call_output" for item in body["input"])
    script = Script("abcdef"[number % 6])
    if ran:
        script.message((output_text(), DONE))
    else:
        script.message((output_text(), ("I will ", "add the", " line.")))
        script.call("exec_command", ('{"cmd": "echo ', "once >> ", 'log.txt"}'))
    return not ran, wire(script.end())


def claude(url: str) -> tuple[list[str], dict[str, str]]:
    # The package's own link to its program is made by a script, and `npm ci` may be told to run none.
    (program,) = (FOLDER / "node_modules" / "@anthropic-ai").glob("claude-code-*/claude")
    return [str(program), "-p", "Add the line.", "--allowedTools", "Bash"], {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "sk-ant-of-the-caller-0000",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


def codex(url: str) -> tuple[list[str], dict[str, str]]:
    provider = {"name": "gateway", "base_url": f"{url}/v1", "wire_api": "responses", "env_key": "GATEWAY_KEY"}
    options = [f"model_providers.gateway.{name}={json.dumps(value)}" for name, value in provider.items()]
    settings = [word for option in ("model_provider=gateway", *options) for word in ("-c", option)]
    program = FOLDER / "node_modules" / ".bin" / "codex"
    flags = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-m", "gpt-5"]
    return [str(program), "exec", *flags, *settings, "Add the line."], {
        "GATEWAY_KEY": "sk-of-the-caller-000000"
    }


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("agent", [claude, codex])
async def test_a_command_is_run_once_whatever_breaks(agent, cut, tmp_path):
    install(FOLDER)
    answers = {"/v1/messages": messages, "/v1/responses": responses}
    provider = Provider(
        answers, cut.replace("_stop", "output_item.done" if agent is codex else "message_delta")
    )
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    async with provider.served(), serving(provider.upstream) as gateway:
        command, environ = agent(gateway.url)
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
    assert provider.cuts == bool(cut)
    assert provider.calls == (2 if cut else 1)
