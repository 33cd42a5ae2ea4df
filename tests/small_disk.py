"""A disk of a few pages: a file system in memory, mounted where only the processes that enter it can see it."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNT = 'mount -t tmpfs -o "size=$2" none "$1" && echo mounted && exec cat'


class SmallDisk:
    """`enter` comes before the command of a process that is to see the disk at `path`."""

    def __init__(self, path: Path, pid: int) -> None:
        self.path = path
        self.enter = ("nsenter", f"--target={pid}", "--user", "--mount", "--preserve-credentials")
        self._here = Path(f"/proc/{pid}/root{path}")

    @property
    def free(self) -> int:
        """The bytes that can still be written."""
        room = os.statvfs(self._here)
        return room.f_bavail * room.f_frsize

    def fill(self, *, leave: int) -> None:
        """Put ballast onto it, so that `leave` bytes are left."""
        with (self._here / "ballast").open("wb") as file:
            file.write(bytes(self.free - leave))

    def make_room(self) -> None:
        """Take the ballast away."""
        (self._here / "ballast").unlink()


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[SmallDisk]:
    """Mount a disk of `size` bytes at `path`, an absolute one; the test is skipped where that is not allowed."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("no disk of one's own: there is no unshare")
    path.mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT, "sh", path, str(size)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        try:
            if holder.stdout.readline() != b"mounted\n":
                pytest.skip(f"no disk of one's own: {holder.stderr.read().decode().strip()}")
            yield SmallDisk(path, holder.pid)
        finally:
            holder.stdin.close()
            holder.wait()
