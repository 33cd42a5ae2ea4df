"""How a journal gets to its Redis: with TLS, with a user of few rights, to a cluster; and what it says of what it finds."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from tests.journal_backends import Reader, info, read_all, until
from tests.redis_server import REDIS, RedisServer, free_port

import everytoken.journal.redis_connection as connection_module
from everytoken.errors import ConfigurationError, JournalUnavailableError
from everytoken.journal import Append
from everytoken.journal.redis import RedisJournal
from everytoken.journal.redis_connection import Address, RedisConnection, pack
from everytoken.journal.redis_entries import Keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [
    pytest.mark.skipif(REDIS is None, reason="there is no redis-server"),
    pytest.mark.blocking_allowed("the server is looked after beside the test"),
]

DOCS = Path(__file__).parents[2] / "docs" / "journal.md"
RECORDS = [b'{"n":%d}' % n for n in range(100)]


@asynccontextmanager
async def journal_at(url: str, **settings: Any) -> AsyncIterator[RedisJournal]:
    journal = RedisJournal(url, **settings)
    await journal.start()
    try:
        yield journal
    finally:
        await journal.stop()


async def refusal(url: str) -> str:
    """Return the one line with which a journal does not start."""
    with pytest.raises((ConfigurationError, JournalUnavailableError)) as refused:
        await RedisJournal(url).start()
    assert "\n" not in refused.value.message
    return f"{refused.value.code}: {refused.value.message}"


async def use(url: str) -> None:
    """Have a journal at `url` do all that journals do, on two nodes."""
    async with journal_at(url) as here, journal_at(url, lease=1.0) as there:
        writer = await here.create(info(), RECORDS[:3])
        reading = asyncio.create_task(Reader(await there.open("s")).run())
        writer.append(RECORDS[3:50])
        await until(lambda: writer.log.tail == 50)
        await there._ask(pack("DEL", Keys().alive(here._node.encode())))
        assert await there.orphans() == ["s"]
        told: list[bool] = []
        writer.when_fenced(lambda: told.append(True))
        taker = await there.claim("s")
        taker.close(RECORDS[50:], {"outcome": "completed"})
        assert await reading == RECORDS
        await until(lambda: told)
        assert await read_all(await here.open("s")) == RECORDS
        await until(lambda: not there._writing._tasks)
        await here.create(info("everybody's", shared=True, ttl=100))
        await there.submit("everybody's", Append(records=[b"1"], close=True))
        assert not await here.is_read_elsewhere("everybody's")
        for name in ("s", "everybody's"):
            await here.delete(name)


# TLS


class Tls:
    """A server with TLS, and certificates: of the authority that is to be trusted, and of a client."""

    def __init__(self, path: Path) -> None:
        authority = trustme.CA()
        self.ca = str(path / "ca.pem")
        self.client = str(path / "client.pem")
        self.port = free_port()
        authority.cert_pem.write_to_path(self.ca)
        authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(self.client)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path / "server.pem")
        self.options = ["--tls-port", str(self.port), "--tls-ca-cert-file", self.ca]
        for kind in ("cert", "key"):
            self.options += [f"--tls-{kind}-file", str(path / "server.pem")]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    path = tmp_path_factory.mktemp("tls")
    tls = Tls(path)
    server = RedisServer(path, *tls.options, "--tls-auth-clients", "optional")
    server.start()
    yield tls
    server.stop()


@pytest.mark.every_loop
async def test_a_journal_over_tls(tls: Tls) -> None:
    await use(f"rediss://127.0.0.1:{tls.port}/0?ssl_ca_certs={tls.ca}")


async def test_the_systems_certificates_are_trusted(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", tls.ca)
    async with journal_at(f"rediss://127.0.0.1:{tls.port}/1") as journal:
        await journal.create(info())


@pytest.mark.every_loop
async def test_a_certificate_of_somebody_else_is_said_in_one_line(tls: Tls) -> None:
    line = await refusal(f"rediss://127.0.0.1:{tls.port}/2")
    assert line.startswith(f"configuration-invalid: Redis at 127.0.0.1:{tls.port} cannot be trusted: ")
    assert "issuer certificate" in line or "self-signed" in line


async def test_a_certificate_for_another_name_is_said_in_one_line(tls: Tls) -> None:
    line = await refusal(f"rediss://localhost:{tls.port}/0?ssl_ca_certs={tls.ca}")
    assert "cannot be trusted: Hostname mismatch" in line


async def test_tls_where_there_is_none_and_none_where_there_is(
    tls: Tls, own: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        connection_module, "_CONNECT", 0.3
    )  # a server without TLS waits for the rest of a command
    assert "cannot be reached" in await refusal(f"rediss://127.0.0.1:{own.port}/0?ssl_ca_certs={tls.ca}")
    assert "write rediss://" in await refusal(f"redis://127.0.0.1:{tls.port}/0")


async def test_certificates_that_are_not_there(tls: Tls, tmp_path: Path) -> None:
    line = await refusal(f"rediss://127.0.0.1:{tls.port}/0?ssl_ca_certs={tmp_path}/none.pem")
    assert line.startswith(f"configuration-invalid: the certificates for Redis at 127.0.0.1:{tls.port}")


async def test_a_server_that_wants_to_know_its_clients(tmp_path: Path) -> None:
    tls = Tls(tmp_path)
    server = RedisServer(tmp_path, *tls.options, "--tls-auth-clients", "yes")
    server.start()
    try:
        url = f"rediss://127.0.0.1:{tls.port}/0?ssl_ca_certs={tls.ca}"
        async with journal_at(f"{url}&ssl_certfile={tls.client}&ssl_keyfile={tls.client}") as journal:
            await journal.create(info())
        assert f"Redis at 127.0.0.1:{tls.port} " in await refusal(url)
    finally:
        server.stop()


# Users


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


def _commands() -> list[str]:
    """Return the commands that docs/journal.md says are needed."""
    (row,) = re.findall(r"^\| commands \|(.*)\|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    needed = re.sub(r"and `CONFIG GET`.*?;", "", row)
    return [command for group in re.findall(r"`([A-Z ]+)`", needed) for command in group.split()]


async def test_a_user_with_the_documented_rights_and_no_others(
    own: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    rights = [f"+{command.lower()}" for command in _commands()]
    async with journal_at(own.url) as journal:
        await journal._ask(pack("ACL", "SETUSER", "app", "on", ">p@ss", "~everytoken:*", "-@all", *rights))
        await journal._ask(pack("ACL", "SETUSER", "default", "off"))
    await use(own.url.replace("//", "//app:p%40ss@"))
    assert not caplog.records, "what a server keeps to itself is no reason to warn"
    for login in ("", "app:wrong@", ":p%40ss@", "nobody:p%40ss@"):
        line = await refusal(own.url.replace("//", f"//{login}"))
        assert line.startswith(f"configuration-invalid: Redis at 127.0.0.1:{own.port} refuses access: ")
        assert "p@ss" not in line
        assert "p%40ss" not in line


# What it finds


async def test_a_cluster_that_is_taken_for_one_server_is_refused_in_one_line(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    server.start()
    try:
        connection = await RedisConnection.connect(Address.parse(server.url), 3.0)
        assert await connection.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383) == b"OK"
        connection.close()
        await connection.lost.wait()
        line = await refusal(server.url)
    finally:
        server.stop()
    assert line == (
        f"configuration-invalid: Redis at 127.0.0.1:{server.port} is a cluster: write redis-cluster://"
    )


@pytest.mark.parametrize(
    ("settings", "durability", "warnings"),
    [
        ({"maxmemory-policy": "noeviction", "maxmemory": "100mb"}, "process", []),
        ({"maxmemory-policy": "allkeys-lru", "maxmemory": "0"}, "process", []),
        ({"maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"}, "process", ["drops open and ended"]),
        ({"maxmemory-policy": "volatile-ttl", "maxmemory": "100mb"}, "process", ["drops ended"]),
        ({"appendfsync": "everysec"}, "power", ["synced everysec; set appendonly yes"]),
        ({"appendfsync": "always"}, "power", []),
        ({"appendonly": "no"}, "power", ["kept in its memory only"]),
    ],
)
async def test_settings_that_are_a_danger_are_warned_of_in_one_line(
    own: RedisServer, caplog: pytest.LogCaptureFixture, settings: Any, durability: str, warnings: list[str]
) -> None:
    async with journal_at(own.url) as journal:
        for name, value in settings.items():
            await journal._ask(pack("CONFIG", "SET", name, value))
    async with journal_at(own.url, durability=durability):
        pass
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == len(warnings)
    for line, words in zip(told, warnings, strict=True):
        assert words in line
        assert "\n" not in line


@pytest.mark.parametrize(("away", "tried"), [(3.0, 1), (3.5, 1), (4.5, 2), (60.0, 2)])
async def test_a_server_is_not_blamed_for_a_loop_that_stood_still(away: float, tried: int) -> None:
    """A time-out that passes while the process does not run says nothing of the server."""
    times, tries = iter([0.0, away]), 0
    loop: Any = SimpleNamespace(time=lambda: next(times))

    async def connect() -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise TimeoutError
        return "connected"

    if tried == 1:
        with pytest.raises(TimeoutError):
            await connection_module._in_time(loop, connect)
    else:
        assert await connection_module._in_time(loop, connect) == "connected"
    assert tries == tried
