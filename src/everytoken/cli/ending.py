"""How a command ends: the line on standard error, and the exit status."""

from __future__ import annotations

import errno
import signal
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from everytoken.cli import address
from everytoken.cli.asking import code_of
from everytoken.cli.text import one_line
from everytoken.errors import ConnectError, EverytokenError, StatusError

if TYPE_CHECKING:
    from everytoken.cli.signals import StoppedError

__all__ = ["Outcome", "failed_output", "report", "status_of"]

_READER_GONE = 128 + signal.SIGPIPE  # as for any other program of a pipeline
_GONE = {errno.EPIPE, errno.EIO}


class Outcome(NamedTuple):
    """How an answer ended: `error` unless it is complete, whether it had `begun`, and a `notice` for the user, if any."""

    error: EverytokenError | None
    begun: bool
    notice: str | None


def report(outcome: Outcome, url: str) -> int:
    """Report on standard error how an answer ended, unless it ended well, and return the exit status."""
    error = outcome.error
    if error is None:
        if outcome.notice is not None:
            click.echo(f"note: {outcome.notice}", err=True)
        return 0
    if outcome.begun and code_of(error) == "cancelled":
        line = f"cancelled: {error.message}"
    elif outcome.begun:
        line = f"interrupted: {error.message} ({code_of(error)})"
    elif not isinstance(error, ConnectError):
        line = f"everytoken: {error.message}"
    elif url == address.DEFAULT_URL:
        line = f"everytoken: no server at {url}; start one with: everytoken serve"
    else:
        line = f"everytoken: cannot connect to {url}: {error.message}"
    if isinstance(error, StatusError) and error.upstream_status == 401:
        line += "; the key is taken from EVERYTOKEN_API_KEY or OPENAI_API_KEY"
    elif _is_unknown_model(error):
        line += "; `everytoken models` lists the models, --model NAME chooses one"
    click.echo(one_line(line), err=True)
    return 1


def _is_unknown_model(error: EverytokenError) -> bool:
    """Whether a server has refused a request because of its model."""
    if not isinstance(error, StatusError) or error.upstream_status not in {400, 404}:
        return False
    try:
        told = msgspec.json.decode(error.body or b"")["error"]
        return told.get("param") == "model" or str(told.get("code")).replace("-", "_") == "model_not_found"
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
        return False


def failed_output(error: OSError) -> int:
    """Return the exit status after a failed write. A closed pipe is not reported: the reader closed it on purpose."""
    if error.errno in _GONE:
        return _READER_GONE
    click.echo(f"everytoken: cannot write the answer: {error.strerror or error}", err=True)
    return 1


def status_of(stopped: StoppedError) -> int:
    """Return the exit status after a signal, as a shell counts it."""
    return 128 + stopped.number
