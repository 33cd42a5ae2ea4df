"""`everytoken doctor` as a program: what it prints where, and its exit status."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from command_line import EVERYTOKEN, environment, gateway, run
from everytoken.cli.doctor.findings import Change, Finding
from everytoken.cli.doctor.measured import Measured
from everytoken.cli.doctor.output import as_text, is_healthy
from everytoken.cli.doctor.runner import Examination, NotRunError, Options, examine
from everytoken.testing import Answer, ScriptedUpstream
from gateway_serving import ManualUpstream, limit, over, served
from redis_server import free_port
from terminal import Terminal

pytestmark = pytest.mark.blocking_allowed("the commands run as programs")

KEY = "sk-caller-0123456789"
QUICK = ("--idle", "0.2", "--interval", "0.1")
TEXT = Answer(" ".join(map(str, range(1, 21))))


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    journal = f"sqlite:///{tmp_path_factory.mktemp('doctor')}/j.sqlite"
    with (
        ScriptedUpstream(TEXT) as upstream,
        gateway("--upstream", upstream.base_url, "--journal", journal, EVERYTOKEN_API_KEYS=KEY) as (_, url),
    ):
        yield url


def doctor(*arguments, **env):
    done = run("doctor", *arguments, *QUICK, **env)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_healthy_gateway_and_its_upstream(url):
    begun = time.monotonic()
    status, said, errors = doctor(url, EVERYTOKEN_API_KEY=KEY)
    assert (status, errors) == (0, "")
    assert said.startswith(f"{url}: everytoken ")
    assert said.splitlines()[-1].startswith("Nothing found.")
    assert "Not looked at" not in said  # the admin key is this user's
    assert "\x1b" not in said
    assert time.monotonic() - begun < 8


def test_what_is_wrong_is_said_with_the_line_to_change(url):
    status, said, _ = doctor(f"{url}/v1/", "--key", "sk-wrong-0123456789")
    assert status == 1
    assert "error: The gateway does not accept this API key: unknown API key." in said
    assert "everytoken keys create" in said
    assert "Found: 1 error." in said
    assert "sk-wrong-0123456789" not in said


def test_json_is_for_programs(url):
    status, said, _ = doctor(url, "--json", "--no-upstreams", "--model", "big", EVERYTOKEN_API_KEY=KEY)
    told = json.loads(said)
    assert status == 1
    assert (told["url"], told["healthy"], told["path"]) == (url, False, [])
    assert told["not_looked_at"] == ["the upstreams: --no-upstreams"]
    [finding] = told["findings"]
    assert (finding["code"], finding["severity"]) == ("model-not-served", "error")
    assert set(finding) == {"code", "severity", "what", "why", "change", "evidence"}
    assert {
        "where": "everytoken.toml",
        "line": 'models = ["big"]  # in the [[upstream]] that has it',
    } in finding["change"]


def test_an_admin_key_that_is_wrong_leaves_the_gateway_unseen(url):
    status, said, _ = doctor(url, "--admin-key", "sk-wrong-0123456789", EVERYTOKEN_API_KEY=KEY)
    assert status == 0
    assert "Not looked at: the gateway itself and its upstreams: unknown admin key" in said


def test_a_password_in_the_url_is_not_printed(url):
    status, said, errors = doctor(
        url.replace("//", "//user:secret-word@"), "--no-upstreams", EVERYTOKEN_API_KEY=KEY
    )
    assert status == 0
    assert "secret-word" not in said + errors


def test_nobody_is_there():
    url = f"http://127.0.0.1:{free_port()}"
    status, said, errors = doctor(url)
    assert (status, said) == (2, "")
    assert f"there is no server at {url}" in errors
    status, said, errors = doctor(url, "--json")
    assert (status, json.loads(said)["url"]) == (2, url)


@pytest.mark.parametrize("arguments", [["ftp://x"], ["http://"], ["--idle", "0"], ["--timeout", "x"]])
def test_what_cannot_be_meant(arguments):
    done = run("doctor", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Error" in done.stderr


def test_on_a_terminal_it_has_colours_says_what_it_waits_for_and_clears_that_away(url):
    command = [EVERYTOKEN, "doctor", url, *QUICK, "--model", "big"]
    with Terminal(command, environment(TERM="xterm-256color", EVERYTOKEN_API_KEY=KEY)) as terminal:
        assert terminal.read_to_end() == 1
    shown = terminal.raw.decode()
    assert "Looking at" in shown
    assert "\x1b[31m\x1b[1merror:" in shown
    assert "Looking at" not in terminal.screen.text


async def test_who_does_not_answer_is_not_waited_for_for_ever():
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    async with limit():
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(NotRunError, match="did not answer within"):
            await examine(Options(base=url, timeout=0.05))
        server.close()


async def test_what_is_not_finished_in_time_is_named():
    async with limit(), over(ManualUpstream()) as gateway, served(gateway) as port:
        done = await examine(
            Options(base=f"http://127.0.0.1:{port}", idle=60, interval=0.02, events=1, timeout=0.5)
        )
    assert any("a silence of 60 s: not finished within 0.5 s" in unseen for unseen in done.unseen)


def test_words_from_elsewhere_cannot_command_the_terminal():
    finding = Finding("x", "error", "a\x1b[2Jb\nc.", "w.", (Change("\x1b[5mnginx", "line\x07"),), "\x9b2J")
    done = Examination(Measured(url="http://x", now=0), ["\x1b]0;t\x07"])
    said = as_text(done, [finding], 1.0)
    for styled in ("\x1b[31m", "\x1b[1m", "\x1b[0m", "\x1b[2m"):
        said = said.replace(styled, "")
    assert not {"\x1b", "\x07", "\x9b"} & set(said)
    assert not is_healthy([finding])
