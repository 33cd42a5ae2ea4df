"""`everytoken chat`: an answer in the terminal, or a conversation."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from everytoken.cli.asking import code_of
from everytoken.cli.output import Output
from everytoken.cli.signals import Signals, StoppedError
from everytoken.cli.talk import Talk
from everytoken.cli.text import one_line
from everytoken.errors import ConnectError, StatusError

if TYPE_CHECKING:
    from everytoken.cli.talk import Outcome

__all__ = ["chat"]

_DEFAULT_URL = "http://127.0.0.1:8000/v1"
_SIGN = "> "
_STDOUT = 1
_READER_GONE = 128 + signal.SIGPIPE  # as for any other program of a pipeline
_GONE = {errno.EPIPE, errno.EIO}


@click.command()
@click.argument("prompt", required=False)
@click.option(
    "--base-url",
    metavar="URL",
    help=f"An OpenAI-compatible server; to one without a path /v1 is added.  [default: EVERYTOKEN_BASE_URL, OPENAI_BASE_URL, or {_DEFAULT_URL}]",
)
@click.option("--model", metavar="NAME", help="The model to ask.  [default: the first one the server lists]")
@click.option("--system", metavar="TEXT", help="Instructions that stand before the conversation.")
@click.option("--seed", type=int, metavar="N", help="Ask for the same answer again.")
@click.option("--temperature", type=float, metavar="T", help="How freely the model chooses its words.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Length limit of an answer.")
def chat(
    prompt: str | None,
    base_url: str | None,
    model: str | None,
    system: str | None,
    seed: int | None,
    temperature: float | None,
    max_tokens: int | None,
) -> None:
    """Ask a language model and show its answer while it comes.

    PROMPT is the question. What is piped in is the question, too, or stands below PROMPT. With neither, on a terminal,
    a conversation begins: Ctrl-C stops an answer, Ctrl-D leaves.

    On a terminal the answer is rendered; into a pipe or a file goes its text and nothing else. The API key is taken
    from EVERYTOKEN_API_KEY or OPENAI_API_KEY.

    Exit status: 0 when the answer is complete, 1 when it is not (standard error says why), 2 for a wrong command line,
    130 after Ctrl-C.
    """
    question = _question(prompt)
    url = _base_url(base_url)
    key = (os.environ.get("EVERYTOKEN_API_KEY") or os.environ.get("OPENAI_API_KEY") or "").strip()
    settings = {"seed": seed, "temperature": temperature, "max_tokens": max_tokens}
    given = {name: value for name, value in settings.items() if value is not None}
    talk = Talk(url, key or None, model, system, given)
    with Signals() as signals:
        output = Output(_STDOUT, lambda: signals.stopped)
        try:
            if question is None:
                status = _converse(talk, signals, output)
            else:
                status = _report(signals.run(talk.ask(question, output)), url)
        except StoppedError as error:
            status = 128 + error.number
        except OSError as error:
            status = _failed_output(error)
        finally:
            signals.run(talk.close())
    sys.exit(status)


def _converse(talk: Talk, signals: Signals, output: Output) -> int:
    """Ask what is typed, line by line, and return the exit status."""
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415  # being there, it lets lines be edited
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    click.echo("Ctrl-C stops an answer, Ctrl-D leaves.", err=True)
    while True:
        try:
            question = _typed()
            if question.strip():
                _report(signals.run(talk.ask(question, output)), talk.url)
        except EOFError:
            click.echo(err=True)
            return 0
        except KeyboardInterrupt:
            click.echo(err=True)
        except StoppedError as error:
            if error.number != signal.SIGINT:
                raise
            click.echo("stopped", err=True)


def _typed() -> str:
    """Return the next line. Raises `EOFError` when there is none."""
    if os.isatty(_STDOUT):
        return input(_SIGN)
    click.echo(_SIGN, nl=False, err=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _question(prompt: str | None) -> str | None:
    """Return what to ask; None for a conversation."""
    if prompt is not None:
        prompt = prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if sys.stdin is None or sys.stdin.isatty():
        piped = ""
        if prompt is None and sys.stdin is not None:
            return None
    else:
        piped = sys.stdin.buffer.read().decode("utf-8-sig", "replace").rstrip("\r\n")
    question = "\n\n".join(part for part in (prompt, piped) if part)
    if not question.strip():
        raise click.UsageError("there is nothing to ask: PROMPT and standard input are empty")
    return question


def _base_url(option: str | None) -> str:
    environ = os.environ
    url = option or environ.get("EVERYTOKEN_BASE_URL") or environ.get("OPENAI_BASE_URL") or _DEFAULT_URL
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise click.UsageError(f"{url!r} is not an http:// or https:// URL")
    return f"{url.rstrip('/')}/v1" if parts.path in {"", "/"} else url


def _report(outcome: Outcome, url: str) -> int:
    """Say on standard error how an answer has ended, if not well, and return the exit status."""
    error = outcome.error
    if error is None:
        if outcome.notice is not None:
            click.echo(f"note: {outcome.notice}", err=True)
        return 0
    if outcome.begun:
        line = f"interrupted: {error.message} ({code_of(error)})"
    elif not isinstance(error, ConnectError):
        line = f"everytoken: {error.message}"
    elif url == _DEFAULT_URL:
        line = f"everytoken: nothing answers at {url}; start a server with: everytoken serve"
    else:
        line = f"everytoken: cannot connect to {url}: {error.message}"
    if isinstance(error, StatusError) and error.upstream_status == 401:
        line += "; the key is taken from EVERYTOKEN_API_KEY or OPENAI_API_KEY"
    click.echo(one_line(line), err=True)
    return 1


def _failed_output(error: OSError) -> int:
    """Return the exit status after writing has failed; who has closed a pipe knows."""
    if error.errno in _GONE:
        return _READER_GONE
    click.echo(f"everytoken: cannot write the answer: {error.strerror or error}", err=True)
    return 1
