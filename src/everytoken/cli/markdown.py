"""Markdown that is still being written, for the terminal: finished blocks, and the last one, which may yet change."""

from __future__ import annotations

import io
import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import Console
from rich.markdown import Heading, ListItem, Markdown, MarkdownElement, TextElement
from rich.segment import Segment
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from everytoken.cli.lifting import CONTINUED, lifted
from everytoken.cli.parsing import markdown_parser

if TYPE_CHECKING:
    from collections.abc import Callable

    from markdown_it.token import Token
    from rich.console import ConsoleOptions, RenderableType, RenderResult
    from rich.markdown import MarkdownContext

__all__ = ["CURSOR", "Renderer"]

CURSOR = "▊"

_FENCE = re.compile(r"[\s>*+\-\d.)]*(```|~~~)")
_CODE_SPAN = re.compile(r"`[^`]*`")
_BLANK_END = re.compile(r"(?: |\x1b\[[0-9;]*m)+\Z")
_ACCENT = "cyan"
_LOOKS = Theme(
    {
        "markdown.block_quote": "dim",
        "markdown.code": f"bold {_ACCENT}",
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.h4": "bold",
        "markdown.h5": "bold",
        "markdown.h6": "bold",
        "markdown.hr": "dim",
        "markdown.item.bullet": _ACCENT,
        "markdown.item.number": _ACCENT,
        "markdown.link": "underline",
        "markdown.link_url": "dim underline",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
    }
)


class _Heading(Heading):
    """A heading at the left: in the middle it would move with every word."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text


class _ListItem(ListItem):
    """An item that may continue one that began above its code."""

    def __init__(self) -> None:
        super().__init__()
        self._continued = False
        self._empty = True

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _ListItem:  # noqa: ARG003  # rich's signature
        item = cls()
        item._continued = bool(token.meta.get(CONTINUED))
        return item

    def on_child_close(self, context: MarkdownContext, child: MarkdownElement) -> bool:
        self._empty = False
        return super().on_child_close(context, child)

    def render_bullet(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._marked(super().render_bullet, console, options)

    def render_number(
        self, console: Console, options: ConsoleOptions, number: int, last_number: int
    ) -> RenderResult:
        yield from self._marked(super().render_number, console, options, number, last_number)

    def _marked(self, render: Callable[..., RenderResult], *given: Any) -> RenderResult:
        if self._empty:
            self.elements.append(Text(""))
        for index, part in enumerate(render(*given)):
            blank = self._continued and index == 0 and isinstance(part, Segment)
            yield Segment(" " * part.cell_length) if blank and isinstance(part, Segment) else part


class _Formula(TextElement):
    """Mathematics, as it is written."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text


class _Markdown(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "list_item_open": _ListItem,
        "math_block": _Formula,
    }


class Renderer:
    """Renders parts of one `visible` text to terminal lines, `width` columns wide at most.

    Finished code is the exception: its lines are as long as they are, and the terminal wraps them, so that they can be
    copied. Only complete lines are split into blocks: the beginning of a line may still become anything.
    """

    def __init__(self) -> None:
        self._parser = markdown_parser()
        self._links: dict[str, Any] = {}  # reference definitions of blocks that have been printed already
        self._console = Console(
            file=io.StringIO(),
            force_terminal=True,
            force_jupyter=False,
            legacy_windows=False,
            theme=_LOOKS,
            highlight=False,
        )

    def finished(self, text: str) -> int:
        """Return the length of the finished blocks at the beginning of `text`."""
        lines = text.split("\n")
        tokens = self._parser.parse("\n".join([*lines[:-1], ""]), {})
        starts = [token.map[0] for token in tokens if token.map and not token.level]
        return sum(len(line) + 1 for line in lines[: starts[-1]]) if len(starts) > 1 else 0

    def markdown(self, text: str, width: int) -> list[str]:
        """Render finished Markdown."""
        return self._rendered(text, self._links, width, whole=True)

    def unfinished(self, text: str, width: int, height: int) -> list[str]:
        """Render the last block with the cursor behind it; of a long one, at least the last `height` lines."""
        if self._is_open_fence(text):
            # Only its end is visible, so only that is highlighted.
            opening, code = text.split("\n", 1)
            shown = f"{opening}\n" + "\n".join(code.split("\n")[-height:])
            return self._rendered(shown + CURSOR, {}, width)
        return self._rendered(f"{text}{_place_of_cursor(text)}", deepcopy(self._links), width)

    def plain(self, text: str, width: int) -> list[str]:
        """Render text that is not Markdown, dim, with its empty lines."""
        return self._lines(Text(text, style="dim"), width)

    def _is_open_fence(self, text: str) -> bool:
        """Tell whether `text` is one fence, beyond its first line and not about to be closed."""
        if not _FENCE.match(text) or "\n" not in text or _FENCE.match(text[text.rfind("\n") + 1 :]):
            return False
        return [token.type for token in self._parser.parse(text, {})] == ["fence"]

    def _rendered(self, text: str, links: dict[str, Any], width: int, *, whole: bool = False) -> list[str]:
        lines: list[str] = []
        for part in lifted(self._parsed(text, links)):
            rendered = _trimmed(
                self._prose(part, width)
                if isinstance(part, list)
                else self._code(part, None if whole else width)
            )
            lines += ["", *rendered] if lines and rendered else rendered
        return lines

    def _parsed(self, text: str, links: dict[str, Any]) -> list[Token]:
        return self._parser.parse(text, links)

    def _prose(self, tokens: list[Token], width: int) -> list[str]:
        markdown = _Markdown("", hyperlinks=False)  # where a link leads is shown
        markdown.parsed = tokens
        for token in tokens:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"  # a model that begins a line means it: verses, addresses
        lines = self._lines(markdown, width)
        return [line for before, line in zip(["", *lines], lines, strict=False) if line or before]

    def _code(self, token: Token, width: int | None) -> list[str]:
        """Render code, with neither an indent nor a background: both would be copied with it."""
        code = token.content.rstrip()
        lexer = token.info.partition(" ")[0] or "text"
        text = Syntax(code, lexer, theme="ansi_dark", background_color="default").highlight(code)
        text.rstrip()
        return self._lines(text, width)

    def _lines(self, renderable: RenderableType, width: int | None) -> list[str]:
        """Render to lines; without a `width` they are not wrapped."""
        with self._console.capture() as capture:
            self._console.print(renderable, width=width, soft_wrap=width is None)
        return [_without_blanks(line) for line in capture.get().removesuffix("\n").split("\n")]


def _without_blanks(line: str) -> str:
    """Return a line without the spaces at its end, which would be copied."""
    end = _BLANK_END.search(line)
    return line if end is None else f"{line[: end.start()]}{end[0].replace(' ', '')}" if end.start() else ""


def _trimmed(lines: list[str]) -> list[str]:
    """Return `lines` without the empty ones around them."""
    filled = [number for number, line in enumerate(lines) if line]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _place_of_cursor(text: str) -> str:
    """Return the cursor and what closes the markup that is open around it, so that it does not show as characters."""
    line = text[text.rfind("\n") + 1 :]
    if _FENCE.match(line):
        return f"\n{CURSOR}"
    line = _CODE_SPAN.sub("", line)
    if "`" in line:
        return f"{CURSOR}`"
    return f"{CURSOR}**" if line.count("**") % 2 else CURSOR
