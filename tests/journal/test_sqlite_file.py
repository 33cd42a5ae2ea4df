"""A journal's file has one server, by whatever name another one knows it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from tests.command_line import gateway, run

from everytoken.journal.sqlite_file import remove_unused
from everytoken.journal.urls import _clean_up

if TYPE_CHECKING:
    from pathlib import Path

UPSTREAM = ("--upstream", "http://127.0.0.1:9")


@pytest.fixture
def served(tmp_path: Path):
    path = tmp_path / "journal.sqlite"
    with gateway("--journal", f"sqlite:///{path}", *UPSTREAM):
        yield path


def refused(path: Path) -> None:
    second = run("serve", "--port", "0", "--journal", f"sqlite:///{path}", *UPSTREAM)
    assert second.returncode != 0
    assert b"in use by another process" in second.stderr or b"has hard links" in second.stderr
    assert b"Traceback" not in second.stderr


@pytest.mark.parametrize("how", ["same", "dotted", "symlink", "symlink to the directory", "hard link"])
def test_a_second_server_is_refused(how: str, served: Path, tmp_path: Path) -> None:
    other = {
        "same": served,
        "dotted": served.parent / "x" / ".." / served.name,
        "symlink": tmp_path / "symlink.sqlite",
        "symlink to the directory": tmp_path / "directory" / served.name,
        "hard link": tmp_path / "hard.sqlite",
    }[how]
    (tmp_path / "x").mkdir()
    if how == "symlink":
        other.symlink_to(served)
    elif how == "symlink to the directory":
        other.parent.symlink_to(served.parent)
    elif how == "hard link":
        os.link(served, other)
    refused(other)


def test_a_first_server_by_a_symlink_keeps_out_one_by_the_name(tmp_path: Path) -> None:
    real, link = tmp_path / "journal.sqlite", tmp_path / "link.sqlite"
    link.symlink_to(real)
    with gateway("--journal", f"sqlite:///{link}", *UPSTREAM):
        refused(real)


def test_cleaning_up_leaves_a_file_that_is_open_by_another_name(served: Path, tmp_path: Path) -> None:
    other = tmp_path / "journal-1.sqlite"
    os.link(served, other)
    with pytest.raises(BlockingIOError):
        remove_unused(other, [other])
    assert other.exists()


def test_cleaning_up_removes_what_nobody_uses(tmp_path: Path) -> None:
    path = tmp_path / "journal-1.sqlite"
    path.touch()
    _clean_up(tmp_path, time.time() + 10)
    assert list(tmp_path.iterdir()) == []
