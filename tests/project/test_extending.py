"""docs/extending.md: each recipe, as somebody would follow it. That the journal is one, tests/contract shows."""

from __future__ import annotations

import json
import re
import runpy
import sys
import tomllib
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

from distribution import install
from everytoken import cli
from everytoken.dialects import registry
from everytoken.formats import table
from everytoken.gateway import Config, Gateway, UpstreamConfig, app
from everytoken.journal import urls as journal_urls
from everytoken.journal.ids import given_at
from everytoken.journal.urls import journal_at
from everytoken.upstream import urls as upstream_urls
from gateway_serving import HELLO, ManualUpstream, Wire, over, served, serving

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "extending.md").read_text(encoding="utf-8")
SETTINGS = {"port": 1, "retention": 60.0, "max_bytes": 10**6, "durability": "process", "lease": 10.0}


def section(title):
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def code(title, language="python"):
    """Return the code of a recipe; what it registers is in its last line."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL))


def made(title):
    names: dict = {}
    exec(code(title), names)  # it is ours
    return names


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    """Let what a recipe registers be gone after the test."""
    for module in (journal_urls, upstream_urls):
        monkeypatch.setattr(module, "_SCHEMES", dict(module._SCHEMES))
    monkeypatch.setattr(table, "FORMATS", dict(table.FORMATS))
    monkeypatch.setattr(table, "_WITHOUT_ARGUMENTS", set(table._WITHOUT_ARGUMENTS))
    monkeypatch.setattr(registry, "_DIALECTS", dict(registry._DIALECTS))
    monkeypatch.setattr(table, "offered", table.offered.__wrapped__)  # not what was there before the test
    monkeypatch.setattr(cli, "_COMMANDS", dict(cli._COMMANDS))
    monkeypatch.setattr(app, "_ROUTES", dict(app._ROUTES))


async def test_a_journal_with_a_scheme(tmp_path):
    kind = made("A journal")["FileJournal"]
    path = tmp_path / "responses.jsonl"
    journal = journal_at(f"file:{path}", **SETTINGS)
    assert isinstance(journal, kind)
    assert journal._path == path


async def test_an_upstream():
    made("An upstream")
    gateway = Gateway(Config(upstream=[UpstreamConfig(name="e", url="echo:")]))
    async with gateway, served(gateway) as port, Wire.to(port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        answer = await wire.answer()
        wire.send("GET", "/v1/models")
        models = (await wire.answer()).json["data"]
    assert (answer.text, answer.complete) == ("Hello", True)
    assert [model["id"] for model in models] == ["echo"]


async def test_an_output_format():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", "/v1/chat/completions", HELLO)
            attempt = await upstream.attempt()
            attempt.accept()
            attempt.send("One ", "two.")
            attempt.finish()
            answer = await wire.answer()
        place = answer.headers["location"] + "/events?format=lines"
        refused = await gateway.ask("GET", place)
        assert (refused.status, refused.error["param"]) == (400, "format")
        made("An output format")
        told = await gateway.ask("GET", place)
        assert told.headers["content-type"] == "application/x-ndjson"
        *records, last = told.body.splitlines()
        assert (
            "".join(json.loads(record)["choices"][0]["delta"].get("content", "") for record in records)
            == "One two."
        )
        assert json.loads(last) == {"end": "completed"}
        rest = await gateway.ask("GET", place + "&offset=0000000000000001")
        assert rest.body.splitlines() == [*records[1:], last]
        text = await gateway.ask("GET", answer.headers["location"] + "/events?format=text")
        assert (text.headers["content-type"], text.body) == ("text/plain; charset=utf-8", b"One two.")
        for name in ("ui", "durable", "", "x" * 200):
            assert (
                await gateway.ask("GET", f"{answer.headers['location']}/events?format={name}")
            ).status == 400


async def test_an_observer(tmp_path):
    numbers = made("An observer")["Numbers"]()
    upstream = ManualUpstream()
    bare = over(upstream, journal=f"sqlite:///{tmp_path}/j.sqlite")
    gateway = Gateway(bare.config, bare.upstreams, observers=[numbers])
    async with gateway, served(gateway) as port, Wire.to(port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.finish()
        await wire.answer()
    assert numbers.outcomes == {"completed": 1}
    assert numbers.slowest_commit > 0


async def test_an_admission():
    upstream = ManualUpstream()
    bare = over(upstream)
    gateway = Gateway(bare.config, bare.upstreams, admission=made("An admission")["AtMost"](1))
    async with gateway, served(gateway) as port, Wire.to(port) as wire, Wire.to(port) as other:
        for number in range(2):
            wire.send("POST", "/v1/chat/completions", HELLO)
            attempt = await upstream.attempt(number)
            attempt.accept()
            head = await wire.head()
            other.send("POST", "/v1/chat/completions", HELLO)
            refused = await other.answer()
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert refused.error["message"] == "too many open responses; the limit is 1"
            attempt.finish()
            assert (await wire.rest(head)).complete


def test_a_command(monkeypatch):
    name, module, about = re.search(
        r'`"([a-z-]+)": \("([\w.]+)", "([^"]+)"\)`', section("A command")
    ).groups()
    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**made("A command")))
    cli._COMMANDS[name] = (module, about)
    ran = CliRunner().invoke(cli.commands, [name])
    assert ran.exit_code == 0
    assert given_at(ran.output.strip()) is not None
    command = cli.commands.get_command(None, name)
    assert command.help == about
    assert name in CliRunner().invoke(cli.commands, ["--help"]).output
    docs = runpy.run_path(str(TESTS.parent / "tools" / "cli_docs.py"))
    page = docs["renewed"](docs["PAGE"].read_text(encoding="utf-8"))
    assert f"\n## everytoken {name}\n" in page
    assert docs["help_of"](name) in page
    assert docs["renewed"](page) == page


async def test_a_route():
    path, methods, function = re.search(
        r'`"([\w/]+)": \((\([^)]*\)), \w+\.(\w+)\)`', section("A route")
    ).groups()
    app._ROUTES[path] = (eval(methods), made("A route")[function])
    async with (
        over(ManualUpstream(), api_keys=["a-key-of-sixteen-or-more"]) as gateway,
        served(gateway) as port,
        Wire.to(port) as wire,
    ):
        wire.send("GET", path)
        assert (await wire.answer()).status == 401
        wire.send("GET", path, headers={"Authorization": "Bearer a-key-of-sixteen-or-more"})
        assert (await wire.answer()).json == {"open": 0}
        wire.send("POST", path)
        assert (await wire.answer()).status == 405


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A gateway over what the recipes make, found by the entry points of a package."""
    groups = tomllib.loads(code("Entry points", "toml"))["project"]["entry-points"]
    things = {f"{group}:{name}": thing for group, names in groups.items() for name, thing in names.items()}
    recipes = [code(title) for title in ("A journal", "An upstream", "An observer", "An output format")]
    recipes.append(
        (TESTS / "dialects" / "toy.py").read_text(encoding="utf-8").replace("from __future__", "# ")
    )
    # Only the metadata is to find them.
    source = re.sub(r"^register_.*$", "", "\n".join(recipes), flags=re.MULTILINE)
    found = {key: thing.removeprefix("my_package:") for key, thing in things.items()}
    install(monkeypatch, tmp_path, "my_package", source, found)
    upstream = UpstreamConfig(name="e", url="echo:")
    journal = f"file:{tmp_path}/responses.jsonl"
    return Gateway(Config(journal=journal, observers=["numbers"], dialects=["toy"], upstream=[upstream]))


async def test_entry_points(packaged):
    async with packaged, served(packaged) as port, Wire.to(port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        answer = await wire.answer()
        assert answer.text == "Hello"
        wire.send("GET", f"{answer.headers['location']}/events?format=lines")
        assert (await wire.answer()).body.endswith(b'{"end":"completed"}\n')
        wire.send("POST", "/v1/toy", {})
        assert (await wire.answer()).error["param"] == "ask"
    assert type(packaged.journal).__module__ == "my_package"
    numbers = packaged.observers._observers[0]
    assert numbers.outcomes == {"completed": 1}
