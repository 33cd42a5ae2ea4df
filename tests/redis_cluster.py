"""A Redis Cluster of one's own, and a Redis with Sentinels: real servers on free ports, which can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import hiredis
from tests.redis_server import PAUSE, REDIS, RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE = 30.0  # seconds for servers to agree
SLOTS = 16_384
NODE_TIMEOUT = 2000  # milliseconds after which a server that is silent has failed: a busy machine may make it wait for one


class ClusterServers:
    """`masters` servers with the same share of all slots, and `replicas` for each of them."""

    def __init__(self, directory: Path, masters: int = 3, replicas: int = 0) -> None:
        self.masters: list[RedisServer] = []
        self.replicas: list[list[RedisServer]] = []
        for number in range(masters):
            self.masters.append(self._server(directory / f"m{number}"))
            self.replicas.append([self._server(directory / f"r{number}-{n}") for n in range(replicas)])

    @staticmethod
    def _server(directory: Path) -> RedisServer:
        directory.mkdir()
        return RedisServer(
            directory,
            *("--cluster-node-timeout", str(NODE_TIMEOUT), "--repl-diskless-sync-delay", "0"),
            *("--cluster-allow-replica-migration", "no", "--loglevel", "warning"),
            persistent=False,
            of_cluster=True,
        )

    @property
    def servers(self) -> list[RedisServer]:
        return [*self.masters, *(one for some in self.replicas for one in some)]

    @property
    def url(self) -> str:
        """Some of the servers are enough."""
        return "redis-cluster://" + ",".join(f"127.0.0.1:{one.port}" for one in self.masters[-2:])

    def start(self) -> None:
        for server in self.servers:
            server.start()
        for number, master in enumerate(self.masters):
            first, last = (SLOTS * at // len(self.masters) for at in (number, number + 1))
            assert ask(master, "CLUSTER", "ADDSLOTSRANGE", first, last - 1) == b"OK"
            ask(master, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        here = self.servers[0]
        for server in self.servers[1:]:
            ask(server, "CLUSTER", "MEET", "127.0.0.1", here.port, bus_port(here))
        count = len(self.servers)
        wait(lambda: all(ask(one, "CLUSTER", "NODES").count(b"connected") == count for one in self.servers))
        for master, replicas in zip(self.masters, self.replicas, strict=True):
            name = ask(master, "CLUSTER", "MYID")
            for replica in replicas:
                assert ask(replica, "CLUSTER", "REPLICATE", name) == b"OK"
        wait(self.is_well)

    def is_well(self) -> bool:
        """Whether all slots are served, and every master has its replicas."""
        return all(b"cluster_state:ok" in ask(one, "CLUSTER", "INFO") for one in self.servers) and all(
            ask(master, "ROLE")[0] == b"master" and len(ask(master, "ROLE")[2]) == len(replicas)
            for master, replicas in zip(self.masters, self.replicas, strict=True)
        )

    def fail_over(self, dead: RedisServer) -> None:
        """Wait until a replica has taken the place of a master that was killed, and start that one again."""
        number = self.masters.index(dead)
        wait(lambda: any(ask(one, "ROLE")[0] == b"master" for one in self.replicas[number]))
        [new] = [one for one in self.replicas[number] if ask(one, "ROLE")[0] == b"master"]
        self.masters[number] = new
        self.replicas[number][self.replicas[number].index(new)] = dead
        dead.start()

    def flush(self) -> None:
        for master in self.masters:
            assert ask(master, "FLUSHALL") == b"OK"

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


class SentinelServers:
    """A master called `m`, its replicas, and Sentinels that make one of them the master when it is gone."""

    def __init__(self, directory: Path, replicas: int = 2, sentinels: int = 3) -> None:
        self._directory = directory
        for number in range(replicas + 1):
            (directory / str(number)).mkdir()
        options = ("--repl-diskless-sync-delay", "0", "--loglevel", "warning")
        self.servers = [
            RedisServer(directory / str(number), *options, persistent=False) for number in range(replicas + 1)
        ]
        self._ports = [free_port() for _ in range(sentinels)]
        self._sentinels: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return f"redis-sentinel://{','.join(f'127.0.0.1:{port}' for port in self._ports)}/m"

    def start(self) -> None:
        assert REDIS is not None
        master, *replicas = self.servers
        for server in self.servers:
            server.start()
        for replica in replicas:
            ask(replica, "REPLICAOF", "127.0.0.1", master.port)
        wait(lambda: len(ask(master, "ROLE")[2]) == len(replicas))
        for port in self._ports:
            file = self._directory / f"sentinel-{port}.conf"
            file.write_text(
                f"port {port}\nbind 127.0.0.1\nsentinel monitor m 127.0.0.1 {master.port} 2\n"
                f"sentinel down-after-milliseconds m {NODE_TIMEOUT}\nsentinel failover-timeout m 5000\n",
                encoding="utf-8",
            )
            self._sentinels.append(
                subprocess.Popen([REDIS, str(file), "--sentinel"], stdout=subprocess.DEVNULL)
            )
        count = str(len(self._ports) - 1).encode()

        def agreed() -> bool:
            told = [ask_port(port, "SENTINEL", "MASTER", "m") for port in self._ports]
            known = [dict(zip(one[::2], one[1::2], strict=True)) for one in told]
            return all(
                one[b"num-other-sentinels"] == count and int(one[b"num-slaves"]) == len(replicas)
                for one in known
            )

        wait(agreed)

    def master(self) -> RedisServer:
        _, port = ask_port(self._ports[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m")
        [found] = [server for server in self.servers if server.port == int(port)]
        return found

    def stop(self) -> None:
        for sentinel in self._sentinels:
            sentinel.send_signal(signal.SIGKILL)
            sentinel.wait()
        for server in self.servers:
            server.stop()


def bus_port(server: RedisServer) -> int:
    return int(ask(server, "CONFIG", "GET", "cluster-port")[1])


def ask(server: RedisServer, *command: str | bytes | int) -> Any:
    return ask_port(server.port, *command)


def ask_port(port: int, *command: str | bytes | int) -> Any:
    """Return a server's reply, which is no error."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        return _reply(connection, command)


def _reply(connection: socket.socket, command: tuple[str | bytes | int, ...]) -> Any:
    packed: Any = command
    connection.sendall(hiredis.pack_command(packed))
    reader = hiredis.Reader()
    while (reply := reader.gets()) is False:
        data = connection.recv(65536)
        assert data, "the server has hung up"
        reader.feed(data)
    assert not isinstance(reply, hiredis.ReplyError), reply
    return reply


def wait(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError):
            if happened():
                return
        assert time.monotonic() < deadline, "the servers do not agree"
        time.sleep(PAUSE)


async def wait_async(happened: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait, happened)
