"""Programs of `docs/deployment.md` for its tests: nginx, HAProxy and Caddy with the page's own blocks, and who is at either end."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from command_line import LIMIT, environment, wait_for
from gateway_serving import FINISH

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[1] / "docs/deployment.md").read_text(encoding="utf-8")
NAME = "llm.example"
KEY = "put-a-long-random-key-here"
AUTHORIZED = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """Put the test's ports and files into a block of the page; what is replaced must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


class SteppedUpstream:
    """A model server that sends a chunk when the test says so, and notices when the gateway has left."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        self._connection: socket.socket | None = None

    def accept(self) -> None:
        """Take the gateway's next connection and request, and begin to answer."""
        self._listening.settimeout(LIMIT)
        self._connection, _ = self._listening.accept()
        self._connection.settimeout(LIMIT)
        received = b""
        while not (end := received.find(b"\r\n\r\n") + 4) > 3:
            received += self._connection.recv(65536)
        if received.startswith(b"GET "):  # what models there are
            self._connection.sendall(
                b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self._connection.close()
            self.accept()
            return
        length = int(re.search(rb"content-length: (\d+)", received, re.IGNORECASE)[1])
        while len(received) < end + length:
            received += self._connection.recv(65536)
        self._connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def finish(self) -> None:
        self.send(FINISH)
        self._connection.close()

    def has_been_left(self) -> bool:
        """Return whether the gateway closes its connection, within the time limit."""
        with suppress(ConnectionResetError):
            return self._connection.recv(1) == b""
        return True

    def close(self) -> None:
        self._listening.close()
        if self._connection is not None:
            self._connection.close()


class Certificate:
    """A certificate for the page's name, as the files that a server wants, and the context of a client that trusts it."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert(NAME)
        self.chain = directory / "llm.example.pem"
        self.key = directory / "llm.example.key"
        issued.cert_chain_pems[0].write_to_path(self.chain)
        issued.private_key_pem.write_to_path(self.key)
        self.both = directory / "llm.example.both.pem"  # as HAProxy wants it
        issued.private_key_and_cert_chain_pem.write_to_path(self.both)
        self.authority = directory / "authority.pem"
        authority.cert_pem.write_to_path(self.authority)
        self.context = ssl.create_default_context(cafile=self.authority)

    def in_place_of_the_pages(self) -> tuple[tuple[str, str], tuple[str, str]]:
        return ("/etc/ssl/llm.example.pem", str(self.chain)), ("/etc/ssl/llm.example.key", str(self.key))


class Client:
    """A client that speaks TLS to the page's name on a loopback port."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.port = port
        self.authority = f"{NAME}:{port}"
        self._context = context

    @contextmanager
    def asking(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] = AUTHORIZED
    ) -> Iterator[http.client.HTTPResponse]:
        plain = socket.create_connection(("127.0.0.1", self.port), LIMIT)
        connection = http.client.HTTPConnection(self.authority, timeout=LIMIT)
        connection.sock = self._context.wrap_socket(plain, server_hostname=NAME)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body)
            connection.request(method, path, data, headers)
            with connection.getresponse() as response:
                yield response
        finally:
            connection.close()

    def ask(self, *request: Any, **more: Any) -> tuple[int, bytes]:
        with self.asking(*request, **more) as response:
            return response.status, response.read()


def read_until(response: http.client.HTTPResponse, end: bytes) -> bytes:
    """Read what has come until it ends so. A proxy that holds it back makes this time out."""
    data = b""
    while not data.endswith(end):
        data += (some := response.read1())
        assert some, f"it ended in {data[-100:]!r}"
    return data


def start_nginx(directory: Path, port: int, backend: int, certificate: Certificate) -> list[str]:
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    [block] = blocks("nginx")
    block = replaced(
        block,
        ("127.0.0.1:8000", f"127.0.0.1:{backend}"),
        ("listen 443", f"listen 127.0.0.1:{port}"),
        *certificate.in_place_of_the_pages(),
    )
    places = [
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    ]
    config = directory / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {' '.join(places)}\n{block}\n}}\n",
        encoding="utf-8",
    )
    return [program, "-c", str(config), "-e", f"{directory}/error.log"]


def start_caddy(directory: Path, port: int, backend: int, certificate: Certificate) -> list[str]:
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("caddy is not installed")
    [block] = blocks("caddy")
    # What the page leaves to Caddy, a certificate from the outside world, has to be given to it here.
    ours = f"https://{NAME}:{port} {{\n    bind 127.0.0.1\n    tls {certificate.chain} {certificate.key}\n"
    block = replaced(block, (f"{NAME} {{\n", ours), ("127.0.0.1:8000", f"127.0.0.1:{backend}"))
    config = directory / "Caddyfile"
    config.write_text(f"{{\n    admin off\n    auto_https disable_redirects\n}}\n{block}", encoding="utf-8")
    return [program, "run", "--config", str(config), "--adapter", "caddyfile"]


def start_haproxy(directory: Path, port: int, backend: int, certificate: Certificate) -> list[str]:
    program = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("haproxy is not installed")
    [block] = blocks("haproxy")
    block = replaced(
        block,
        ("127.0.0.1:8000", f"127.0.0.1:{backend}"),
        ("bind :443", f"bind 127.0.0.1:{port}"),
        ("/etc/ssl/llm.example.both.pem", str(certificate.both)),
    )
    config = directory / "haproxy.cfg"
    config.write_text(block, encoding="utf-8")
    return [program, "-db", "-f", str(config)]


PROXIES = {"nginx": start_nginx, "caddy": start_caddy, "haproxy": start_haproxy}


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextmanager
def proxied(command: list[str], directory: Path, port: int) -> Iterator[None]:
    """Run a proxy."""
    env = environment(HOME=str(directory), XDG_DATA_HOME=str(directory), XDG_CONFIG_HOME=str(directory))
    log = directory / "proxy.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=env, stdout=output, stderr=output) as process,
    ):
        try:
            wait_for(lambda: answers(port) or process.poll() is not None)
            assert process.poll() is None, log.read_text(encoding="utf-8")
            yield
        finally:
            process.kill()
