"""`everytoken chat`: an answer in the terminal, or a conversation."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from everytoken.cli import templates
from everytoken.cli.address import api_key, base_url_option, model_name
from everytoken.cli.address import base_url as chosen_base_url
from everytoken.cli.answer_schema import response_format
from everytoken.cli.conversations import complete as complete_conversation
from everytoken.cli.ending import failed_output, report, status_of
from everytoken.cli.fragments import STDIN, Content, message_content
from everytoken.cli.kept import ID, Conversation, Kept
from everytoken.cli.keyboard import Keyboard
from everytoken.cli.output import Output
from everytoken.cli.profile import profile
from everytoken.cli.signals import Signals, StoppedError
from everytoken.cli.talk import Options, Talk
from everytoken.errors import EverytokenError

if TYPE_CHECKING:
    from everytoken.cli.templates import Template

__all__ = ["chat"]

_STDOUT = 1


class _Asked(NamedTuple):
    """What the command line asks for. `question` is None for a conversation."""

    question: Content | None
    files: list[str]
    template: Template | None
    as_json: bool
    usage: bool


@click.command()
@click.argument("prompt", nargs=-1)
@base_url_option
@click.option(
    "-m",
    "--model",
    metavar="NAME",
    help="The model to ask.  [default: EVERYTOKEN_MODEL, model of your config.toml, or the first one the server lists]",
)
@click.option("-s", "--system", metavar="TEXT", help="Instructions to the model, before the conversation.")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    help="Send a text file or an image with the question; - is standard input. May be given several times.",
)
@click.option(
    "-t",
    "--template",
    metavar="NAME",
    shell_complete=templates.complete,
    help="Ask by a template; `everytoken templates` lists them.",
)
@click.option("-c", "--continue", "go_on", is_flag=True, help="Continue the newest conversation.")
@click.option(
    "--conversation",
    metavar="ID|NAME",
    shell_complete=complete_conversation,
    help="Continue a conversation by its id, name or title; a name that is new begins one.",
)
@click.option("--no-save", is_flag=True, help="Do not keep the conversation.")
@click.option(
    "--schema",
    metavar="FILE|JSON|FIELDS",
    help="Have the answer in JSON of this shape: a JSON Schema, or fields such as 'name, age int, tags[]'.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer and all about it as one JSON object.")
@click.option(
    "--usage", is_flag=True, help="Say on standard error how many tokens, how fast, and at what price."
)
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
    prompt: tuple[str, ...],
    base_url: str | None,
    model: str | None,
    system: str | None,
    files: tuple[str, ...],
    template: str | None,
    go_on: bool,  # noqa: FBT001  # click calls these by name
    conversation: str | None,
    no_save: bool,  # noqa: FBT001
    schema: str | None,
    as_json: bool,  # noqa: FBT001
    usage: bool,  # noqa: FBT001
    seed: int | None,
    temperature: float | None,
    max_tokens: int | None,
) -> None:
    """Ask a language model and show its answer as it arrives.

    PROMPT is the question, with or without quotes around it. Text on standard input is appended to PROMPT, or is the
    question if there is none. With neither, on a terminal, a conversation begins: Ctrl-C stops an answer, Ctrl-D ends the
    conversation, /help lists its commands.

    On a terminal the answer is rendered; a pipe or a file gets its text and nothing else. An answer counts as complete
    only if the server says so. Ctrl-C stops it on the server, too.

    \b
    Examples:
      everytoken chat Explain transformers in one paragraph
      everytoken chat
      git diff | everytoken chat "Write a commit message for:"
      everytoken chat -f photo.jpg "What is in this picture?"
      everytoken chat -c "And in French?"
      everytoken chat --schema "name, born int" "Who wrote Faust?"
      everytoken chat --base-url https://api.openai.com/v1 -m NAME "Hello"

    The API key is taken from EVERYTOKEN_API_KEY or OPENAI_API_KEY, or from your config.toml.

    Exit status: 0 when the answer is complete, 1 when it is not (standard error says why), 2 for a wrong command line,
    130 after Ctrl-C.
    """  # noqa: D301  # click wants the character
    url = chosen_base_url(base_url)
    form = templates.load(template) if template else None
    if go_on and conversation:
        raise click.UsageError("--continue and --conversation exclude each other")
    settings: dict[str, Any] = {"seed": seed, "temperature": temperature, "max_tokens": max_tokens}
    given = {name: value for name, value in settings.items() if value is not None}
    if schema is not None:
        given["response_format"] = response_format(schema)
    asked = _asked(" ".join(prompt), list(files), form, as_json=as_json, usage=usage)
    kept = Kept(save=profile().save and not no_save)
    talk_about = _conversation(kept, conversation, go_on=go_on)
    chosen = model or (form.model if form else "") or (talk_about.model or model_name(None) or "")
    talk_about.model = chosen
    if system is not None or (form and form.system):
        talk_about.system = system if system is not None else form.system if form else ""
    elif not talk_about.messages:
        talk_about.system = profile().system
    keyboard = Keyboard(keep=asked.question is None)
    options = Options(given, counted=as_json or usage, plain=schema is not None, hidden=as_json)
    talk = Talk(url, api_key(url), talk_about, options, keyboard, _keeper(kept))
    sys.exit(_run(talk, kept, keyboard, asked))


def _run(talk: Talk, kept: Kept, keyboard: Keyboard, asked: _Asked) -> int:
    """Ask, or converse, and return the exit status."""
    with Signals() as signals:
        output = Output(_STDOUT, lambda: signals.stopped)
        try:
            if asked.question is None:
                from everytoken.cli.conversation.loop import Loop  # noqa: PLC0415  # not needed for one answer

                wrap = asked.template.ask if asked.template else str
                loop = Loop(
                    talk, kept, signals, output, keyboard, files=asked.files, wrap=wrap, usage=asked.usage
                )
                return loop.run()
            signals.run(talk.resume(output, hidden=True))
            try:
                status = report(signals.run(talk.ask(asked.question, output)), talk.url)
            finally:
                _tell(talk, kept, output, asked)
        except StoppedError as error:
            return status_of(error)
        except OSError as error:
            return failed_output(error)
        finally:
            signals.run(talk.close())
    return status


def _tell(talk: Talk, kept: Kept, output: Output, asked: _Asked) -> None:
    """Tell what the answer has used, and whether it has the form that was asked for."""
    figures = talk.figures
    if figures is None:
        return
    if asked.as_json:
        output.write(figures.json(talk.conversation.id if kept.saves else None))
    if asked.usage and figures.outcome == "completed":
        click.echo(figures.line(), err=True)
    if talk.options.plain and figures.outcome == "completed":
        try:
            msgspec.json.decode(figures.answer)
        except msgspec.DecodeError:
            click.echo("note: the answer is not JSON; this model may not support --schema", err=True)


def _conversation(kept: Kept, wanted: str | None, *, go_on: bool) -> Conversation:
    if go_on:
        return kept.latest()
    if wanted is None:
        return Conversation.new()
    found = kept.find(wanted)
    if found is None:
        if ID.fullmatch(wanted):
            raise EverytokenError(f"there is no conversation {wanted}; `everytoken conversations` lists them")
        click.echo(f"note: a new conversation, {wanted!r}", err=True)
        found = Conversation.new()
        found.name = wanted
    return found


def _keeper(kept: Kept) -> Any:
    """Return what keeps a conversation. That a disk is full must not cost the answer: it is said, and once."""

    def keep(conversation: Conversation) -> None:
        try:
            kept.save(conversation)
        except EverytokenError as error:
            kept.saves = False
            click.echo(f"note: this conversation is not kept: {error.message}", err=True)

    return keep


def _asked(prompt: str, files: list[str], template: Template | None, *, as_json: bool, usage: bool) -> _Asked:
    """Return what to ask. Raises `click.UsageError` if there is nothing."""
    prompt = prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    typed = sys.stdin is not None and sys.stdin.isatty()
    alone = template is not None and template.is_whole
    if typed and not prompt.strip() and STDIN not in files and not alone:
        if as_json:
            raise click.UsageError("--json needs a question")
        return _Asked(None, files, template, as_json, usage)
    piped = ""
    if sys.stdin is not None and not typed and STDIN not in files:
        piped = sys.stdin.buffer.read().decode("utf-8-sig", "replace").rstrip("\r\n")
    question = "\n\n".join(part for part in (prompt, piped) if part)
    if not question.strip() and not files and not alone:
        raise click.UsageError("no question: PROMPT and standard input are empty")
    try:
        content = message_content(template.ask(question) if template else question, files)
    except EverytokenError as error:
        raise click.BadParameter(error.message, param_hint="'-f' / '--file'") from error
    return _Asked(content, [], template, as_json, usage)
