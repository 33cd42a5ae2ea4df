"""What other packages add by entry points: upstreams, journals, observers, and whatever else is loaded by name."""

from __future__ import annotations

import os
import sys

import pytest
from fastapi import FastAPI

from command_line import gateway, run, started
from distribution import install
from everytoken.errors import ConfigurationError
from everytoken.gateway import Config, Gateway, UpstreamConfig
from everytoken.gateway.reload import reload
from everytoken.journal.urls import journal_at
from everytoken.plugins import GROUPS, load
from gateway_serving import HELLO, Wire, served

SETTINGS = {"port": 1, "retention": 60.0, "max_bytes": 10**6, "durability": "process", "lease": 10.0}

ECHO = '''
import asyncio
import json


class Echo:
    """Answers with the last message of the request."""

    def __init__(self, name, url, *, api_key, headers):
        self.name, self.url, self.api_key, self.headers = name, url, api_key, headers

    def connect(self, body, sink, *, streamed, path="/chat/completions"):
        connection = Connection()
        connection.handle = asyncio.get_running_loop().call_soon(self._answer, body, sink)
        return connection

    def _answer(self, body, sink):
        sink.on_connected()
        sink.on_accepted()
        choice = {"index": 0, "delta": {"content": body["messages"][-1]["content"]}, "finish_reason": "stop"}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        sink.on_data(f"data: {json.dumps(chunk)}\\n\\ndata: [DONE]\\n\\n".encode())

    def redact(self, text):
        return text

    async def models(self):
        return [{"id": "echo", "object": "model"}]

    async def start(self):
        pass

    async def stop(self):
        pass


class Connection:
    def release(self, *, reusable):
        self.handle.cancel()

    def pause(self):
        pass

    def resume(self):
        pass
'''

SHELF = """
from everytoken.journal.memory import MemoryJournal


def journal_at(url, settings):
    journal = MemoryJournal(retention=settings.retention, max_bytes=settings.max_bytes, quota=settings.quota)
    journal.url = url
    return journal
"""


@pytest.fixture
def echo(tmp_path, monkeypatch):
    return install(monkeypatch, tmp_path, "echo_upstream", ECHO, {"everytoken.upstreams:echo": "Echo"})


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    return install(monkeypatch, tmp_path, "shelf_journal", SHELF, {"everytoken.journals:shelf": "journal_at"})


@pytest.fixture
def mounted(echo, shelf):
    """A gateway made from its configuration alone, before the loop runs: packages are loaded from files."""
    table = UpstreamConfig(name="e", url="echo:anything", key="k", headers={"a": "b"})
    return Gateway(Config(journal="shelf:here", upstream=[table]))


# Loading


@pytest.mark.parametrize("group", GROUPS)
def test_a_package_adds_to_every_group_and_is_loaded_when_its_name_is_used(group, tmp_path, monkeypatch):
    install(monkeypatch, tmp_path, "some_package", "thing = object()", {f"{group}:some": "thing"})
    assert load(group, "another") is None
    assert "some_package" not in sys.modules
    assert load(group, "some") is sys.modules["some_package"].thing


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import nothing_of_the_kind", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("", "AttributeError: module 'some_package' has no attribute 'thing'"),
    ],
    ids=["an import fails", "the module fails", "the attribute is missing"],
)
def test_what_cannot_be_loaded_gives_one_line_that_names_the_package(code, why, tmp_path, monkeypatch):
    install(monkeypatch, tmp_path, "some_package", code, {"everytoken.journals:some": "thing"})
    with pytest.raises(ConfigurationError) as caught:
        load("everytoken.journals", "some")
    assert caught.value.message == (
        f"'some' of everytoken.journals, from the package some_package, cannot be loaded: {why}"
    )


def test_a_name_that_two_packages_add_is_an_error(tmp_path, monkeypatch):
    for name in ("one_package", "two_package"):
        install(monkeypatch, tmp_path, name, "thing = 1", {"everytoken.formats:some": "thing"})
    with pytest.raises(
        ConfigurationError, match=r"^'some' of everytoken.formats is in two packages: one_package and two_"
    ):
        load("everytoken.formats", "some")


# Upstreams


