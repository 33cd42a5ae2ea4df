"""Debian's Prometheus as a process of its own, on a port that the kernel chooses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.processes import stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
_LISTENS = re.compile(r'msg="Listening on" address=(\S+)')
_PATIENCE = 20.0  # seconds
_PAUSE = 0.05


class Prometheus:
    """A running server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **query: str) -> Any:
        """Return the data of an answer of its API."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
            return json.load(answer)["data"]

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=_PATIENCE):
                return True
        except urllib.error.HTTPError:
            return False

    def value(self, expression: str) -> float | None:
        """Return the value of an expression, None as long as it has none."""
        found = self.get("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else None

    def until(self, is_so: Callable[[], Any]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + _PATIENCE
        while not is_so():
            assert time.monotonic() < deadline, self.get("targets")
            time.sleep(_PAUSE)


@contextmanager
def prometheus(folder: Path, config: str) -> Iterator[Prometheus]:
    """Run it with a configuration; it keeps what it reads in `folder`."""
    assert PROMETHEUS is not None
    (folder / "prometheus.yml").write_text(config, encoding="utf-8")
    command = [
        PROMETHEUS,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stderr is not None
        try:
            read: list[str] = []
            for line in process.stderr:
                read.append(line)
                if (found := _LISTENS.search(line)) is not None:
                    break
            else:
                raise AssertionError("".join(read))
            # Nobody reads the rest, and the pipe must not fill up.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            server = Prometheus(f"http://{found[1]}")
            server.until(server.is_ready)
            yield server
        finally:
            stop(process)
