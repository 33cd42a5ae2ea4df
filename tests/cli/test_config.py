"""`everytoken config` as a program."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from command_line import run

pytestmark = pytest.mark.blocking_allowed("the commands run as programs")
SECRET = "sk-geheim-0123456789abcdef"


def test_the_example_is_right_as_it_stands(tmp_path):
    file = tmp_path / "everytoken.toml"
    file.write_bytes(run("config", "--example").stdout)
    done = run("check", str(file))
    assert (done.returncode, done.stdout.decode()) == (0, f"{file}: no errors, no warnings\n")


def test_the_schema_is_json():
    printed = run("config", "--schema").stdout
    assert json.loads(printed)["properties"]["port"]["type"] == "integer"
    assert printed == (Path(__file__).parents[2] / "deploy" / "everytoken.schema.json").read_bytes()


def test_what_counts_is_shown_without_secrets(tmp_path):
    file = tmp_path / "everytoken.toml"
    file.write_text(
        f"""port = 9000
journal = "redis://user:{SECRET}@host/0"
[[upstream]]
url = "https://{SECRET}@api.example/v1?token={SECRET}"
key = "{SECRET}"
headers = {{ x-any = "{SECRET}" }}
extra = {{ api_key = "{SECRET}", seed = 1 }}
"""
    )
    done = run("config", "--show", str(file), EVERYTOKEN_API_KEYS=SECRET, EVERYTOKEN_ATTEMPTS="7")
    text = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert SECRET not in text
    shown = tomllib.loads(text)
    assert (shown["port"], shown["policy"]["attempts"], shown["max_head"]) == (9000, 7, 65536)
    assert shown["api_keys"] == ["********"]
    assert shown["journal"] == "redis://user:********@host/0"
    [upstream] = shown["upstream"]
    assert upstream["url"] == "https://********@api.example/v1?token=********"
    assert (upstream["key"], upstream["extra"]["seed"]) == ("********", 1)
    assert f"port = 9000  # {file}:1" in text
    assert "attempts = 7  # the environment variable EVERYTOKEN_ATTEMPTS" in text


def test_what_is_wrong(tmp_path):
    assert run("config").returncode == 2
    assert run("config", "--example", "x").returncode == 2
    file = tmp_path / "everytoken.toml"
    file.write_text("prot = 1")
    done = run("config", "--show", str(file))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"'port'?" in done.stderr
