"""A conversation at the terminal: prompt, command or question, answer, and again."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from everytoken.cli.conversation.commands import Commands
from everytoken.cli.conversation.prompt import PlainPrompt, StoppedTypingError, prompt_for
from everytoken.cli.ending import report
from everytoken.cli.fragments import shown
from everytoken.cli.signals import StoppedError
from everytoken.cli.text import one_line, visible
from everytoken.errors import EverytokenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.cli.fragments import Content
    from everytoken.cli.kept import Kept, Message
    from everytoken.cli.keyboard import Keyboard
    from everytoken.cli.output import Output
    from everytoken.cli.signals import Signals
    from everytoken.cli.talk import Talk

__all__ = ["Loop"]


class Loop:
    """Asks what is typed. `wrap` puts a question into a template; `usage`: show what each answer has used."""

    def __init__(
        self,
        talk: Talk,
        kept: Kept,
        signals: Signals,
        output: Output,
        keyboard: Keyboard,
        *,
        files: list[str],
        wrap: Callable[[str], str],
        usage: bool,
    ) -> None:
        self._talk = talk
        self._kept = kept
        self._signals = signals
        self._output = output
        self._keyboard = keyboard
        self._wrap = wrap
        self._usage = usage
        self._commands = Commands(talk, kept, signals.run, files)
        self._prompt = prompt_for(signals, self._commands.words, save=kept.saves)
        self._screen = not isinstance(self._prompt, PlainPrompt)

    def run(self) -> int:
        """Read and ask until the end; return the exit status. Raises `StoppedError` after SIGTERM, `OSError`."""
        with self._keyboard.between_prompts() if self._screen else nullcontext():
            return self._run()

    def _run(self) -> int:
        self._greet()
        default = ""
        while True:
            try:
                line = self._prompt.read(default)
                default = ""
                following = self._obey(line)
                if following is None:
                    return 0
                default = following
            except EOFError:
                click.echo(err=True)
                return 0
            except StoppedTypingError:
                self._commands.cancel()
                default = ""
            except StoppedError as error:
                if error.number != signal.SIGINT:
                    raise
                self._say("stopped")
                self._space()
                default = self._keyboard.typed()
            except EverytokenError as error:
                self._say(f"everytoken: {error.message}")

    def _obey(self, line: str) -> str | None:
        """Do what a line says, and return what the next prompt holds; None at the end."""
        if not line.strip():
            self._commands.cancel()
            return ""
        before = list(self._talk.conversation.messages)
        if line.startswith("/") and "\n" not in line.strip():
            done = self._commands(line)
            if done.end:
                return None
            if done.asked is None:
                return done.default
            return self._ask(done.asked, before)
        return self._ask(self._commands.question(self._wrap(line)), before)

    def _ask(self, content: Content, before: list[Message]) -> str:
        self._space()
        try:
            status = report(self._signals.run(self._talk.ask(content, self._output)), self._talk.url)
        finally:
            figures = self._talk.figures
            if figures is not None and not figures.answer:
                # Nothing has come, so nothing is lost: neither a question that was edited nor an answer to it.
                self._talk.conversation.messages = before
                self._kept.save(self._talk.conversation)
        if self._usage and figures is not None and status == 0:
            self._say(figures.line())
        self._space()
        return self._keyboard.typed()

    def _greet(self) -> None:
        conversation = self._talk.conversation
        if not self._screen:
            click.echo("Ctrl-C stops an answer, Ctrl-D ends the conversation.", err=True)
            return
        model = f" · {visible(conversation.model)}" if conversation.model else ""
        self._say(f"everytoken{model} · /help lists the commands, Ctrl-C stops an answer, Ctrl-D ends")
        if conversation.messages:
            self._show_last()
        else:
            self._space()

    def _show_last(self) -> None:
        """Show the last question and its answer, so that it is clear what is continued."""
        messages = self._talk.conversation.messages
        self._say(f"“{one_line(self._talk.conversation.title)}”")
        resumed = messages[-1].outcome == "running"
        question = next((one for one in reversed(messages) if one.role == "user"), None)
        if question is not None:
            self._space()
            click.echo(
                "\n".join(f"> {line}".rstrip() for line in visible(shown(question.content)).splitlines())
            )
            self._space()
        if resumed:
            outcome = self._signals.run(self._talk.resume(self._output))
            if outcome is not None:
                report(outcome, self._talk.url)
        elif messages[-1].role == "assistant":
            from everytoken.cli.markdown import Renderer  # noqa: PLC0415  # slow to import

            width = max(os.get_terminal_size(1).columns - 1, 10)
            click.echo(
                "\n".join(Renderer().markdown(visible(shown(messages[-1].content)), width)), color=True
            )
            if messages[-1].outcome not in {"", "completed"}:
                self._say(messages[-1].outcome)
        self._space()

    def _space(self) -> None:
        if self._screen:
            click.echo()

    def _say(self, text: str) -> None:
        """Say something that is not the answer."""
        click.echo(click.style(visible(text), dim=True) if self._screen else visible(text), err=True)
