"""`everytoken templates`, and the templates themselves: questions that are asked again and again, as files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import click

from everytoken.cli.profile import folder
from everytoken.cli.tables import table
from everytoken.errors import EverytokenError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Template", "complete", "load", "names", "templates"]

_NAME = re.compile(r"[\w][\w.-]{0,63}")
_HEAD = re.compile(r"(system|model):[ \t]*(.*)")
_INPUT = re.compile(r"\$input\b")
_LARGEST = 1024 * 1024  # bytes
_END = ".txt"


class Template(NamedTuple):
    """One template: `system` and `model` are "" where it has none; `prompt` has `$input` where the question goes."""

    name: str
    system: str
    model: str
    prompt: str

    @property
    def is_whole(self) -> bool:
        """Whether it can be asked without a question."""
        return bool(self.prompt) and _INPUT.search(self.prompt) is None

    def ask(self, question: str) -> str:
        """Return the prompt with a question in it; without a place for it, the question comes behind it."""
        if _INPUT.search(self.prompt):
            return _INPUT.sub(lambda _: question, self.prompt)
        return "\n\n".join(part for part in (self.prompt, question) if part)


def load(name: str) -> Template:
    """Return the template of this name. Raises `EverytokenError`."""
    path = _folder() / f"{name}{_END}"
    if _NAME.fullmatch(name) is None or not path.is_file():
        known = ", ".join(names())
        raise EverytokenError(
            f"there is no template {name!r}; "
            + (f"there are: {known}" if known else f"a template is a file {_folder() / 'NAME.txt'}")
        )
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_LARGEST)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise EverytokenError(f"{path} cannot be read: {reason}") from error
    return parsed(name, text)


def parsed(name: str, text: str) -> Template:
    """Return a template from its text: `system:` and `model:` lines, an empty line, and the prompt.

    Lines below `system:` that are indented belong to it. A text that begins otherwise is a prompt as a whole.
    """
    head: dict[str, str] = {}
    lines = text.splitlines()
    last = ""
    for number, line in enumerate(lines):
        found = _HEAD.fullmatch(line)
        if found is not None:
            last = found[1]
            head[last] = found[2].strip()
        elif last and line[:1] in {" ", "\t"} and line.strip():
            head[last] = f"{head[last]}\n{line.strip()}".strip()
        elif last and not line.strip():
            lines = lines[number + 1 :]
            break
        else:
            break
    else:
        lines = lines if not head else []
    if lines == text.splitlines():
        head = {}  # what looked like a head has no empty line behind it
    return Template(name, head.get("system", ""), head.get("model", ""), "\n".join(lines).strip())


def names() -> list[str]:
    """Return the names of all templates, in order."""
    try:
        found = [path.name.removesuffix(_END) for path in _folder().iterdir() if path.name.endswith(_END)]
    except OSError:
        return []
    return sorted(name for name in found if _NAME.fullmatch(name))


def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the templates that a shell may complete."""
    return [name for name in names() if name.startswith(incomplete)]


def _folder() -> Path:
    return folder() / "templates"


@click.command()
def templates() -> None:
    """List the templates for `everytoken chat -t NAME`.

    Each is a text file NAME.txt in the folder that is shown: lines `system: …` and `model: …`, if any, then an empty
    line, then the prompt with $input where the question goes.
    """
    rows = [(one.name, " ".join((one.prompt or one.system).split())[:60]) for one in map(load, names())]
    click.echo(table(("NAME", "PROMPT"), rows) or "There are no templates yet.")
    click.echo(f"They are in {_folder()}", err=True)
