"""Completion of words by the shells, as docs/cli.md says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from command_line import EVERYTOKEN, environment, run
from tmux import tmux

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
LINES = re.findall(r"^.*_EVERYTOKEN_COMPLETE=.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def completed(words, tmp_path, **env):
    line = f"everytoken {words}"
    count = len(line.split()) - (0 if line.endswith(" ") else 1)
    done = run(
        _EVERYTOKEN_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(count),
        XDG_CONFIG_HOME=str(tmp_path), XDG_DATA_HOME=str(tmp_path), **env,
    )  # fmt: skip
    return [line.partition(",")[2] for line in done.stdout.decode().splitlines()]


def test_commands_options_and_names(tmp_path):
    folder = tmp_path / "everytoken" / "templates"
    folder.mkdir(parents=True)
    (folder / "review.txt").write_text("x")
    assert completed("mod", tmp_path) == ["models"]
    assert completed("chat --sch", tmp_path) == ["--schema"]
    assert completed("chat -t ", tmp_path) == ["review"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_line_of_the_docs_is_a_script(shell, tmp_path):
    [line] = [line for line in LINES if f"{shell}_source" in line]
    done = run(_EVERYTOKEN_COMPLETE=f"{shell}_source")
    assert done.returncode == 0
    assert b"everytoken" in done.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    path = f"{Path(EVERYTOKEN).parent}:{environment()['PATH']}"
    loads = {
        "bash": f"{line}\ncomplete -p everytoken",
        "zsh": f"autoload -Uz compinit && compinit -u\n{line}",
        "fish": line,
    }[shell]
    done = subprocess.run(
        [shell, "-c", loads], env=environment(PATH=path, HOME=str(tmp_path)), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


START_FILES = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/completions/everytoken.fish"}


@pytest.mark.parametrize("shell", START_FILES)
def test_tab_completes_a_command(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    [line] = [line for line in LINES if f"{shell}_source" in line]
    file = tmp_path / START_FILES[shell]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"autoload -Uz compinit && compinit -u\n{line}\n" if shell == "zsh" else f"{line}\n")
    path = f"{Path(EVERYTOKEN).parent}:{environment()['PATH']}"
    home = environment(
        PATH=path,
        HOME=str(tmp_path),
        LANG="C.UTF-8",
        ZDOTDIR=str(tmp_path),
        XDG_CONFIG_HOME=str(tmp_path / ".config"),
    )
    with tmux(tmp_path, [shell, "-i"], home) as pane:
        pane.wait(lambda text: text.rstrip().endswith(("$", ">", "%", "#")))
        pane.type("everytoken mod")
        pane.wait_for("everytoken mod")
        pane.press("Tab")
        pane.wait_for("everytoken models")
