"""`everytoken check` as a program: what it prints, and its exit status."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from command_line import run

pytestmark = pytest.mark.blocking_allowed("the commands run as programs")


def test_all_errors_with_their_lines_and_a_status(tmp_path):
    file = tmp_path / "everytoken.toml"
    file.write_text('prot = 8000\n\ngrace = "1m"\n')
    done = run("check", str(file), EVERYTOKEN_CONTENT_GAPS="5")
    assert done.returncode == 1
    assert done.stdout.decode().splitlines() == [
        f"{file}:1:1: unknown setting 'prot'; did you mean 'port'?",
        f"{file}:3:1: grace must be a number; write it in seconds: grace = 60",
        'warning: there is no [[upstream]]: the embedded model will be served; write [[upstream]] and url = "…"'.replace(
            "warning", f"{file}: warning"
        ),
        "warning: the environment variable EVERYTOKEN_CONTENT_GAPS is not a setting; did you mean EVERYTOKEN_CONTENT_GAP?",
        f"{file}: 2 errors, 2 warnings",
    ]
    told = json.loads(run("check", "--config", str(file), "--json").stdout)
    assert told["ok"] is False
    assert (told["file"], told["errors"], told["warnings"]) == (str(file), 2, 1)
    assert told["problems"][0] == {
        "level": "error",
        "message": "unknown setting 'prot'",
        "setting": "prot",
        "file": str(file),
        "line": 1,
        "column": 1,
        "variable": "",
        "suggestion": "did you mean 'port'?",
    }


def test_what_the_page_shows_is_printed(tmp_path):
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
    [shown] = re.findall(
        r"^```console\n\$ everytoken check everytoken.toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    file = tmp_path / "everytoken.toml"
    file.write_text('prot = 8000\ndrain = "1m"\n[[upstream]]\nurl = "http://127.0.0.1:9/v1"\n')
    assert run("check", str(file)).stdout.decode().replace(str(file), "everytoken.toml") == shown


def test_what_is_right_and_the_environment_alone(tmp_path):
    file = tmp_path / "everytoken.toml"
    file.write_text('[[upstream]]\nurl = "http://127.0.0.1:9/v1"\n')
    done = run("check", str(file))
    assert (done.returncode, done.stdout.decode()) == (0, f"{file}: no errors, no warnings\n")
    assert run("check", str(file), "--config", str(file)).returncode == 2
    done = run("check", EVERYTOKEN_PORT="many", EVERYTOKEN_UPSTREAM='[{"url": "http://127.0.0.1:9/v1"}]')
    assert done.returncode == 1
    assert done.stdout.decode() == (
        "the environment variable EVERYTOKEN_PORT: port must be a whole number; such as port = 8000\n"
        "the environment: 1 error, no warnings\n"
    )
    done = run("check", str(file), "--connect", EVERYTOKEN_JOURNAL="memory")
    assert done.returncode == 1
    assert b"upstream 'upstream-1'" in done.stdout
