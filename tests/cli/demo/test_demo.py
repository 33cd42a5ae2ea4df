"""`everytoken demo` as a program: a real gateway, a real `kill -9`, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from dataclasses import replace

import httpcore2  # noqa: F401  # httpx2 would load it in the event loop
import pytest
from click.testing import CliRunner

from command_line import EVERYTOKEN, environment, wait_for
from everytoken.cli import commands
from everytoken.cli import demo as package
from everytoken.cli.demo import model as models
from everytoken.cli.demo.play import play
from everytoken.cli.demo.proof import proved
from everytoken.cli.demo.stage import Stage
from everytoken.errors import EverytokenError
from everytoken.testing import Answer, ScriptedUpstream
from terminal import Terminal

FAST = ("--scripted", "--pace", "0.003")
SOAK = bool(os.environ.get("EVERYTOKEN_SOAK"))
EXACT = "172 tokens, 0 lost, 0 doubled, order kept"


@pytest.fixture
def temporary(tmp_path):
    """A folder for everything temporary; whatever the demo has left there fails the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    yield {"TMPDIR": str(folder)}
    assert list(folder.iterdir()) == []


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def children_of(pid):
    """Return the processes whose parent is `pid`."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, check=False)
    return [int(word) for word in found.stdout.split()]


def run(*arguments, **env):
    """Run `everytoken demo` to its end; the test's own time limit bounds it."""
    return subprocess.run(
        [EVERYTOKEN, "demo", *arguments], env=environment(**env), capture_output=True, check=False
    )


