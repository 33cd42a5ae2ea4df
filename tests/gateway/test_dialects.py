"""A dialect of another package: served by the gateway at its own path, from the request to the reader."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import msgspec
import pytest

from command_line import gateway as serve
from distribution import install
from everytoken.dialects import registry
from everytoken.errors import ConfigurationError
from everytoken.gateway import Config, Gateway, UpstreamConfig
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.sqlite import SqliteJournal
from everytoken.recovery import Policy
from gateway_serving import Wire, served

TOY = (Path(__file__).parents[1] / "dialects" / "toy.py").read_text(encoding="utf-8")
KEY = "a-key-of-sixteen-or-more"
ASK = {"ask": "Count."}
WORDS = ["One ", "two ", "three."]
RECORDS = [{"n": number, "say": word} for number, word in enumerate(WORDS, 1)] + [{"n": 4, "end": True}]
WIRE = "".join(f"data: {json.dumps(record)}\n\n" for record in RECORDS).encode()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return the folder of an installed package that adds the toy dialect."""
    monkeypatch.setattr(registry, "_DIALECTS", dict(registry._DIALECTS))
    return install(monkeypatch, tmp_path, "spoken", TOY, {"everytoken.dialects:toy": "TOY"})


class Script:
    """A server whose first `cut_streams` streams end at `cut`."""

    def __init__(self):
        self.cut, self.cut_streams = None, 0
        self.asked = []
        self.url = ""

    def answer(self, path, body):
        """Return the media type and the body of the answer."""
        self.asked.append(path)
        if not body.get("stream"):
            return "application/json", b'{"said":"One two three."}'
        return "text/event-stream", WIRE[: self.cut if len(self.asked) <= self.cut_streams else None]


def handler_of(script):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            media, answer = script.answer(self.path, body)
            self.send_response(200)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    return Handler


@pytest.fixture
def script():
    script = Script()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(script)) as server:
        script.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield script
        server.shutdown()
        thread.join()


@pytest.fixture
def configured(package, script):
    """Return what makes a gateway that speaks the dialect. A package is loaded from files, before the loop runs."""
    return Config(
        upstream=[UpstreamConfig(name="u", url=script.url)], policy=Policy(backoff=0.0), dialects=["toy"]
    )


@pytest.fixture
def gateway(configured):
    return Gateway(configured)


@pytest.fixture
def guarded(configured):
    return Gateway(msgspec.structs.replace(configured, api_keys=[KEY]))


@pytest.fixture
def replaying(configured):
    policy = Policy(backoff=0.0, strategies=frozenset({"replay"}))
    return Gateway(msgspec.structs.replace(configured, policy=policy))


@pytest.fixture(params=["memory", "sqlite"])
def kept(configured, request, tmp_path):
    """A gateway with a journal of each kind."""
    journal = MemoryJournal() if request.param == "memory" else SqliteJournal(tmp_path / "journal.sqlite")
    return Gateway(configured, journal=journal)


def events(body):
    return [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize("cut", [None, *range(0, len(WIRE) - 20, 9)])
async def test_a_response_is_complete_wherever_its_upstream_is_cut(cut, kept, script):
    script.cut, script.cut_streams = cut, 0 if cut is None else 1
    async with kept, served(kept) as port, Wire.to(port) as wire:
        wire.send("POST", "/v1/toy", {**ASK, "stream": True})
        answer = await wire.answer()
        assert (answer.status, events(answer.body)) == (200, RECORDS)
        assert b"[DONE]" not in answer.body
        place = f"{answer.headers['location']}/events"
        wire.send("GET", place)
        again = await wire.answer()
        assert (events(again.body), b"[DONE]" in again.body) == (RECORDS, False)
        wire.send("GET", f"{place}?offset=0000000000000002")
        assert events((await wire.answer()).body) == RECORDS[2:]
    assert script.asked == ["/v1/toy"] * (1 if cut is None else 2)


async def test_a_caller_that_does_not_stream_gets_it_in_one_piece(gateway):
    async with gateway, served(gateway) as port, Wire.to(port) as wire:
        wire.send("POST", "/v1/toy", ASK)
        answer = await wire.answer()
    assert (answer.status, answer.json) == (200, {"said": "One two three."})


async def test_an_upstream_that_always_breaks_is_an_error_in_the_dialects_own_shape(replaying, script):
    script.cut, script.cut_streams = WIRE.index(b'{"n": 4'), 100
    async with replaying, served(replaying) as port, Wire.to(port) as wire:
        wire.send("POST", "/v1/toy", {**ASK, "stream": True})
        *records, last = events((await wire.answer()).body)
        assert records == RECORDS[:3]
        assert list(last) == ["oops"]
        wire.send("POST", "/v1/toy", ASK)
        assert (await wire.answer()).status == 502


async def test_what_it_refuses_is_refused_and_keys_are_needed_as_everywhere(guarded):
    async with guarded, served(guarded) as port, Wire.to(port) as wire:
        wire.send("POST", "/v1/toy", ASK)
        assert (await wire.answer()).status == 401
        key = {"Authorization": f"Bearer {KEY}"}
        wire.send("POST", "/v1/toy", {}, headers=key)
        refused = await wire.answer()
        assert (refused.status, refused.error["param"]) == (400, "ask")
        wire.send("GET", "/v1/toy", headers=key)
        assert (await wire.answer()).status == 405


async def test_it_is_served_only_where_the_configuration_names_it(package):
    bare = Gateway(Config(upstream=[UpstreamConfig(name="u", url="http://127.0.0.1:1/v1")]))
    async with bare, served(bare) as port, Wire.to(port) as wire:
        wire.send("POST", "/v1/toy", ASK)
        assert (await wire.answer()).status == 404


def test_serve_serves_it(package, script, tmp_path):
    """As an installed package and a line of the configuration, nothing else."""
    file = tmp_path / "everytoken.toml"
    file.write_text('dialects = ["toy"]\n')
    path = os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])
    script.cut, script.cut_streams = 60, 1
    with serve("--config", str(file), "--upstream", script.url, PYTHONPATH=path) as (_, url):
        answer = httpx2.post(f"{url}/v1/toy", json={**ASK, "stream": True})
    assert events(answer.content) == RECORDS


def test_a_name_that_nobody_adds_is_refused():
    with pytest.raises(
        ConfigurationError, match="dialects: no installed package adds a dialect called 'none'"
    ):
        Gateway(Config(upstream=[UpstreamConfig(name="u", url="http://localhost:1")], dialects=["none"]))
