"""Curves as SVG, on two logarithmic scales; readable on a light and on a dark page."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH: Final = 640
_HEIGHT: Final = 320
_LEFT: Final = 60
_RIGHT: Final = 170  # where the names are
_TOP: Final = 20
_BOTTOM: Final = 45
_COLOURS: Final = ("#888888", "#2f6fdb", "#c2571a", "#a0429b", "#2a8f4b")  # of 3:1 on white and on black
_NEAR: Final = 13  # pixels between two names, at least


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], x_name: str, y_name: str) -> str:
    """Return the picture of some lines, each with the points (x, y) it goes through, all above 0."""
    xs = [log10(x) for line in lines.values() for x, _ in line]
    ys = [log10(y) for line in lines.values() for _, y in line]
    left, right = floor(min(xs)), ceil(max(xs))
    low, high = floor(min(ys)), ceil(max(ys))

    def at_x(value: float) -> float:
        return _LEFT + (value - left) / max(1, right - left) * (_WIDTH - _LEFT - _RIGHT)

    def at_y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - low) / max(1, high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for power in range(left, right + 1):
        x = at_x(power)
        parts.append(_line(x, _TOP, x, _HEIGHT - _BOTTOM))
        parts.append(_text(x, _HEIGHT - _BOTTOM + 16, f"{10**power:,}", "middle"))
    for power in range(low, high + 1):
        y = at_y(power)
        parts.append(_line(_LEFT, y, _WIDTH - _RIGHT, y))
        parts.append(_text(_LEFT - 6, y + 4, f"{10.0**power:g}", "end"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x_name, "middle"))
    parts.append(_text(_LEFT - 40, _TOP - 6, y_name, "start"))
    ends = sorted(((at_y(log10(line[-1][1])), name) for name, line in lines.items()), key=lambda end: end[0])
    taken = -1e9
    for y, name in ends:
        taken = max(y, taken + _NEAR)
        colour = _COLOURS[list(lines).index(name) % len(_COLOURS)]
        points = " ".join(f"{at_x(log10(x)):.1f},{at_y(log10(value)):.1f}" for x, value in lines[name])
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(_WIDTH - _RIGHT + 8, taken + 4, name, "start", colour))
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12">\n<title>{escape(y_name)} by {escape(x_name)}</title>\n{inside}\n</svg>\n'
    )


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="#888888" stroke-opacity="0.35"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#808080") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
