"""The commands of a conversation: `/help` and the others. They change the conversation, and say what the loop does next."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from everytoken.cli.fragments import message_content, shown
from everytoken.cli.kept import conversation_in, private
from everytoken.cli.text import visible
from everytoken.errors import EverytokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from everytoken.cli.fragments import Content
    from everytoken.cli.kept import Conversation, Kept
    from everytoken.cli.talk import Talk

__all__ = ["COMMANDS", "Commands", "Next"]

COMMANDS = {
    "/help": ("", "Show this list."),
    "/model": ("[NAME]", "Show the models, or ask another one from now on."),
    "/system": ("[TEXT]", "Show or change the instructions; `/system -` removes them."),
    "/retry": ("", "Ask the last question once more, and forget the answer."),
    "/edit": ("", "Change the last question, and ask it instead."),
    "/file": ("FILE", "Send a file, text or an image, with the next question."),
    "/new": ("", "Begin another conversation."),
    "/save": (
        "[FILE]",
        "Write it to a file, .md or .json; without, say where it is.",
    ),
    "/load": ("FILE", "Continue from a file, or a kept one by its id or name."),
    "/quit": ("", "End the conversation, as Ctrl-D does."),
}
_ALIASES = {"/exit": "/quit", "/bye": "/quit", "/?": "/help"}
_KEYS = (
    ("Enter", "Ask."),
    ("Alt-Enter, Ctrl-J", 'Begin a new line; so does Enter between """ and """.'),
    ("Ctrl-C", "Stop an answer, or empty the line."),
    ("Ctrl-X Ctrl-E", "Edit the question in $EDITOR."),
    ("Ctrl-R, Up, Down", "Find earlier questions."),
    ("Ctrl-D", "End the conversation."),
)


class Next(NamedTuple):
    """What happens after a command: something is `asked`, the next prompt holds `default`, or it is the `end`."""

    asked: Content | None = None
    default: str = ""
    end: bool = False


class Commands:
    """The commands of one conversation. `run` runs a coroutine to its end; `files` are sent with the next question."""

    def __init__(
        self, talk: Talk, kept: Kept, run: Callable[[Coroutine[Any, Any, Any]], Any], files: list[str]
    ) -> None:
        self._talk = talk
        self._kept = kept
        self._run = run
        self._models: list[str] = []
        self._written: set[Path] = set()
        self._editing: int | None = None  # the message that the next question is put in the place of
        self.files = files

    @property
    def _conversation(self) -> Conversation:
        return self._talk.conversation

    def words(self, line: str) -> Iterable[str]:
        """Return what may come next in a line."""
        name, space, rest = line.partition(" ")
        if not space:
            return [f"{one} " if COMMANDS[one][0] else one for one in COMMANDS if one.startswith(name)]
        if name == "/model":
            return [model for model in self._models if model.startswith(rest)]
        if name in {"/load", "/save", "/file"}:
            return _paths(rest)
        return []

    def question(self, text: str) -> Content:
        """Return what is asked by a text that was typed. An edited question takes the place of the one before."""
        content = message_content(text, self.files)
        self.files = []
        if self._editing is not None:
            images = self._conversation.messages[self._editing].content
            if isinstance(content, str) and not isinstance(images, str):
                content = [
                    {"type": "text", "text": content},
                    *(one for one in images if one.get("type") != "text"),
                ]
            del self._conversation.messages[self._editing :]
            self._editing = None
        return content

    def cancel(self) -> None:
        """Give up an edit."""
        self._editing = None

    def __call__(self, line: str) -> Next:
        """Obey a line that begins with `/`. Raises `EverytokenError` with what is wrong."""
        name, _, rest = line.strip().partition(" ")
        name = _ALIASES.get(name, name)
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, [*COMMANDS, *_ALIASES], 1)
            hint = f"did you mean {near[0]}?" if near else "/help lists the commands"
            raise EverytokenError(f"there is no command {visible(name)[:60]}; {hint}")
        self._editing = None
        done: Next = getattr(self, f"_{name[1:]}")(rest.strip())
        return done

    def _help(self, _rest: str) -> Next:
        rows = [(f"{name} {takes}".strip(), about) for name, (takes, about) in COMMANDS.items()]
        for title, lines in (("Commands", rows), ("Keys", _KEYS)):
            click.echo(f"{title}:")
            for left, right in lines:
                click.echo(f"  {left:<17}  {right}")
        return Next()

    def _model(self, rest: str) -> Next:
        if rest:
            self._conversation.model = rest
            click.echo(f"the model is {visible(rest)} now")
            return Next()
        self._models = [str(model["id"]) for model in self._run(self._talk.server.models())]
        chosen = self._conversation.model or (self._models[0] if self._models else "")
        for name in self._models:
            click.echo(f"{'*' if name == chosen else ' '} {visible(name)}")
        if chosen not in self._models:
            click.echo(f"* {visible(chosen or 'the server chooses')}")
        return Next()

    def _system(self, rest: str) -> Next:
        if rest:
            self._conversation.system = "" if rest == "-" else rest
            self._kept.save(self._conversation)
        told = self._conversation.system
        click.echo(f"the instructions are: {visible(told)}" if told else "there are no instructions")
        return Next()

    def _retry(self, _rest: str) -> Next:
        messages = self._conversation.messages
        last = self._last_question()
        content = messages[last].content
        del messages[last:]
        return Next(asked=content)

    def _edit(self, _rest: str) -> Next:
        self._editing = self._last_question()
        content = self._conversation.messages[self._editing].content
        if not isinstance(content, str):
            content = [part for part in content if part.get("type") == "text"]
        return Next(default=shown(content))

    def _last_question(self) -> int:
        messages = self._conversation.messages
        for index in reversed(range(len(messages))):
            if messages[index].role == "user":
                return index
        raise EverytokenError("there is no question yet")

    def _file(self, rest: str) -> Next:
        if not rest:
            raise EverytokenError("name a file: /file FILE")
        path = str(Path(rest).expanduser())
        message_content("", [*self.files, path])
        self.files = [*self.files, path]
        click.echo(f"sent with the next question: {', '.join(map(visible, self.files))}")
        return Next()

    def _new(self, _rest: str) -> Next:
        old = self._conversation
        self._talk.conversation = type(old).new()
        self._talk.conversation.model, self._talk.conversation.system = old.model, old.system
        click.echo("another conversation")
        return Next()

    def _save(self, rest: str) -> Next:
        conversation = self._conversation
        if not conversation.messages:
            raise EverytokenError("there is nothing to save yet")
        if not rest:
            if not self._kept.saves:
                raise EverytokenError("this conversation is not kept; name a file: /save FILE")
            self._kept.save(conversation)
            click.echo(f"kept as {conversation.id} in {self._kept.path(conversation)}")
            return Next()
        path = Path(rest).expanduser()
        if path.exists() and path.resolve() not in self._written and not _is_conversation(path):
            raise EverytokenError(f"{visible(rest)} exists, and is not a conversation; choose another name")
        markdown = path.suffix.lower() in {".md", ".markdown", ".txt"}
        data = (
            conversation.markdown().encode()
            if markdown
            else msgspec.json.format(msgspec.json.encode(conversation), indent=1)
        )
        private(path, data)
        self._written.add(path.resolve())
        click.echo(f"written to {visible(str(path))}")
        return Next()

    def _load(self, rest: str) -> Next:
        if not rest:
            raise EverytokenError("name a file, or a conversation: /load FILE")
        path = Path(rest).expanduser()
        found = conversation_in(path) if path.is_file() else self._kept.find(rest)
        if found is None:
            raise EverytokenError(f"there is neither a file nor a conversation {visible(rest)}")
        found.model = found.model or self._conversation.model
        self._talk.conversation = found
        questions = sum(message.role == "user" for message in found.messages)
        click.echo(f"“{visible(found.title)}”, {questions} question{'s' if questions != 1 else ''}")
        return Next()

    def _quit(self, _rest: str) -> Next:
        return Next(end=True)


def _is_conversation(path: Path) -> bool:
    try:
        conversation_in(path)
    except EverytokenError:
        return False
    return True


def _paths(start: str) -> list[str]:
    """Return the files and folders whose path begins so."""
    folder, _, name = start.rpartition("/")
    try:
        found = sorted(Path(f"{folder}/" if "/" in start else ".").expanduser().iterdir())
    except OSError:
        return []
    head = f"{folder}/" if "/" in start else ""
    return [f"{head}{one.name}{'/' if one.is_dir() else ''}" for one in found if one.name.startswith(name)]
