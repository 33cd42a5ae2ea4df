"""A PostgreSQL server of one's own, on a free port, in a directory of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
from tests.redis_server import free_port

PAUSE = 0.02
PATIENCE = 20.0  # seconds to come up


def _programs() -> Path | None:
    """Return where the server's programs are. Debian does not have them in PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


PROGRAMS = _programs()
_TABLES = ("streams", "entries", "producers", "nodes", "reservations", "totals", "windows", "running")


async def empty_postgres(url: str) -> None:
    """Leave nothing of a journal but its tables."""
    connection = await asyncpg.connect(url)
    if await connection.fetchval("SELECT to_regclass('everytoken.streams')") is not None:
        for table in _TABLES:  # they are small: to truncate them would take longer
            await connection.execute(f"DELETE FROM everytoken.{table}")
    await connection.close()


class PostgresServer:
    """Starts, pauses, kills and restarts it; `fsync`: what it has acknowledged survives its death.

    It refuses to run as root, so that it runs as `postgres` then.
    """

    def __init__(self, *, fsync: bool = False) -> None:
        assert PROGRAMS is not None
        self._programs = PROGRAMS
        self._directory = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._directory / "data"
        self._fsync = fsync
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._as = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(self._directory, "postgres", "postgres")
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://everytoken@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it."""
        if not self._data.exists():
            self._run(
                "initdb",
                "-U",
                "everytoken",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "-N",
                "-D",
                self._data,
            )
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "on" if self._fsync else "off",
            "max_connections": "60",
            "shared_buffers": "16MB",
        }
        for _ in range(3):
            sets = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-p", str(self.port), *sets],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self._directory,
                **self._as,
            )
            if self._has_come_up():
                return
            self.port = free_port()
        raise AssertionError("postgres does not come up")

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            stdout=subprocess.DEVNULL,
            check=True,
            cwd=self._directory,
            **self._as,
        )

    def _has_come_up(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        asks = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while self._process.poll() is None:
            if subprocess.run(asks, check=False).returncode == 0:
                return True
            assert time.monotonic() < deadline, "postgres does not come up"
            time.sleep(PAUSE)
        return False

    @property
    def pids(self) -> list[int]:
        """The pids of the server and of those that serve connections."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return [pid, *map(int, children.read_text().split())] if children.exists() else [pid]

    def kill(self) -> None:
        """End it without a chance to say goodbye: what it had not written yet is lost."""
        assert self._process is not None
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """Let it answer nothing, with its connections open."""
        self._paused = self.pids
        for pid in self._paused:
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in self._paused:
            os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)
