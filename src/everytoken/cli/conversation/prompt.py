"""Where a question is typed: with editing, history and completion on a terminal, else a plain line."""

from __future__ import annotations

import io
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.key_binding import KeyPressEvent

    from everytoken.cli.conversation.history import KeptHistory
    from everytoken.cli.signals import Signals

__all__ = ["EditedPrompt", "PlainPrompt", "Prompt", "StoppedTypingError", "prompt_for"]

SIGN = "> "
_QUOTES = '"""'
_STDOUT = 1


class StoppedTypingError(Exception):
    """Ctrl-C at the prompt."""


class Prompt(Protocol):
    """Reads questions."""

    def read(self, default: str) -> str:
        """Return the next question; `default` is there to be changed.

        Raises `EOFError` when there is none, `StoppedTypingError` after Ctrl-C.
        """


class PlainPrompt:
    """Reads lines, for terminals that can do no more."""

    def __init__(self) -> None:
        with suppress(ImportError):
            import readline  # noqa: F401, PLC0415  # importing it enables line editing
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")

    def read(self, default: str) -> str:
        """Return the next line; an empty one is `default`, which is shown."""
        if default:
            click.echo(f"{default}\n(Enter takes this)", err=True)
        try:
            if os.isatty(_STDOUT):
                return input(SIGN) or default
            click.echo(SIGN, nl=False, err=True)
            line = sys.stdin.readline()
        except KeyboardInterrupt as error:
            click.echo(err=True)
            raise StoppedTypingError from error
        if not line:
            raise EOFError
        return line.rstrip("\n") or default


class EditedPrompt:
    """Reads questions of any number of lines.

    Enter asks; Alt-Enter and Ctrl-J begin a line, and so does Enter between three quotes. What is pasted is one text, as
    the terminal says; where it does not, keys that come faster than anybody types are taken for a paste.
    """

    def __init__(self, signals: Signals, history: KeptHistory, words: Callable[[str], Iterable[str]]) -> None:
        # Slow to import, and not needed for a single answer.
        from prompt_toolkit import PromptSession  # noqa: PLC0415
        from prompt_toolkit.key_binding import KeyBindings  # noqa: PLC0415
        from prompt_toolkit.output.vt100 import Vt100_Output  # noqa: PLC0415
        from prompt_toolkit.shortcuts import CompleteStyle  # noqa: PLC0415
        from prompt_toolkit.styles import Style  # noqa: PLC0415

        self._signals = signals
        keys = KeyBindings()
        keys.add("enter")(_on_enter)
        keys.add("escape", "enter")(_on_new_line)
        keys.add("c-j")(_on_new_line)
        keys.add("c-x", "c-e")(_on_edit)
        output = Vt100_Output.from_pty(sys.stdout, term=os.environ.get("TERM"))
        output.enable_cpr = False  # a terminal's answer to a question could come between what is typed
        self._session: PromptSession[str] = PromptSession(
            [("class:sign", SIGN)],
            multiline=True,
            prompt_continuation=" " * len(SIGN),
            key_bindings=keys,
            history=history,
            enable_suspend=True,
            tempfile_suffix=".md",
            completer=_completer(words),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            reserve_space_for_menu=0,
            style=Style.from_dict({"sign": "bold ansicyan"}),
            interrupt_exception=StoppedTypingError,
            output=output,
        )

    def read(self, default: str) -> str:
        """Return what is typed; SIGTERM raises `StoppedError`."""
        text = self._signals.run(self._session.prompt_async(default=default, handle_sigint=False))
        return unquoted(text).rstrip("\n")


def unquoted(text: str) -> str:
    """Return a text without the three quotes around it."""
    stripped = text.strip()
    if len(stripped) >= 2 * len(_QUOTES) and stripped.startswith(_QUOTES) and stripped.endswith(_QUOTES):
        return stripped[len(_QUOTES) : -len(_QUOTES)].strip("\n")
    return text


def prompt_for(signals: Signals, words: Callable[[str], Iterable[str]], *, save: bool) -> Prompt:
    """Return the prompt that suits the terminal. `words` completes a command; `save`: questions are kept."""
    simple = os.environ.get("TERM", "dumb") in {"dumb", "unknown", ""}
    if simple or not os.isatty(_STDOUT):
        return PlainPrompt()
    try:
        from everytoken.cli.conversation.history import KeptHistory  # noqa: PLC0415  # of prompt_toolkit, too

        return EditedPrompt(signals, KeptHistory(save=save), words)
    except ImportError:  # somebody has installed us without prompt_toolkit
        return PlainPrompt()


def _on_enter(event: KeyPressEvent) -> None:
    """Ask, unless more lines are to come."""
    buffer = event.current_buffer
    text = buffer.text.lstrip()
    is_open = text.startswith(_QUOTES) and (len(text) < 6 or not text.rstrip().endswith(_QUOTES))
    if is_open or _is_pasting(event):
        buffer.insert_text("\n")
    else:
        buffer.validate_and_handle()


def _on_new_line(event: KeyPressEvent) -> None:
    event.current_buffer.insert_text("\n")


def _on_edit(event: KeyPressEvent) -> None:
    """Open the question in $EDITOR; it is not asked before somebody has seen it."""
    event.current_buffer.open_in_editor(validate_and_handle=False)


def _is_pasting(event: KeyPressEvent) -> bool:
    """Whether more text has come together with this key."""
    waiting = event.app.key_processor.input_queue
    if any(len(press.key) == 1 for press in waiting):
        return True
    try:
        return bool(select.select([event.app.input.fileno()], [], [], 0)[0])
    except (OSError, ValueError):
        return False


def _completer(words: Callable[[str], Iterable[str]]) -> Completer:
    from prompt_toolkit.completion import Completer, Completion  # noqa: PLC0415

    class _Words(Completer):
        """Completes the commands of a conversation, and what they take."""

        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002
            before = document.text_before_cursor
            if before.startswith("/") and "\n" not in before:
                last = before.rpartition(" ")[2]
                for word in words(before):
                    yield Completion(word, start_position=-len(last))

    return _Words()
