# ruff: noqa: INP001  # a program, not a package
"""Film docs/images/demo.svg anew: `python tools/demo_picture.py`.

It is a film, not a drawing: `everytoken demo` runs on a terminal of its own, and what stands there, and when, is written as an
SVG whose only means are CSS animations, so that it moves as an image of a page, too. A run that takes longer than
`LONGEST` is played faster, and the picture says so. Readers who want no motion get the last frame.
"""

from __future__ import annotations

import os
import sys
import time
from html import escape
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools")]
from terminal_picture import ACCENT, COLOURS, DIM, EVERYTOKEN, FONTS, TEXT, Style, StyledScreen  # noqa: E402

from terminal import Terminal  # noqa: E402  # the tests' terminal knows what the command line writes

PICTURE = ROOT / "docs" / "images" / "demo.svg"
COMMAND = "everytoken demo"
COLUMNS, ROWS = 84, 44
PROMPT = 0.8  # seconds for which only the command is there
HOLD = 7.0  # seconds for which the end stays
FRAME = 0.12  # seconds between two pictures, as they are played
LONGEST = 26.0  # seconds of a run
PATIENCE = 120.0  # seconds without anything new, until it is given up
LARGEST = 200_000  # bytes

CELL, LINE, SIZE, MARGIN, BAR = 8.4, 20, 14, 20, 36  # pixels
DARK = {"ground": "#0d1117", "frame": "#30363d", "text": TEXT, "dim": DIM, "accent": ACCENT}
LIGHT = {"ground": "#ffffff", "frame": "#d0d7de", "text": "#1f2328", "dim": "#59636e", "accent": "#0969da"}
CLASSES = {TEXT: "", DIM: "d", COLOURS[32]: "g", COLOURS[33]: "y", COLOURS[31]: "r"}
_BAR = "│"
LIGHTS = ("#ff5f57", "#febc2e", "#28c840")

Cells = list[tuple[str, Style]]


class Moment(NamedTuple):
    """The screen at a time, row by row."""

    at: float
    rows: list[Cells]


class Piece(NamedTuple):
    """Some text that is there from one time to another; None: to the end."""

    row: int
    column: int
    text: str
    style: Style
    begin: float
    end: float | None


class FilmedScreen(StyledScreen):
    """A screen that can be photographed."""

    def photograph(self) -> list[Cells]:
        """Return what stands in each row, and how each character looks."""
        return [
            [(cell, self._styles.get((row, column), Style())) for column, cell in enumerate(line)]
            for row, line in enumerate(self.lines)
        ]


def filmed() -> list[Moment]:
    """Run the demo and return its moments."""
    env = {
        name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "PYTHONPATH"}
    }
    env["TERM"] = "xterm-256color"
    screen = FilmedScreen(COLUMNS, ROWS)
    screen.feed(f"\x1b[32m$\x1b[0m {COMMAND}\r\n")
    moments = [Moment(0.0, screen.photograph())]
    with Terminal([EVERYTOKEN, "demo"], env, columns=COLUMNS, rows=ROWS) as terminal:
        terminal.screen = screen
        began = time.monotonic()
        while terminal._read(time.monotonic() + PATIENCE):  # noqa: SLF001  # the tests wait for something
            moments.append(Moment(time.monotonic() - began, screen.photograph()))
        moments.append(Moment(time.monotonic() - began, screen.photograph()))
        assert terminal.process.wait(PATIENCE) == 0, screen.text
    assert len(screen.lines) <= ROWS, "it has scrolled"
    return moments


def thinned(moments: list[Moment], pause: float) -> list[Moment]:
    """Return the moments that are at least `pause` seconds apart, and the last one."""
    kept = moments[:1]
    for moment in moments[1:-1]:
        if moment.at - kept[-1].at >= pause:
            kept.append(moment)
    return [*kept, moments[-1]]


def pieces_of(moments: list[Moment]) -> list[Piece]:
    """Return the texts that come and go; a row that only grows keeps what it has."""
    done: list[Piece] = []
    for row in range(max(len(moment.rows) for moment in moments)):
        before: Cells = []
        active: list[Piece] = []
        for moment in moments:
            cells = moment.rows[row] if row < len(moment.rows) else []
            if cells == before:
                continue
            same = len(before) if cells[: len(before)] == before else 0
            if not same:
                done += [piece._replace(end=moment.at) for piece in active]
                active = []
            active += _runs(row, cells, same, moment.at)
            before = cells
        done += active
    return [piece for piece in done if piece.text.strip()]


