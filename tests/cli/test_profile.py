"""A user's config.toml, and what comes before it."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import click
import pytest

from command_line import run
from everytoken.cli import profile
from everytoken.cli.address import api_key, base_url, gateway_url, model_name
from everytoken.errors import ConfigurationError
from everytoken.testing import ScriptedUpstream

VARIABLES = (
    "EVERYTOKEN_API_KEY",
    "OPENAI_API_KEY",
    "EVERYTOKEN_BASE_URL",
    "OPENAI_BASE_URL",
    "EVERYTOKEN_MODEL",
)


@pytest.fixture
def write(tmp_path, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "everytoken"
    folder.mkdir()

    def write(text, **files):
        profile.profile.cache_clear()
        (folder / "config.toml").write_text(text)
        for name, content in files.items():
            (folder / name).write_text(content)

    yield write
    profile.profile.cache_clear()


def test_options_then_the_environment_then_the_file(write, monkeypatch):
    write('base_url = "http://file.example"\nmodel = "file"\napi_key = "file-key"')
    assert (base_url(None), model_name(None)) == ("http://file.example/v1", "file")
    assert api_key("http://file.example/v1") == "file-key"
    monkeypatch.setenv("EVERYTOKEN_BASE_URL", "http://environment.example")
    monkeypatch.setenv("EVERYTOKEN_MODEL", "environment")
    monkeypatch.setenv("EVERYTOKEN_API_KEY", "environment-key")
    assert (base_url(None), model_name(None)) == ("http://environment.example/v1", "environment")
    assert api_key("http://file.example/v1") == "environment-key"
    assert (base_url("http://option.example"), model_name("option")) == ("http://option.example/v1", "option")


def test_the_gateway_that_is_looked_at(write, monkeypatch):
    write("")
    assert gateway_url(None) == "http://127.0.0.1:8000"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://openai.example/v1")  # need not be a gateway
    assert gateway_url(None) == "http://127.0.0.1:8000"
    write('base_url = "https://file.example/v1"')
    assert gateway_url(None) == "https://file.example"
    monkeypatch.setenv("EVERYTOKEN_BASE_URL", "https://environment.example/under/")
    assert gateway_url(None) == "https://environment.example/under"
    assert gateway_url("https://me:secret@option.example:8443/v1/") == "https://option.example:8443"
    with pytest.raises(click.UsageError):
        gateway_url("option.example")


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://file.example:80/other", "file-key"),
        ("https://file.example/v1", None),
        ("http://file.example.org/v1", None),
    ],
)
def test_a_key_goes_to_its_own_server_only(url, key, write):
    write('base_url = "http://file.example"\napi_key = "file-key"')
    assert api_key(url) == key


def test_a_key_for_openai_does_not_go_where_the_file_has_one(write, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "openai-key")
    write('base_url = "http://file.example"\napi_key = "file-key"')
    assert api_key("http://file.example/v1") == "file-key"
    assert api_key("https://api.openai.com/v1") == "openai-key"


def test_a_key_can_be_in_a_file_of_its_own(write):
    write('api_key_file = "key"', key="secret\n")
    assert api_key("http://anywhere.example") == "secret"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('base-url = "x"', "Object contains unknown field `base-url`"),
        ("model = 1", "Expected `str`, got `int` - at `$.model`"),
        ("nonsense", "Expected '=' after a key"),
        ('api_key = "a"\napi_key_file = "b"', "exclude each other"),
        ('api_key_file = "nowhere"', "there is no file"),
    ],
)
def test_a_mistake_is_one_line(text, why, write, tmp_path):
    write(text)
    with pytest.raises(ConfigurationError) as caught:
        profile.profile()
    assert caught.value.message.startswith(f"{tmp_path}/everytoken/config.toml")
    assert why in caught.value.message
    assert "\n" not in caught.value.message


def test_the_file_counts_for_a_command(write, tmp_path):
    with ScriptedUpstream("ok") as upstream:
        write(f'base_url = "{upstream.base_url}"\nmodel = "m"\nsystem = "Be brief."\nsave = false')
        env = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
        assert run("chat", "hi", **env).stdout == b"ok"
        body = upstream.attempts[0].json
    assert body["model"] == "m"
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", [["keys", "list"], ["responses"], ["reload"], ["doctor"]], ids=" ".join)
def test_it_names_the_gateway_to_look_at(write, tmp_path, command):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    write(f'base_url = "{url}/v1"')
    done = run(*command, XDG_CONFIG_HOME=str(tmp_path), EVERYTOKEN_ADMIN_KEY="sk-admin-0123456789")
    assert done.returncode != 0
    assert url in done.stderr.decode()


def test_the_example_of_the_docs(write):
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    write(block, key="secret")
    assert profile.profile() == profile.Profile(
        base_url="https://gateway.example/v1",
        model="gpt-4o",
        system="Be brief.",
        api_key="secret",
        api_key_file="key",
    )
