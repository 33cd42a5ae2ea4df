"""`serve --workers`, as a program, on a real Redis: one address, several processes."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from command_line import LIMIT, read_line, run, started, wait_for
from everytoken.testing import Answer, ScriptedUpstream
from plug_nodes import children, is_running
from redis_server import REDIS, RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(REDIS is None, reason="redis-server is not installed"),
    pytest.mark.blocking_allowed("the gateway and Redis run as programs"),
]
KEY = "sk-admin-0123456789abcdef"
LONG_LEASE = {"EVERYTOKEN_LEASE": "300"}  # nothing here may depend on its end
SLOW = Answer(content=[f"word{number} " for number in range(400)], delay=0.02)
QUICK = Answer(content=["one ", "two"])


@pytest.fixture(scope="module")
def redis(tmp_path_factory) -> Iterator[str]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), persistent=False)
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


class Workers:
    """A gateway with its workers."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._log = log

    @property
    def pids(self) -> list[int]:
        return children(self.process.pid)

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def connect(self) -> http.client.HTTPConnection:
        address = urlsplit(self.url)
        assert address.hostname
        return http.client.HTTPConnection(address.hostname, address.port, timeout=LIMIT)

    def get(self, path: str, *, method: str = "GET") -> Any:
        connection = self.connect()
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        try:
            connection.request(method, path, b"" if method == "POST" else None, headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        assert answer.status < 300, body
        return json.loads(body) if "json" in answer.headers.get("content-type", "") else body.decode()

    def ask(self) -> Asked:
        """Ask over a connection of its own, and read the head of the answer."""
        connection = self.connect()
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Go on"}]}
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        return Asked(connection, connection.getresponse())

    def whole(self) -> str:
        """Ask, and return the text."""
        asked = self.ask()
        try:
            return text_of(asked.answer.read().decode())
        finally:
            asked.close()

    def running(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/admin/responses?outcome=running&limit=500")["responses"]
        return found


class Asked:
    """A response that has begun."""

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        assert answer.status == 200, answer.read()
        self._connection = connection
        self.answer = answer
        self.location = answer.headers["location"]
        self.id = self.location.rpartition("/")[2]

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


@contextmanager
def workers(
    directory: Path, redis: str, upstream: str, *options: str, count: int = 2, **env: str
) -> Iterator[Workers]:
    log = directory / "log"
    own = {"EVERYTOKEN_ADMIN_KEYS": KEY, **LONG_LEASE, **env}
    arguments = ("serve", "--port", "0", "--workers", str(count), "--journal", redis, "--upstream", upstream)
    with log.open("wb") as file, started(*arguments, *options, env=own) as process:
        assert process.stderr is not None
        copying = subprocess.Popen(["cat"], stdin=process.stderr, stdout=file)
        try:
            yield Workers(process, read_line(process).rsplit(maxsplit=1)[-1], log)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(LIMIT)
            copying.wait(LIMIT)


def text_of(stream: str) -> str:
    chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
    return "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks if one["choices"])


def metric(text: str, name: str) -> dict[str, float]:
    """Return a metric's value at each worker, summed over all other labels."""
    found: dict[str, float] = {}
    for worker, value in re.findall(rf'^{name}\{{[^}}]*worker="(\d+)"[^}}]*\}} (\S+)$', text, re.MULTILINE):
        found[worker] = found.get(worker, 0.0) + float(value)
    return found


def begun_at_both(gateway: Workers) -> list[Asked]:
    """Begin responses until both workers have some; the kernel decides which one takes a connection."""
    asked: list[Asked] = []
    for _ in range(200):
        asked.append(gateway.ask())
        at = metric(gateway.get("/metrics"), "everytoken_running_responses")
        if sorted(at) == ["1", "2"] and all(at.values()):
            assert sum(at.values()) == len(asked)
            return asked
    raise AssertionError("one worker has taken every connection")


def test_a_response_is_listed_read_and_stopped_through_any_worker(tmp_path, redis):
    with ScriptedUpstream(SLOW) as upstream, workers(tmp_path, redis, upstream.base_url) as gateway:
        asked = begun_at_both(gateway)
        ids = {one.id for one in asked}
        for _ in range(10):  # whichever worker is reached
            assert {one["response"] for one in gateway.running()} == ids
        overview = gateway.get("/admin/overview")
        assert overview["now"]["running"] == len(ids)
        assert sum(step["begun"] for step in overview["steps"]) == len(ids)
        assert sum(one["in_flight"] for one in overview["upstreams"]) == len(ids)
        for _ in range(6):
            connection = gateway.connect()
            connection.request("GET", "/admin/live", headers={"authorization": f"Bearer {KEY}"})
            answer = connection.getresponse()
            snapshot = [answer.readline() for _ in range(2)][1]
            seen = json.loads(snapshot.removeprefix(b"data: "))
            assert {one["response"] for one in seen["responses"]} == ids
            assert (seen["running"], sum(seen["in_flight"].values())) == (len(ids), len(ids))
            connection.close()
        for one in asked:
            gateway.get(f"{one.location}/cancel", method="POST")
        for one in asked:  # each reader hears it, wherever its response was written
            assert b'"code":"cancelled"' in one.answer.read()
            one.close()
        wait_for(lambda: gateway.running() == [])


def test_what_a_dead_worker_was_writing_goes_on_in_the_others_at_once(tmp_path, redis):
    with ScriptedUpstream(SLOW) as upstream, workers(tmp_path, redis, upstream.base_url) as gateway:
        asked = begun_at_both(gateway)
        before = gateway.pids
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda: len(gateway.pids) == 2 and before[0] not in gateway.pids)
        for one in asked:
            stream = gateway.get(f"{one.location}/events")
            assert text_of(stream) == SLOW.text
            assert stream.count("[DONE]") == 1
            one.close()
        wait_for(lambda: len(metric(gateway.get("/metrics"), "everytoken_running_responses")) == 2)
        assert sum(metric(gateway.get("/metrics"), "everytoken_takeovers_total").values()) >= 1
        log = gateway.log()
    assert re.search(
        r"ERROR everytoken.serve: worker \d was killed by SIGKILL; another one is started\n", log
    )
    assert "taken over at offset" in log


def test_when_all_die_at_once_those_that_replace_them_continue(tmp_path, redis):
    with ScriptedUpstream(SLOW) as upstream, workers(tmp_path, redis, upstream.base_url) as gateway:
        asked = begun_at_both(gateway)
        before = gateway.pids
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(gateway.pids) == 2 and not set(before) & set(gateway.pids))
        for one in asked:
            assert text_of(gateway.get(f"{one.location}/events")) == SLOW.text
            one.close()