def _runs(row: int, cells: Cells, first: int, at: float) -> list[Piece]:
    numbered = list(enumerate(cells))[first:]
    runs = []
    for style, group in groupby(numbered, lambda one: one[1][1]):
        run = list(group)
        text = "".join(cell for _, (cell, _) in run)
        column = run[0][0] + len(text) - len(text.lstrip())
        runs.append(Piece(row, column, text.strip(), style, at, None))
    return runs


def drawn(moments: list[Moment]) -> str:
    """Return the film as an SVG."""
    took = moments[-1].at
    speed = max(1.0, took / LONGEST)
    length = PROMPT + took / speed + HOLD
    rows = len(moments[-1].rows)
    width, height = round(COLUMNS * CELL + 2 * MARGIN), BAR + rows * LINE + MARGIN
    names: dict[tuple[float, float | None], str] = {}
    texts = []
    for piece in pieces_of(thinned(moments, FRAME * speed)):
        begin = PROMPT + piece.begin / speed if piece.begin else 0.0
        end = None if piece.end is None else PROMPT + piece.end / speed
        name = names.setdefault((begin, end), f"t{len(names)}" if begin or end else "")
        texts.append(_text(piece, name))
    lights = "".join(
        f'<circle cx="{MARGIN + 6 + 20 * index}" cy="18" r="6" fill="{colour}"/>'
        for index, colour in enumerate(LIGHTS)
    )
    note = f"{took:.0f} s, played {speed:.1f} times as fast" if speed > 1 else f"{took:.0f} s, as it was"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' role="img" aria-labelledby="t">\n'
        '<title id="t">everytoken demo: a gateway is killed in the middle of an answer, and the answer goes on</title>\n'
        f"<style>{_style(names, length)}</style>\n"
        f'<rect class="w" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10"/>\n{lights}\n'
        f'<text class="d n" x="{width - MARGIN}" y="22">{note}</text>\n' + "\n".join(texts) + "\n</svg>\n"
    )


def _style(names: dict[tuple[float, float | None], str], length: float) -> str:
    """Return the rules: colours for dark and light, and for each pair of times when its texts are there."""
    rules = [
        f"text{{font:{SIZE}px {FONTS};fill:{DARK['text']};white-space:pre}}",
        f".w{{fill:{DARK['ground']};stroke:{DARK['frame']}}}.n{{font-size:11px;text-anchor:end}}.b{{font-weight:bold}}",
        f".d{{fill:{DARK['dim']}}}.g{{fill:{COLOURS[32]}}}.y{{fill:{COLOURS[33]}}}.r{{fill:{COLOURS[31]}}}",
        (
            f"@media(prefers-color-scheme:light){{text{{fill:{LIGHT['text']}}}"
            f".w{{fill:{LIGHT['ground']};stroke:{LIGHT['frame']}}}"
            f".d{{fill:{LIGHT['dim']}}}.g{{fill:#1a7f37}}.y{{fill:#9a6700}}.r{{fill:#cf222e}}}}"
        ),
    ]
    frames = []
    for (begin, end), name in names.items():
        if name:
            gone = f"{100 * end / length:.2f}%{{visibility:hidden}}" if end else ""
            shown = f"{100 * begin / length:.2f}%{{visibility:visible}}"
            frames.append(f"@keyframes {name}{{0%{{visibility:hidden}}{shown}{gone}}}")
    still = "".join(f".{name}{{visibility:hidden}}" for (_, end), name in names.items() if name and end)
    moves = "".join(f".{name}{{animation-name:{name}}}" for name in names.values() if name)
    return "".join(
        [
            *rules,
            still,
            f"@media(prefers-reduced-motion:no-preference){{text,rect{{animation:{length:.2f}s step-end infinite}}{moves}}}",
            *frames,
        ]
    )


def _text(piece: Piece, name: str) -> str:
    style = piece.style
    classes = " ".join(
        part for part in (name, CLASSES.get(style.colour, ""), "b" if style.bold else "") if part
    )
    shown = f' class="{classes}"' if classes else ""
    if piece.text == _BAR:  # of a font it would not reach the next line's
        x = MARGIN + (piece.column + 0.5) * CELL
        return f'<rect{shown} x="{x:.1f}" y="{BAR + piece.row * LINE - 1}" width="1.2" height="{LINE}"/>'
    x, y = MARGIN + piece.column * CELL, BAR + piece.row * LINE + SIZE
    # Whatever font there is, the columns stay where they are.
    fixed = f' textLength="{len(piece.text) * CELL:.1f}" lengthAdjust="spacingAndGlyphs"'
    return f'<text{shown} x="{x:.1f}" y="{y}"{fixed}>{escape(piece.text, quote=False)}</text>'


if __name__ == "__main__":
    film = drawn(filmed())
    size = len(film.encode())
    assert size < LARGEST, f"{size} bytes are too many"
    PICTURE.write_text(film, encoding="utf-8")
