# ruff: noqa: INP001  # a program, not a package
"""Draw docs/images/terminal.svg anew: `python tools/terminal_picture.py`.

It is a photograph, not a drawing: in `everytoken chat`, on a terminal of its own, the embedded model behind `everytoken
serve` is asked, and what stands on that terminal in the middle of the answer is written as an SVG that needs nothing from elsewhere.
Every answer is another one; it fails when one is too short for its middle to be there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests"))
from terminal import Screen, Terminal  # noqa: E402  # the tests' terminal knows what the command line writes

PICTURE = ROOT / "docs" / "images" / "terminal.svg"
EVERYTOKEN = str(Path(sys.executable).with_name("everytoken"))
QUESTION = "Explain transformers in one paragraph"
COLUMNS, ROWS = 80, 13
MOMENT = 9, 20  # the picture is taken when the cursor stands in this line, behind this column
CURSOR = "▊"

CELL, LINE, SIZE, MARGIN, BAR = 8.4, 20, 14, 20, 36  # pixels
GROUND, FRAME, TEXT, DIM, ACCENT = "#0d1117", "#30363d", "#e6edf3", "#8b949e", "#58a6ff"
LIGHTS = ("#ff5f57", "#febc2e", "#28c840")
FONTS = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"
COLOURS = dict(
    zip(
        range(30, 38),
        ("#484f58", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#b1bac4"),
        strict=True,
    )
)


class Style(NamedTuple):
    """How a character looks."""

    colour: str = TEXT
    bold: bool = False
    italic: bool = False


class StyledScreen(Screen):
    """A screen that also knows how each character looks."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__(columns, rows)
        self._style = Style()
        self._styles: dict[tuple[int, int], Style] = {}

    def has_come_to(self, row: int, column: int) -> bool:
        """Whether the answer's cursor stands in this row or a later one, behind this column."""
        rows = self.text.split("\n")
        return len(rows) > row and rows[-1].find(CURSOR) > column

    def runs(self) -> list[tuple[int, int, str, Style]]:
        """Return row, column, text and style of all that stands together and looks the same."""
        found = []
        for row, line in enumerate(self.lines[-self.rows :], max(len(self.lines) - self.rows, 0)):
            cells = [(column, cell) for column, cell in enumerate(line) if cell]
            for style, group in groupby(cells, lambda cell, row=row: self._style_of(row, *cell)):
                run = list(group)
                text = "".join(cell for _, cell in run)
                if text.strip():
                    found.append((row, run[0][0], text, style))
        return found

    def _style_of(self, row: int, column: int, cell: str) -> Style:
        return Style(ACCENT) if cell == CURSOR else self._styles.get((row, column), Style())

    def _command(self, parameter: str, command: str) -> None:
        super()._command(parameter, command)
        if command == "m":
            for code in parameter.split(";"):
                self._apply(int(code or 0))

    def _apply(self, code: int) -> None:
        if code == 0:
            self._style = Style()
        elif code in {1, 3}:
            self._style = self._style._replace(**{"bold" if code == 1 else "italic": True})
        elif code == 2:
            self._style = self._style._replace(colour=DIM)
        elif code in COLOURS:
            self._style = self._style._replace(colour=COLOURS[code])

    def _show(self, character: str) -> None:
        super()._show(character)
        self._styles[self.row, self.column - 1] = self._style


def photograph() -> StyledScreen:
    """Return the screen in the middle of an answer."""
    env = {
        name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "PYTHONPATH"}
    }
    with subprocess.Popen(  # noqa: S603  # it is ours
        [EVERYTOKEN, "serve", "--port", "0", "--journal", "memory", "--log-level", "error"],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    ) as gateway:
        try:
            assert gateway.stdout is not None
            url = gateway.stdout.readline().split()[-1]
            env |= {"TERM": "xterm-256color", "EVERYTOKEN_BASE_URL": url}
            with Terminal([EVERYTOKEN, "chat", "--no-save"], env, columns=COLUMNS, rows=ROWS) as terminal:
                screen = StyledScreen(COLUMNS, ROWS)
                screen.feed("\x1b[32m$\x1b[0m everytoken chat\r\n")
                terminal.screen = screen
                terminal.read_until(lambda: screen.text.endswith("\n>"))
                terminal.type(f"{QUESTION}\r")
                terminal.read_until(lambda: screen.has_come_to(*MOMENT))
                return screen
        finally:
            gateway.terminate()


def drawn(screen: StyledScreen) -> str:
    """Return the screen as an SVG."""
    width = round(COLUMNS * CELL + 2 * MARGIN)
    height = BAR + ROWS * LINE + MARGIN
    lights = "".join(
        f'<circle cx="{MARGIN + 6 + 20 * index}" cy="18" r="6" fill="{colour}"/>'
        for index, colour in enumerate(LIGHTS)
    )
    first = max(len(screen.lines) - ROWS, 0)
    texts = "\n".join(_run(row - first, *rest) for row, *rest in screen.runs())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-labelledby="t">\n<title id="t">everytoken chat on a terminal, in the middle of an answer</title>\n'
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10" fill="{GROUND}" stroke="{FRAME}"/>\n'
        f'{lights}\n<g font-family="{FONTS}" font-size="{SIZE}" fill="{TEXT}">\n{texts}\n</g>\n</svg>\n'
    )


def _run(row: int, column: int, text: str, style: Style) -> str:
    shown = text.strip()
    column += len(text) - len(text.lstrip())
    looks: dict[str, Any] = {
        "x": f"{MARGIN + column * CELL:.1f}",
        "y": BAR + row * LINE + SIZE,
        # Whatever font there is, the columns stay where they are.
        "textLength": f"{len(shown) * CELL:.1f}",
        "lengthAdjust": "spacingAndGlyphs",
    }
    if style.colour != TEXT:
        looks["fill"] = style.colour
    if style.bold:
        looks["font-weight"] = "bold"
    if style.italic:
        looks["font-style"] = "italic"
    attributes = " ".join(f'{name}="{value}"' for name, value in looks.items())
    return f"<text {attributes}>{escape(shown, quote=False)}</text>"


if __name__ == "__main__":
    PICTURE.write_text(drawn(photograph()), encoding="utf-8")
