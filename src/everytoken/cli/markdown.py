"""Markdown that is still being written, for the terminal: finished blocks, and the last one, which may yet change."""

from __future__ import annotations

import io
import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar

from markdown_it import MarkdownIt
from rich.console import Console
from rich.markdown import Heading, Markdown, MarkdownElement
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType, RenderResult

__all__ = ["CURSOR", "Renderer"]

CURSOR = "▊"

_FENCE = re.compile(r"[\s>*+\-\d.)]*(```|~~~)")
_CODE_SPAN = re.compile(r"`[^`]*`")


class _Heading(Heading):
    """A heading at the left: in the middle it would move with every word."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text


class _Markdown(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "heading_open": _Heading}


class Renderer:
    """Renders parts of one `visible` text to terminal lines, `width` columns wide at most.

    Only complete lines are split into blocks: the beginning of a line may still become anything.
    """

    def __init__(self) -> None:
        # HTML is treated as text, or a terminal would show nothing of it.
        self._parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
        self._links: dict[str, Any] = {}  # reference definitions of blocks that have been printed already
        self._console = Console(
            file=io.StringIO(), force_terminal=True, force_jupyter=False, legacy_windows=False
        )

    def finished(self, text: str) -> int:
        """Return the length of the finished blocks at the beginning of `text`."""
        lines = text.split("\n")
        tokens = self._parser.parse("\n".join([*lines[:-1], ""]), {})
        starts = [token.map[0] for token in tokens if token.map and not token.level]
        return sum(len(line) + 1 for line in lines[: starts[-1]]) if len(starts) > 1 else 0

    def markdown(self, text: str, width: int) -> list[str]:
        """Render finished Markdown."""
        return _trimmed(self._lines(self._parsed(text, self._links), width))

    def unfinished(self, text: str, width: int, height: int) -> list[str]:
        """Render the last block with the cursor behind it; of a long one, at least the last `height` lines."""
        if self._is_open_fence(text):
            # Only its end is visible, so only that is highlighted.
            opening, code = text.split("\n", 1)
            shown = f"{opening}\n" + "\n".join(code.split("\n")[-height:])
            return _trimmed(self._lines(self._parsed(shown + CURSOR, {}), width))
        mended = f"{text}{_place_of_cursor(text)}"
        return _trimmed(self._lines(self._parsed(mended, deepcopy(self._links)), width))

    def plain(self, text: str, width: int) -> list[str]:
        """Render text that is not Markdown, dim, with its empty lines."""
        return self._lines(Text(text, style="dim"), width)

    def _is_open_fence(self, text: str) -> bool:
        """Tell whether `text` is one fence, beyond its first line and not about to be closed."""
        if not _FENCE.match(text) or "\n" not in text or _FENCE.match(text[text.rfind("\n") + 1 :]):
            return False
        return [token.type for token in self._parser.parse(text, {})] == ["fence"]

    def _parsed(self, text: str, links: dict[str, Any]) -> Markdown:
        markdown = _Markdown("", hyperlinks=False)  # where a link leads is shown
        markdown.parsed = self._parser.parse(text, links)
        for token in markdown.parsed:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"  # a model that begins a line means it: verses, addresses
        return markdown

    def _lines(self, renderable: RenderableType, width: int) -> list[str]:
        with self._console.capture() as capture:
            self._console.print(renderable, width=width)
        return [line.rstrip(" ") for line in capture.get().removesuffix("\n").split("\n")]


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
