"""`docs/images/demo.svg` is a film that any page can show; `tools/demo_picture.py` makes it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "images" / "demo.svg"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("demo_picture", ROOT / "tools" / "demo_picture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(svg):
    """What an image of a README may be: small, without scripts or anything from elsewhere, and it ends and begins again."""
    assert len(svg.encode()) < 200_000
    names = {element.tag.removeprefix(SVG) for element in ET.fromstring(svg).iter()}
    assert names <= {"svg", "title", "style", "rect", "circle", "text"}
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg|127\.0\.0\.1)|@import|url\(", svg)
    assert "prefers-color-scheme:light" in svg
    assert "prefers-reduced-motion" in svg
    assert "step-end infinite" in svg
    for percent in re.findall(r"([\d.]+)%", svg):
        assert 0 <= float(percent) <= 100


def test_the_picture_shows_a_run_that_was_exact():
    svg = PICTURE.read_text(encoding="utf-8")
    check(svg)
    said = " ".join(text.text for text in ET.fromstring(svg).iter(f"{SVG}text"))
    assert re.search(r"\d+ tokens, 0 lost, 0 doubled, order kept", said)
    assert re.search(r"kill -9 \d+", said)
    assert "smollm2" in said


def test_a_text_is_there_from_when_it_came_until_it_went(tool):
    screen = tool.FilmedScreen(20, 5)
    moments = []
    for at, written in enumerate(
        ["$ x\r\n", "One", " \x1b[2mtwo\x1b[0m", "\r\x1b[KThree", "\r\x1b[K\u2502 end"]
    ):
        screen.feed(written)
        moments.append(tool.Moment(float(at), screen.photograph()))
    shown = [(piece.text, piece.column, piece.begin, piece.end) for piece in tool.pieces_of(moments)]
    assert shown == [
        ("$ x", 0, 0.0, None),
        ("One", 0, 1.0, 3.0),
        ("two", 4, 2.0, 3.0),
        ("Three", 0, 3.0, 4.0),
        ("\u2502 end", 0, 4.0, None),
    ]
    assert "two" in tool.drawn(moments)
    check(tool.drawn(moments))


def test_a_long_run_is_played_faster_and_says_so(tool):
    screen = tool.FilmedScreen(20, 5)
    screen.feed("x")
    long = [tool.Moment(float(at), screen.photograph()) for at in range(0, 79, 13)]
    assert "78 s, played 3.0 times as fast" in tool.drawn(long)
    assert "13 s, as it was" in tool.drawn(long[:2])
    assert len(tool.thinned(long, 20.0)) == 4
