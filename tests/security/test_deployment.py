"""`docs/deployment.md`: every block of it is run, with the real nginx, Caddy, HAProxy and `everytoken serve`."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from command_line import EVERYTOKEN, LIMIT, environment, read_line, started
from everytoken.cli.doctor.checks import found
from everytoken.cli.doctor.runner import Options, examine
from everytoken.gateway import Config
from everytoken.gateway.config import parse
from everytoken.testing import Answer, ScriptedUpstream
from gateway_serving import event
from proxies import (
    AUTHORIZED,
    KEY,
    NAME,
    PAGE,
    PROXIES,
    Certificate,
    Client,
    SteppedUpstream,
    blocks,
    proxied,
    read_until,
    replaced,
)
from redis_server import REDIS, RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOUD = "https://api.openai.com/v1"
ASKED = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


class Behind(NamedTuple):
    """A gateway behind a proxy."""

    client: Client
    upstream: SteppedUpstream
    backend: int


@contextmanager
def served(config: str, directory: Path, **env: str) -> Iterator[int]:
    """Run `everytoken serve` with a configuration; gives its port."""
    file = directory / f"everytoken-{free_port()}.toml"
    file.write_text(config, encoding="utf-8")
    file.chmod(0o600)
    journal = () if "journal" in config else ("--journal", "memory")
    with started(
        "serve", "--config", str(file), *journal, env={"OPENAI_API_KEY": "an-upstreams-key", **env}
    ) as process:
        yield int(read_line(process).rsplit(":", 1)[-1])


@pytest.fixture(scope="module", params=sorted(PROXIES))
def behind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificate: Certificate
) -> Iterator[Behind]:
    directory = tmp_path_factory.mktemp(request.param)
    upstream, port = SteppedUpstream(), free_port()
    config = replaced(blocks("toml")[0], ("port = 8000", "port = 0"), (CLOUD, upstream.url))
    start = PROXIES[request.param]
    try:
        with (
            served(config, directory) as backend,
            proxied(start(directory, port, backend, certificate), directory, port),
        ):
            yield Behind(Client(port, certificate.context), upstream, backend)
    finally:
        upstream.close()


def begin(upstream: SteppedUpstream) -> threading.Thread:
    """Let the upstream accept beside the client that asks."""
    accepting = threading.Thread(target=upstream.accept)
    accepting.start()
    return accepting


class TestBehindAProxy:
    def test_each_event_is_passed_on_at_once_and_whole(self, behind):
        accepting = begin(behind.upstream)
        # With this header the first byte is a comment, so the answer's head is here before there is any event.
        headers = AUTHORIZED | {"Accept": "text/event-stream"}
        with behind.client.asking("POST", "/v1/chat/completions", ASKED, headers) as response:
            accepting.join()
            assert response.status == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            assert int(response.headers["stream-next-offset"]) == 0
            assert response.headers["cache-control"] == "no-cache, no-transform"
            location = response.headers["location"]
            assert read_until(response, b"\n") == b": keep-alive\n"
            seen = b""
            for number, text in enumerate(["one", " two", " three"], 1):
                behind.upstream.send(event(text))
                seen += read_until(response, b"\n\n")
                assert re.search(rb"\nid: 0*%d\n\n$" % number, seen)
            behind.upstream.finish()
            seen += response.read()
            assert seen.endswith(b"data: [DONE]\n\n")
        resumed = AUTHORIZED | {"Last-Event-ID": re.findall(rb"id: (\d+)", seen)[0].decode()}
        status, rest = behind.client.ask("GET", f"{location}/events", headers=resumed)
        assert status == 200
        assert b" two" in rest
        assert seen.endswith(rest)

    def test_plain_text_is_passed_on_at_once(self, behind):
        accepting = begin(behind.upstream)

        def send() -> None:
            accepting.join()
            behind.upstream.send(event("one"))

        sending = threading.Thread(target=send)
        sending.start()
        with behind.client.asking("POST", "/api/chat", {"prompt": "Hello"}) as response:
            assert read_until(response, b"one") == b"one"
            sending.join()
            behind.upstream.send(event(" two"))
            assert read_until(response, b" two") == b" two"
            behind.upstream.finish()
            assert response.read() == b""

    def test_a_client_that_leaves_is_noticed(self, behind):
        accepting = begin(behind.upstream)
        headers = AUTHORIZED | {"Everytoken-Disconnect": "cancel", "Accept": "text/event-stream"}
        with behind.client.asking("POST", "/v1/chat/completions", ASKED, headers) as response:
            accepting.join()
            behind.upstream.send(event("one"))
            read_until(response, b"\n\n")
        assert behind.upstream.has_been_left()

    def test_keys_work(self, behind):
        right, wrong = AUTHORIZED, {"Authorization": "Bearer another-long-random-key"}
        assert behind.client.ask("GET", "/v1/stream/x", headers=right)[0] == 404
        for headers in ({}, wrong):
            assert behind.client.ask("GET", "/v1/stream/x", headers=headers)[0] == 401

    @pytest.mark.parametrize(
        "more", [{"Sec-Fetch-Site": "same-origin"}, {}], ids=["told by fetch", "by Host"]
    )
    def test_a_page_of_the_public_name_may_call(self, behind, more):
        headers = AUTHORIZED | {"Origin": f"https://{behind.client.authority}", **more}
        assert behind.client.ask("GET", "/", headers={})[0] == 200
        path = f"/v1/stream/page-{free_port()}"
        assert behind.client.ask("PUT", path, b"[]", headers)[0] == 201
        assert behind.client.ask("GET", path, headers=headers)[0] == 200

    def test_a_page_of_another_name_may_not(self, behind):
        foreign = {"Origin": "https://other.example", "Sec-Fetch-Site": "cross-site"}
        status, said = behind.client.ask("PUT", "/v1/stream/foreign", b"[]", AUTHORIZED | foreign)
        assert status == 403
        assert b"origins" in said

    def test_the_gateway_answers_to_no_other_name(self, behind):
        connection = http.client.HTTPConnection("127.0.0.1", behind.backend, timeout=LIMIT)
        try:
            for host, status in ((NAME, 200), ("127.0.0.1", 200), ("other.example", 421)):
                connection.request("GET", "/healthz", headers={"Host": host})
                with connection.getresponse() as response:
                    response.read()
                    assert response.status == status, host
        finally:
            connection.close()

    def test_a_large_body_passes(self, behind):
        path, data = f"/v1/stream/large-{free_port()}", os.urandom(8 * 1024 * 1024)
        headers = AUTHORIZED | {"Content-Type": "application/octet-stream"}
        assert behind.client.ask("PUT", path, data, headers)[0] == 201
        assert behind.client.ask("GET", path)[1] == data

    def test_http_2_passes(self, behind, certificate):
        curl = shutil.which("curl")
        if curl is None:
            pytest.skip("curl is not installed")
        if (
            "HTTP2"
            not in subprocess.run([curl, "--version"], capture_output=True, text=True, check=True).stdout
        ):
            pytest.skip("this curl has no HTTP/2")
        url = f"https://{behind.client.authority}"
        command = [curl, "-sS", "--http2", "--cacert", certificate.authority, "--max-time", str(LIMIT)]
        command += [
            "--resolve",
            f"{behind.client.authority}:127.0.0.1",
            "-w",
            " %{http_version}",
            f"{url}/healthz",
        ]
        run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
        assert run.stdout.endswith("} 2")


@pytest.mark.blocking_allowed("a command has a loop for itself, and an HTTP client that reads files")
@pytest.mark.parametrize("proxy", sorted(PROXIES))
def test_the_doctor_finds_nothing_behind_it(proxy, tmp_path, certificate, monkeypatch):
    assert blocks("sh")[1].split() == ["everytoken", "doctor", f"https://{NAME}"]
    port, resolve = free_port(), socket.getaddrinfo
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: resolve(
            "127.0.0.1" if host in {NAME, NAME.encode()} else host, *rest, **more
        ),
    )
    with ScriptedUpstream("Hello there") as upstream:
        config = replaced(blocks("toml")[0], ("port = 8000", "port = 0"), (CLOUD, upstream.base_url))
        with (
            served(config, tmp_path) as backend,
            proxied(PROXIES[proxy](tmp_path, port, backend, certificate), tmp_path, port),
        ):
            options = Options(base=f"https://{NAME}:{port}", key=KEY, idle=0.7, interval=0.1)
            done = asyncio.run(examine(options))
    assert found(done.measured) == []
    assert done.measured.products == (proxy,)
    assert len(done.unseen) == 1


def test_the_numbers_in_the_pages_blocks_are_the_gateways():
    [nginx], [caddy] = blocks("nginx"), blocks("caddy")
    config = Config()
    assert f"client_max_body_size {config.max_body // 1024**2}m;" in nginx
    assert f"max_size {config.max_body // 1024**2}MiB" in caddy
    assert f"proxy_read_timeout {config.max_duration:.0f}s;" in nginx
    assert f"gives open responses `drain` seconds ({config.drain:.0f})" in PAGE
    for block in blocks("toml"):
        parse(block, {}, where="the page")


@contextmanager
def shell(script: str, directory: Path, *serving: str) -> Iterator[str]:
    """Run the lines of a block; gives the URL that the gateway at their end prints."""
    path = os.pathsep.join([str(Path(EVERYTOKEN).parent), os.environ["PATH"]])
    with subprocess.Popen(
        ["bash", "-e", "-c", " ".join([script.rstrip(), "--journal memory", *serving])],
        env=environment(PATH=path),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    ) as process:
        try:
            yield read_line(process).rsplit(maxsplit=1)[-1]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_with_keys(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    with ScriptedUpstream(Answer("Hello there")) as upstream:
        block = replaced(blocks("sh")[0], (CLOUD, upstream.base_url))
        with shell(block, tmp_path, "--port 0") as url:
            file = tmp_path / "everytoken.key"
            key = file.read_text(encoding="utf-8").strip()
            assert (len(key), file.stat().st_mode & 0o077) == (64, 0)
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=LIMIT)
            try:
                for headers, status in (({}, 401), ({"Authorization": f"Bearer {key}"}, 200)):
                    connection.request("POST", "/v1/chat/completions", json.dumps(ASKED), headers)
                    with connection.getresponse() as response:
                        assert (response.status, response.read().endswith(b"[DONE]\n\n")) == (
                            status,
                            status == 200,
                        )
            finally:
                connection.close()


def test_with_tls_of_its_own(tmp_path, certificate):
    (tmp_path / "everytoken.key").write_text(KEY, encoding="utf-8")
    with ScriptedUpstream(Answer("Hello there")) as upstream:
        block = replaced(
            blocks("sh")[2],
            (CLOUD, upstream.base_url),
            ("--host 0.0.0.0 --port 8443", "--host 127.0.0.1 --port 0"),
            *certificate.in_place_of_the_pages(),
        )
        # It listens on loopback here, so it has to be told the name.
        file = tmp_path / "everytoken.toml"
        file.write_text(f'hosts = ["{NAME}"]\n', encoding="utf-8")
        with shell(block, tmp_path, f"--config {file}") as url:
            assert url.startswith("https://")
            client = Client(int(url.rsplit(":", 1)[-1]), certificate.context)
            status, body = client.ask("POST", "/v1/chat/completions", ASKED)
            assert (status, body.endswith(b"data: [DONE]\n\n")) == (200, True)
            with (
                socket.create_connection(("127.0.0.1", client.port), LIMIT) as plain,
                suppress(ConnectionResetError),
            ):
                plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: llm.example\r\n\r\n")
                assert b"200 OK" not in plain.recv(100)
            assert client.ask("GET", "/healthz")[0] == 200


@pytest.mark.skipif(REDIS is None, reason="there is no redis-server")
def test_several_nodes(tmp_path):
    redis = RedisServer(tmp_path)
    redis.start()
    try:
        with ScriptedUpstream(Answer("Hello there")) as upstream:
            config = replaced(
                blocks("toml")[1],
                ("port = 8000", "port = 0"),
                (CLOUD, upstream.base_url),
                ("redis://127.0.0.1:6379/0", redis.url),
            )
            with served(config, tmp_path) as one, served(config, tmp_path) as other:
                connection = http.client.HTTPConnection("127.0.0.1", one, timeout=LIMIT)
                connection.request("POST", "/v1/chat/completions", json.dumps(ASKED), AUTHORIZED)
                with connection.getresponse() as response:
                    whole, location = response.read(), response.headers["location"]
                connection.close()
                connection = http.client.HTTPConnection("127.0.0.1", other, timeout=LIMIT)
                connection.request("GET", f"{location}/events", headers=AUTHORIZED)
                with connection.getresponse() as response:
                    assert response.read() == whole
                connection.close()
                assert whole.endswith(b"data: [DONE]\n\n")
    finally:
        redis.stop()


@pytest.mark.parametrize("line", [line.split("  #")[0].strip() for line in blocks("sh")[3].splitlines()])
def test_probes(line, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with ScriptedUpstream(Answer("Hello there")) as upstream:
        config = f'port = 0\n[[upstream]]\nname = "u"\nurl = "{upstream.base_url}"\n'
        with served(config, tmp_path) as port:
            command = replaced(line, ("127.0.0.1:8000", f"127.0.0.1:{port}"))
            run = subprocess.run(
                command.split(), capture_output=True, text=True, check=False, env=environment()
            )
    assert (run.returncode, run.stderr) == (0, "")
