"""`everytoken keys` as a program, at a gateway that knows nothing of it, and at a journal without one."""

from __future__ import annotations

import json
import os
import stat
import urllib.error
import urllib.request
from pathlib import Path

import click
import pytest

from command_line import gateway, run
from everytoken.cli.admin import Admin, admin_key, admin_key_file, own_admin_key
from everytoken.errors import EverytokenError

pytestmark = pytest.mark.blocking_allowed("the commands run as programs")


def keys(*arguments, ok=True, **env):
    done = run("keys", *arguments, **env)
    assert (done.returncode == 0) is ok, done.stderr.decode()
    return done


def status_of(url, secret=""):
    request = urllib.request.Request(
        f"{url}/v1/models", headers={"authorization": f"Bearer {secret}"} if secret else {}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_key_from_its_making_to_its_end_with_nothing_to_set_up(tmp_path):
    with gateway("--journal", f"sqlite:///{tmp_path}/j.sqlite") as (_, url):
        env = {"EVERYTOKEN_BASE_URL": f"{url}/v1"}
        assert status_of(url) == 200
        made = keys(
            "create",
            "ci",
            "--model",
            "gpt-*",
            "--api",
            "chat",
            "--expires",
            "30d",
            "--label",
            "team=a",
            **env,
        )
        secret = made.stdout.decode().strip()
        assert secret.startswith("sk-et-"), "a script can take standard output as it is"
        assert b"ci (key_" in made.stderr
        assert [status_of(url), status_of(url, secret)] == [401, 200]
        shown = json.loads(keys("show", "ci", **env).stdout)
        assert (shown["models"], shown["apis"], shown["labels"]) == (["gpt-*"], ["chat"], {"team": "a"})
        assert shown["expires"] - shown["created"] == pytest.approx(30 * 86_400, abs=60)
        listed = keys("list", **env).stdout.decode().splitlines()
        assert listed[0].split() == ["NAME", "KEY", "STATE", "MODELS", "APIS", "EXPIRES", "MADE"]
        assert any(line.startswith("ci ") and secret[:12] in line and "gpt-*" in line for line in listed)
        assert secret not in "".join(listed)
        limited = keys(
            "limit", "ci", "--requests-per-minute", "5", "--usd-per-day", "2.5", **env
        ).stderr.decode()
        assert limited == "ci: requests_per_minute 5, usd_per_day 2.5\n"
        shown = json.loads(keys("show", "ci", **env).stdout)
        assert shown["limits"]["usd_per_day"] == 2.5
        assert shown["spent"] == {"day": 0.0, "month": 0.0}
        assert "of each key" in keys("limit", "ci", **env).stderr.decode()
        rotated = keys("rotate", "ci", "--overlap", "0", **env).stdout.decode().strip()
        assert [status_of(url, secret), status_of(url, rotated)] == [401, 200]
        keys("revoke", "ci", **env)
        assert status_of(url, rotated) == 401
        assert "ci" not in keys("list", **env).stdout.decode().replace("configuration", "")
        everything = json.loads(keys("list", "--all", "--json", **env).stdout)
        assert [key["state"] for key in everything if key["name"] == "ci"] == ["revoked"]


def test_the_key_for_the_console_can_be_had_on_the_machine(tmp_path):
    with gateway("--journal", f"sqlite:///{tmp_path}/j.sqlite") as (_, url):
        key = keys("admin").stdout.decode().strip()
        request = urllib.request.Request(f"{url}/admin/overview", headers={"authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200


def test_what_is_wrong_is_one_line(tmp_path):
    with gateway("--journal", "memory") as (_, url):
        env = {"EVERYTOKEN_BASE_URL": url}
        for arguments, said in [
            (("create", "ci", "--admin-key", "sk-wrong-0123456789"), "unknown"),
            (("create", "-"), "name"),
            (("revoke", "other"), "no key 'other'"),
            (("create", "ci", "--api", "chats"), "unknown API 'chats'"),
        ]:
            done = keys(*arguments, ok=False, **env)
            assert done.returncode == 1
            assert done.stdout == b""
            (line,) = done.stderr.decode().splitlines()
            assert said in line
    for arguments, said in [
        (("create", "x", "--expires", "soon"), "30d"),
        (("create", "x", "--label", "a"), "NAME=VALUE"),
    ]:
        done = keys(*arguments, ok=False, EVERYTOKEN_ADMIN_KEY="sk-0123456789abcdef")
        assert done.returncode == 2
        assert said in done.stderr.decode()
    gone = keys("list", "--url", "http://127.0.0.1:1", ok=False, EVERYTOKEN_ADMIN_KEY="sk-0123456789abcdef")
    assert "there is no gateway at http://127.0.0.1:1" in gone.stderr.decode()


def test_keys_can_be_made_before_there_is_a_gateway(tmp_path):
    place = f"sqlite:///{tmp_path}/j.sqlite"
    secret = keys("create", "first", "--journal", place).stdout.decode().strip()
    assert json.loads(keys("list", "--json", "--journal", place).stdout)[0]["name"] == "first"
    assert json.loads(keys("show", "first", "--journal", place).stdout)["name"] == "first"
    with gateway("--journal", place) as (_, url):
        assert [status_of(url), status_of(url, secret)] == [401, 200]
        busy = keys("revoke", "first", "--journal", place, ok=False)
        assert len(busy.stderr.decode().splitlines()) == 1
    newer = keys("rotate", "first", "--journal", place).stdout.decode().strip()
    keys("revoke", "first", "--journal", place)
    with gateway("--journal", place) as (_, url):
        assert [status_of(url, secret), status_of(url, newer)] == [401, 401]


def test_the_admin_key_is_made_once_and_is_nobody_elses(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    key = own_admin_key()
    assert key == own_admin_key()
    assert stat.S_IMODE(admin_key_file().stat().st_mode) == 0o600
    assert Admin(None, None)._key == key
    assert admin_key("", "https://gateway.example") == ""  # to no other machine
    with pytest.raises(click.UsageError, match="an admin key is needed"):
        Admin("https://gateway.example", None)
    monkeypatch.setenv("EVERYTOKEN_ADMIN_KEY", "sk-other-0123456789")
    assert Admin(None, None)._key == "sk-other-0123456789"


def test_gateways_that_start_together_have_the_same_admin_key(monkeypatch, tmp_path):
    """One that finds the file of another must not read it before there is a key in it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    link = os.link

    def late(source, target):
        link(source, target)
        monkeypatch.setattr(os, "link", link)
        others.append(own_admin_key())  # as soon as there is a file
        raise FileExistsError

    others = []
    monkeypatch.setattr(os, "link", late)
    assert [own_admin_key()] == others
    assert [file.name for file in (tmp_path / "everytoken").iterdir()] == ["admin-key"]


def test_a_file_without_a_key_is_as_good_as_none(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    admin_key_file().parent.mkdir()
    admin_key_file().write_text("")
    assert own_admin_key().startswith("sk-et-admin-")
    assert admin_key_file().read_text().strip() == own_admin_key()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_told(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/proc")
    with pytest.raises(EverytokenError, match="cannot be kept"):
        own_admin_key()


def test_a_place_that_is_a_file_is_told(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(EverytokenError, match="cannot be kept"):
        own_admin_key()
    assert Path(tmp_path / "file").read_text() == ""
