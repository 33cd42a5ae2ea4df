"""What `everytoken serve` says at its start is true, and can be copied."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from openai import OpenAI

from command_line import EVERYTOKEN, environment, gateway
from everytoken.cli import welcome as module
from everytoken.cli.welcome import program, welcome
from everytoken.testing import DEFAULT_TEXT, ScriptedUpstream


def rows(said):
    return dict(re.findall(r"^  ([\w' ]+?) {2,}(.+)$", said, re.MULTILINE))


def test_each_line_does_what_it_says_when_it_is_copied(tmp_path):
    with (
        ScriptedUpstream() as upstream,
        gateway("--upstream", upstream.base_url, PATH=os.defpath) as (process, url),
    ):
        lines = [process.stderr.readline().decode() for _ in range(7)]
        told = rows("".join(lines))
        assert lines[-1] == "Ctrl-C stops it.\n"
        assert told["a browser"] == url
        command = ["sh", "-c", told["another terminal"]]
        env = environment(PATH=os.defpath)
        chat = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, check=True)
        assert chat.stdout.decode() == DEFAULT_TEXT
        assert told["a look at a kill"] == f"{EVERYTOKEN} demo"
        given = dict(re.findall(r'(\w+)="([^"]+)"', told["OpenAI's SDKs"]))
        with OpenAI(**given) as sdk:
            assert sdk.models.list().data
        process.send_signal(signal.SIGINT)
        process.communicate()


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch):
    for name in ("EVERYTOKEN_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("usual", ["https://api.example/v1", "nonsense"])
def test_the_chat_needs_a_url_where_another_server_is_the_usual_one(monkeypatch, usual):
    monkeypatch.setenv("EVERYTOKEN_BASE_URL", usual)
    said = rows(welcome("http://127.0.0.1:8000", needs_key=False))
    assert " --base-url http://127.0.0.1:8000/v1 " in said["another terminal"]


def test_the_chat_needs_no_url_at_the_usual_address(monkeypatch):
    monkeypatch.setattr(module, "program", lambda: "everytoken")
    said = rows(welcome("http://127.0.0.1:8000", needs_key=False))
    assert said == {
        "a browser": "http://127.0.0.1:8000",
        "another terminal": 'everytoken chat "Explain transformers"',
        "OpenAI's SDKs": 'base_url="http://127.0.0.1:8000/v1", api_key="unused"',
        "Anthropic's SDKs": 'base_url="http://127.0.0.1:8000", api_key="unused"',
        "a look at a kill": "everytoken demo",
    }


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("http://[::]:8000", "http://[::1]:8000"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("https://gateway.example:443", "https://gateway.example:443"),
    ],
)
def test_an_address_is_one_that_can_be_reached_from_here(url, here):
    assert rows(welcome(url, needs_key=False))["a browser"] == here


def test_a_key_is_asked_for_where_one_is_needed(monkeypatch):
    monkeypatch.setattr(module, "program", lambda: "everytoken")
    said = rows(welcome("http://127.0.0.1:9000", needs_key=True))
    assert said["another terminal"] == (
        "EVERYTOKEN_API_KEY=YOUR_KEY everytoken chat --base-url http://127.0.0.1:9000/v1"
        ' "Explain transformers"'
    )
    assert 'api_key="YOUR_KEY"' in said["Anthropic's SDKs"]


def installed(folder, name="everytoken"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n", encoding="utf-8")
    (folder / name).chmod(0o755)
    return folder / name


def test_a_tool_that_is_on_the_path_of_every_shell_is_called_by_its_name(tmp_path, monkeypatch):
    own, shim = installed(tmp_path / "tool" / "bin"), tmp_path / "bin" / "everytoken"
    shim.parent.mkdir()
    shim.symlink_to(own)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "tool"))
    monkeypatch.setattr(sys, "argv", [str(shim)])
    monkeypatch.setenv("PATH", str(shim.parent))
    assert program() == "everytoken"


def test_an_activated_environment_is_not_that_of_another_terminal(tmp_path, monkeypatch):
    own = installed(tmp_path / "a folder" / "bin")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "a folder"))
    monkeypatch.setattr(sys, "argv", [str(own)])
    monkeypatch.setenv("PATH", str(own.parent))
    assert program() == f"'{own}'"


def test_another_everytoken_on_the_path_is_not_this_one(tmp_path, monkeypatch):
    other = installed(tmp_path / "other")
    monkeypatch.chdir(Path(EVERYTOKEN).parent)
    monkeypatch.setattr(sys, "argv", ["everytoken"])
    monkeypatch.setenv("PATH", str(other.parent))
    assert program() == str(Path.cwd() / "everytoken")