def test_in_a_pipe_it_writes_plain_lines_and_the_count(temporary, tmp_path):
    """The embedded model is hidden by a package that is broken; the settings of the user's own gateways do not count."""
    (tmp_path / "everytoken_model_smollm2.py").write_text("raise ImportError\n", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    own = {"EVERYTOKEN_KEYS": "nonsense", "EVERYTOKEN_PORT": "1"}
    done = run(*FAST[1:], PYTHONPATH=path, **own, **temporary)
    said = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert "\x1b" not in said
    assert "\r" not in said
    [killed, again] = [line for line in said.splitlines() if line.startswith("[")]
    assert re.fullmatch(r"\[kill -9 \d+: the gateway is gone, \d+ tokens have arrived\]", killed)
    assert re.fullmatch(r"\[started again after \d+\.\d s as process \d+\]", again)
    for pid in re.findall(r"(?:kill -9|process) (\d+)", said):
        assert not is_alive(int(pid))
    assert "the embedded model's weights are not installed; " in said
    assert "so the answer is a scripted one" in said
    assert EXACT in said
    text = said.partition("\n\n")[2].partition("\n\n")[2].partition(f"\n\n{EXACT}")[0]
    assert text.replace(f"\n{killed}\n{again}\n", "") == models._TEXT


def test_json_is_all_that_is_written_and_each_kill_is_told(temporary):
    done = run(*FAST, "--kills", "2", "--json", **temporary)
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (told["exact"], told["tokens"], told["lost"], told["doubled"]) == (True, 172, 0, 0)
    assert told["bytes"] == len(models._TEXT.encode())
    assert told["equals_journal"]
    assert told["equals_uninterrupted"]
    first, second = told["kills"]
    assert first["next_pid"] == second["pid"]
    assert 172 // 3 <= first["after_tokens"] < second["after_tokens"] < 172


def test_on_a_terminal_a_count_runs_below_the_answer_and_the_end_says_that_it_was_exact(temporary):
    env = environment(TERM="xterm-256color", **temporary)
    with Terminal([EVERYTOKEN, "demo", *FAST], env, columns=72, rows=40) as terminal:
        screen = terminal.screen
        terminal.read_until(lambda: re.search(r"\d+ tokens +\d+\.\d s", screen.text))
        assert screen.cursor_hidden
        terminal.read_until(lambda: "no gateway: it is being started again" in screen.text)
        terminal.read_until(lambda: "↻ started again" in screen.text)
        terminal.read_until(lambda: "the same again, without a kill" in screen.text)
        assert terminal.read_to_end() == 0
    assert not screen.wrapped
    assert not screen.cursor_hidden
    lines = screen.text.splitlines()
    assert f"  ✓ {EXACT}" in lines
    assert not re.search(r"\d+\.\d s   the same again", screen.text), "the live line is gone"
    at = next(number for number, line in enumerate(lines) if "✗ kill -9" in line)
    before, after = lines[at - 1], lines[at + 2]
    has_no_room = len(before) + 1 + len(after[3:].split()[0]) > screen.columns
    assert has_no_room or after.startswith("  │" + " " * (len(before) - 3)), "it goes on in the same column"
    told = [line for line in lines[: at + 99] if line.startswith("  │")]
    # Where the kill cut a word or a line is not known here: so without spaces.
    text = "".join("".join(line.lstrip(" │").split()) for line in told)
    assert text == "".join(models._TEXT.split())


def test_ctrl_c_ends_the_gateway_and_removes_its_files(temporary):
    env = environment(TERM="xterm-256color", NO_COLOR="1", **temporary)
    with Terminal([EVERYTOKEN, "demo", "--scripted", "--pace", "1"], env) as terminal:
        terminal.read_until(lambda: "waiting for the first token" in terminal.screen.text)
        pid = int(re.search(r"process (\d+) at", terminal.screen.text)[1])
        assert is_alive(pid)
        terminal.type("\x03")
        assert terminal.read_to_end() == 130
        assert not is_alive(pid)
    assert not terminal.screen.cursor_hidden
    assert b"\x1b[3" not in terminal.raw
    assert b"\x1b[2m" not in terminal.raw


def test_it_ends_when_nobody_reads_any_more(temporary):
    command = f"{EVERYTOKEN} demo --scripted --pace 0.01 | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=environment(**temporary), capture_output=True, check=True
    )
    *_, status = done.stdout.decode().splitlines()
    assert (status, done.stderr) == (str(128 + signal.SIGPIPE), b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_so_do_sigterm_and_the_end_of_the_terminal(number, temporary):
    command = [EVERYTOKEN, "demo", "--scripted", "--pace", "1", "--json"]
    with subprocess.Popen(command, env=environment(**temporary), stdout=subprocess.PIPE) as process:
        wait_for(lambda: children_of(process.pid))
        [pid] = children_of(process.pid)
        process.send_signal(number)
        assert process.wait(20) == 128 + signal.SIGTERM
        assert process.stdout.read() == b""
    assert not is_alive(pid)


def test_an_answer_that_is_not_the_same_is_not_called_exact(monkeypatch):
    async def unlike(*_):
        return proved([], [], [], complete=True)

    monkeypatch.setattr(package, "play", unlike)
    done = CliRunner().invoke(commands, ["demo", "--scripted", "--json"])
    assert done.exit_code == 1


def test_json_says_what_went_wrong_too(monkeypatch, capfd):
    async def failing(*_):
        raise EverytokenError("the gateway has given up")

    monkeypatch.setattr(package, "play", failing)
    done = CliRunner().invoke(commands, ["demo", "--scripted", "--json"])
    assert json.loads(capfd.readouterr().out) == {"exact": False, "problem": "the gateway has given up"}
    assert isinstance(done.exception, EverytokenError), "which main() says, with exit status 1"


async def test_a_model_that_says_something_else_each_time_ends_it_with_an_error(tmp_path):
    fickle = ScriptedUpstream(Answer(models._TEXT, deterministic=False, prefill="refuse", delay=0.003))
    model = replace(models.scripted(0.003), server=fickle)
    with pytest.raises(EverytokenError, match="given up"):
        await play(model, 1, Stage(), tmp_path)


@pytest.fixture
def embedded():
    model = models.embedded_or_scripted(0.003)
    assert model.kind == "embedded"
    return model if SOAK else replace(model, request={**model.request, "max_tokens": 12}, length=12)


@pytest.mark.timeout(240)
async def test_the_embedded_model_is_killed_with_its_gateway_and_the_answer_goes_on(embedded, tmp_path):
    proof = await play(embedded, 1, Stage(), tmp_path)
    assert proof.exact, proof
    assert SOAK or proof.tokens == 12