def test_the_counts_of_all_workers_are_what_the_upstream_has_counted(tmp_path, redis):
    with ScriptedUpstream(QUICK) as upstream, workers(tmp_path, redis, upstream.base_url) as gateway:
        for _ in range(40):
            assert gateway.whole() == QUICK.text
        for _ in range(6):
            found = metric(gateway.get("/metrics"), "everytoken_responses_total")
            assert sum(found.values()) == len(upstream.attempts) == 40
        resident = metric(gateway.get("/metrics"), "process_resident_memory_bytes")
        assert sorted(resident) == ["1", "2"]


def test_a_reload_reaches_all_by_command_and_by_signal(tmp_path, redis):
    file = tmp_path / "everytoken.toml"
    file.write_text("grace = 5\n")
    with (
        ScriptedUpstream(QUICK) as upstream,
        workers(tmp_path, redis, upstream.base_url, "--config", str(file)) as gateway,
    ):
        file.write_text("grace = 6\n")
        told = run("reload", EVERYTOKEN_BASE_URL=f"{gateway.url}/v1", EVERYTOKEN_ADMIN_KEY=KEY)
        assert told.stdout.decode() == "changed: grace\n"
        reloaded = re.compile(r"\[worker (\d)\] INFO everytoken.gateway: the configuration was reloaded")
        wait_for(lambda: sorted(reloaded.findall(gateway.log())) == ["1", "2"])
        file.write_text("grace = 7\n")
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: sorted(reloaded.findall(gateway.log())) == ["1", "1", "2", "2"])
        file.write_text("grace = 'x'\n")
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: gateway.log().count("the configuration stays as it was") == 2)
        assert gateway.whole() == QUICK.text


def test_sigterm_lets_responses_finish_and_ends_all(tmp_path, redis):
    answer = Answer(content=["a ", "b ", "c"], delay=0.3)
    with ScriptedUpstream(answer) as upstream, workers(tmp_path, redis, upstream.base_url) as gateway:
        asked = [gateway.ask() for _ in range(12)]
        pids = gateway.pids
        gateway.process.send_signal(signal.SIGTERM)
        for one in asked:
            assert text_of(one.answer.read().decode()) == answer.text
            one.close()
        assert gateway.process.wait(LIMIT) == 0
        wait_for(lambda: not any(is_running(pid) for pid in pids))


def test_workers_end_when_the_process_that_has_started_them_is_killed(tmp_path, redis):
    with ScriptedUpstream(QUICK) as upstream, workers(tmp_path, redis, upstream.base_url) as gateway:
        pids = gateway.pids
        gateway.process.kill()
        gateway.process.wait(LIMIT)
        wait_for(lambda: not any(is_running(pid) for pid in pids))


@pytest.mark.parametrize("journal", ["memory", "sqlite:///{}/j.sqlite"])
def test_a_journal_that_they_cannot_share_is_refused(tmp_path, journal):
    done = run("serve", "--port", "0", "--workers", "2", "--journal", journal.format(tmp_path))
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "everytoken: several workers need a journal that they can share: set journal to redis://HOST or postgresql://HOST, or workers to 1\n"
    )


def test_what_keeps_the_first_from_starting_is_told_once_and_ends_all(tmp_path):
    done = run("serve", "--port", "0", "--workers", "3", "--journal", "redis://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.decode().count("everytoken:") == 1
    assert "127.0.0.1:1" in done.stderr.decode()


def test_lines_of_json_say_which_worker_has_written_them(tmp_path, redis):
    with (
        ScriptedUpstream(QUICK) as upstream,
        workers(tmp_path, redis, upstream.base_url, "--log-format", "json") as gateway,
    ):
        for _ in range(3):
            gateway.whole()
        wait_for(lambda: gateway.log().count('"outcome":"completed"') == 3)
        entries = [json.loads(line) for line in gateway.log().splitlines()]
    assert {entry.get("worker") for entry in entries if "outcome" in entry} <= {1, 2}
