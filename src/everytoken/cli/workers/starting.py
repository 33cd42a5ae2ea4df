"""Whether several workers can serve, how many, and their beginning."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from everytoken.cli.workers.supervisor import Supervisor
from everytoken.errors import ConfigurationError
from everytoken.gateway.config import MAX_WORKERS
from everytoken.gateway.making import configured_journal
from everytoken.journal import SharedJournal

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from everytoken.gateway import Config

__all__ = ["Count", "check_shared", "cores", "supervise"]

_SCRIPT = "from everytoken.cli import main; main()"


class Count(click.ParamType[int]):
    """A number of workers; `auto` is 0."""

    name = "count"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or fail as click does."""
        if isinstance(value, int):
            return value
        text = str(value)
        if text == "auto":
            return 0
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_WORKERS):
            self.fail(f"{text!r} is neither 'auto' nor a number from 1 to {MAX_WORKERS}", param, ctx)
        return int(text)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    return min(os.cpu_count() or 1, MAX_WORKERS)  # macOS


def check_shared(config: Config, port: int) -> None:
    """Raise `ConfigurationError` unless several processes can use the journal at once."""
    if not isinstance(configured_journal(config, port=port), SharedJournal):
        raise ConfigurationError(
            "several workers need a journal that they can share: set journal to redis://HOST or postgresql://HOST, or workers to 1"
        )


def supervise(count: int, listening: socket.socket, ready: Callable[[], None]) -> NoReturn:
    """Start `count` workers with the options of this process, and end when they have ended."""
    command = [sys.executable, "-c", _SCRIPT, *sys.argv[1:], "--as-worker"]
    sys.exit(asyncio.run(Supervisor(count, command, listening, ready).run()))