async def test_a_mounted_gateway_needs_no_more_than_its_configuration(mounted):
    upstream = mounted.upstreams["e"]
    assert (upstream.url, upstream.api_key, upstream.headers) == ("echo:anything", "k", {"a": "b"})
    app = FastAPI()
    app.mount("/llm", mounted)
    async with mounted, served(app) as port, Wire.to(port) as wire:
        wire.send("POST", "/llm/v1/chat/completions", HELLO)
        answer = await wire.answer()
    assert (answer.status, answer.text, answer.complete) == (200, "Hello", True)


async def test_a_new_configuration_brings_an_upstream_of_a_package(echo):
    llm = Gateway(Config(upstream=[UpstreamConfig(name="u", url="http://127.0.0.1:1/v1")]))
    config = Config(upstream=[UpstreamConfig(name="u", url="echo:")])
    async with llm, served(llm) as port, Wire.to(port) as wire:
        await reload(llm, config)
        wire.send("POST", "/v1/chat/completions", HELLO)
        assert (await wire.answer()).text == "Hello"


def test_serve_uses_upstreams_journals_and_observers_of_packages(echo, shelf, tmp_path, monkeypatch):
    told = tmp_path / "told"
    code = (
        f"def make():\n    return lambda event: open({str(told)!r}, 'a').write(type(event).__name__ + '\\n')"
    )
    observer = install(monkeypatch, tmp_path, "file_observer", code, {"everytoken.observers:file": "make"})
    path = os.pathsep.join([echo, shelf, observer, os.environ.get("PYTHONPATH", "")])
    arguments = ("--upstream", "echo:", "--journal", "shelf:here")
    with gateway(*arguments, PYTHONPATH=path, EVERYTOKEN_OBSERVERS="file") as (_, url):
        asked = run("chat", "Hi", "--base-url", f"{url}/v1", PYTHONPATH=path)
    assert asked.stdout.strip() == b"Hi"
    names = told.read_text().split()
    assert names[0] == "ResponseBegun"
    assert "ResponseEnded" in names


# Journals


async def test_a_mounted_gateway_uses_the_journal_that_its_configuration_names(mounted):
    assert mounted.journal.url == "shelf:here"
    async with mounted, served(mounted) as port, Wire.to(port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        answer = await wire.answer()
        stream_id = answer.headers["location"].rpartition("/")[2]
        assert (await mounted.journal.open(stream_id)).closed


@pytest.mark.parametrize("url", ["nothing://here", "nothing", "memory:x", "sqlite", "shelf", "://"])
def test_what_is_no_journal_is_refused(url, shelf):
    with pytest.raises(
        ConfigurationError,
        match="is no journal: use memory, sqlite:///PATH, redis://HOST or postgresql://HOST",
    ):
        journal_at(url, **SETTINGS)


def test_serve_says_in_one_line_which_package_cannot_be_loaded(tmp_path, monkeypatch):
    site = install(
        monkeypatch, tmp_path, "broken_journal", "import nothing_here", {"everytoken.journals:broken": "x"}
    )
    path = os.pathsep.join([site, os.environ.get("PYTHONPATH", "")])
    arguments = ("serve", "--port", "0", "--upstream", "http://127.0.0.1:1/v1", "--journal", "broken:x")
    with started(*arguments, env={"PYTHONPATH": path}) as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.decode() == (
        "everytoken: 'broken' of everytoken.journals, from the package broken_journal, cannot be loaded: "
        "ModuleNotFoundError: No module named 'nothing_here'\n"
    )


# Observers


def test_an_observer_that_the_configuration_names(tmp_path, monkeypatch):
    code = "seen = []\ndef make():\n    return seen.append"
    install(monkeypatch, tmp_path, "list_observer", code, {"everytoken.observers:list": "make"})
    assert not Gateway(Config()).observers
    assert "list_observer" not in sys.modules
    assert Gateway(Config(observers=["list"])).observers


def test_an_observer_that_nobody_adds_is_an_error():
    with pytest.raises(ConfigurationError) as caught:
        Gateway(Config(observers=["nobody"]))
    assert caught.value.message == "observers: no installed package adds an observer called 'nobody'"


def test_an_observer_that_cannot_be_made_is_an_error(tmp_path, monkeypatch):
    code = "def make():\n    raise KeyError('OTEL_ENDPOINT')"
    install(monkeypatch, tmp_path, "poor_observer", code, {"everytoken.observers:poor": "make"})
    with pytest.raises(ConfigurationError) as caught:
        Gateway(Config(observers=["poor"]))
    assert caught.value.message == "observers: 'poor' cannot be made: KeyError: 'OTEL_ENDPOINT'"
