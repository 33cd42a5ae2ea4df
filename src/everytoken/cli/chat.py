"""`everytoken chat`: an answer in the terminal, or a conversation."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress

import click

from everytoken.cli.address import api_key, base_url_option
from everytoken.cli.address import base_url as chosen_base_url
from everytoken.cli.ending import failed_output, report, status_of
from everytoken.cli.output import Output
from everytoken.cli.signals import Signals, StoppedError
from everytoken.cli.talk import Talk

__all__ = ["chat"]

_SIGN = "> "
_STDOUT = 1


@click.command()
@click.argument("prompt", required=False)
@base_url_option
@click.option("--model", metavar="NAME", help="The model to ask.  [default: the first one the server lists]")
@click.option("--system", metavar="TEXT", help="Instructions to the model, before the conversation.")
@click.option(
    "--seed",
    type=int,
    metavar="N",
    help="The same seed gives the same answer again, if the server supports it.",
)
@click.option("--temperature", type=float, metavar="T", help="Randomness of the answer; 0 is the least.")
@click.option(
    "--max-tokens", type=click.IntRange(1), metavar="N", help="Maximum length of the answer, in tokens."
)
def chat(
    prompt: str | None,
    base_url: str | None,
    model: str | None,
    system: str | None,
    seed: int | None,
    temperature: float | None,
    max_tokens: int | None,
) -> None:
    """Ask a language model and show its answer as it arrives.

    PROMPT is the question. Text on standard input is appended to PROMPT, or is the question if there is none. With
    neither, on a terminal, a conversation begins: Ctrl-C stops an answer, Ctrl-D ends the conversation.

    On a terminal the answer is rendered; a pipe or a file gets its text and nothing else. An answer counts as complete
    only if the server says so. Ctrl-C stops it on the server, too.

    \b
    Examples:
      everytoken chat "Explain transformers in one paragraph"
      everytoken chat
      git diff | everytoken chat "Write a commit message for:"
      everytoken chat --base-url https://api.openai.com/v1 --model NAME "Hello"

    The API key is taken from EVERYTOKEN_API_KEY or OPENAI_API_KEY.

    Exit status: 0 when the answer is complete, 1 when it is not (standard error says why), 2 for a wrong command line,
    130 after Ctrl-C.
    """  # noqa: D301  # click wants the character
    question = _question(prompt)
    url = chosen_base_url(base_url)
    settings = {"seed": seed, "temperature": temperature, "max_tokens": max_tokens}
    given = {name: value for name, value in settings.items() if value is not None}
    talk = Talk(url, api_key(), model, system, given)
    with Signals() as signals:
        output = Output(_STDOUT, lambda: signals.stopped)
        try:
            if question is None:
                status = _converse(talk, signals, output)
            else:
                status = report(signals.run(talk.ask(question, output)), url)
        except StoppedError as error:
            status = status_of(error)
        except OSError as error:
            status = failed_output(error)
        finally:
            signals.run(talk.close())
    sys.exit(status)


def _converse(talk: Talk, signals: Signals, output: Output) -> int:
    """Ask each line that is typed, and return the exit status."""
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415  # importing it enables line editing
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    click.echo("Ctrl-C stops an answer, Ctrl-D ends the conversation.", err=True)
    while True:
        try:
            question = _typed()
            if question.strip():
                report(signals.run(talk.ask(question, output)), talk.url)
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
        raise click.UsageError("no question: PROMPT and standard input are empty")
    return question
