"""What a terminal shows of an answer while it comes, on a screen of our own (tests/terminal.py)."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from everytoken.cli import views
from everytoken.cli.markdown import CURSOR, Renderer
from everytoken.cli.text import one_line, visible
from everytoken.testing import tokenise
from terminal import Screen

ANSWER = (
    """\
# A heading

Some **bold words** and `code`; *emphasis*, too. 流式传输让人立刻看到文字。 A family 👨‍👩‍👧.
A second line of the same paragraph, which is so long that it has to be wrapped on any terminal of ours, twice even.

1. **First**: a thing
2. **Second**: another thing
   - nested one
   - nested two

```python
def hello(name):
    \"\"\"Say it.\"\"\"

    for number in range(10):
        print("hello", name, number)
"""
    + "".join(f"    # line {number}\n" for number in range(16))
    + """\
```

| a | b |
|---|---|
| 1 | 2 |

> quoted <b>html</b> text

See [this](https://example.com/x) and [that][1].

[1]: https://example.org

- item
"""
    + "".join(f"- item {number}\n" for number in range(16))
    + "\nDone. 2 * 3 * 4 = 24"
)


class Clock:
    """An event loop's clock and timers, and nothing else of it."""

    def __init__(self):
        self.now = 0.0
        self.timers = []

    def time(self):
        return self.now

    def call_at(self, when, callback):
        self.timers.append((when, callback))
        return self

    def cancel(self):
        self.timers.clear()

    def advance(self, seconds):
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, callback in due:
            callback()


class Shown:
    """A view on a screen."""

    def __init__(self, monkeypatch, columns=40, rows=12):
        monkeypatch.setattr(views.os, "get_terminal_size", lambda _: os.terminal_size((columns, rows)))
        # How long a drawing takes on this machine must not decide when the next one is.
        monkeypatch.setattr(views, "time", SimpleNamespace(perf_counter=lambda: 0.0))
        self.descriptor, self.failure = 1, None
        self.screen = Screen(columns, rows)
        self.written = 0
        self.clock = Clock()
        self.view = views.ScreenView(self, self.clock)
        self.view.begin()

    def write(self, data):
        self.written += len(data)
        self.screen.feed(data.decode())

    def send(self, pieces, *, pause=0.3):
        for piece in pieces:
            self.view.text(piece)
            self.clock.advance(pause)

    @property
    def lines(self):
        return [line for line in self.screen.text.split("\n") if line]


def in_one_piece(monkeypatch, text, columns=40, rows=12):
    shown = Shown(monkeypatch, columns, rows)
    shown.view.text(text)
    shown.view.end()
    return shown


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [(1, 12, 40), (5, 3, 20), (5, 200, 100), (7, 12, 20), (40, 12, 100), (200, 12, 40)],
)
def test_the_answer_is_there_once_and_whole_however_it_came(size, rows, columns, monkeypatch):
    shown = Shown(monkeypatch, columns, rows)
    tokens = tokenise(ANSWER)
    shown.send("".join(tokens[start : start + size]) for start in range(0, len(tokens), size))
    shown.view.end()
    assert shown.lines == in_one_piece(monkeypatch, ANSWER, columns, rows).lines
    assert not shown.screen.cursor_hidden
    assert shown.screen.wrapped == (columns < 40), "lines are narrower than the terminal, but for code"


def test_markdown_is_rendered(monkeypatch):
    lines = in_one_piece(monkeypatch, ANSWER, 100).lines
    assert lines[:2] == [
        "A heading",
        "Some bold words and code; emphasis, too. 流式传输让人立刻看到文字。 A family 👨‍👩‍👧.",
    ]
    for line in (" 1 First: a thing", "    • nested two", "▌ quoted <b>html</b> text"):
        assert line in lines
    assert "See this (https://example.com/x) and that (https://example.org)." in lines
    assert lines[-1] == "Done. 2 * 3 * 4 = 24"


def test_the_cursor_stands_behind_the_last_word_and_goes_away(monkeypatch):
    shown = Shown(monkeypatch)
    assert (shown.screen.text, shown.screen.cursor_hidden) == (CURSOR, True)
    shown.send(["Some **bold"])
    assert shown.screen.text == f"Some bold{CURSOR}"
    shown.view.end()
    assert (shown.screen.text, shown.screen.cursor_hidden) == ("Some **bold", False)


def test_a_stalled_word_is_shown_after_a_moment(monkeypatch):
    shown = Shown(monkeypatch)
    shown.send(["Hello wor"], pause=0.1)
    assert shown.screen.text == f"Hello {CURSOR}"
    shown.clock.advance(0.2)
    assert shown.screen.text == f"Hello wor{CURSOR}"


def test_reasoning_stands_above_the_answer(monkeypatch):
    shown = Shown(monkeypatch)
    for piece in ("Let me\n\nthink ", "**hard**"):
        shown.view.reasoning(piece)
        shown.clock.advance(0.3)
    assert shown.screen.text == f"Let me\n\nthink **hard**{CURSOR}"
    shown.send(["Yes."])
    shown.view.reasoning("too late")
    shown.view.end()
    assert shown.screen.text == "Let me\n\nthink **hard**\n\nYes."


def test_finished_blocks_are_not_drawn_again(monkeypatch):
    """What is written for an answer twice as long is about twice as much, and what is rendered stays short."""
    written, longest = [], 0
    for count in (100, 200):
        shown = Shown(monkeypatch)
        for number in range(count):
            shown.send([f"Paragraph {number} ", "goes on.\n\n"])
            longest = max(longest, len(shown.view._open))
        shown.view.end()
        written.append(shown.written)
    assert longest < 60
    assert written[1] < 2.2 * written[0]


def test_of_long_code_only_the_end_is_highlighted_again(monkeypatch):
    shown = Shown(monkeypatch)
    parsed = []
    original = Renderer._parsed
    monkeypatch.setattr(
        Renderer, "_parsed", lambda self, text, links: parsed.append(len(text)) or original(self, text, links)
    )
    shown.send(["```python\n", *("line = 1\n" for _ in range(200))])
    assert max(parsed) < 20 * len("line = 1\n")


def test_a_slow_drawing_is_done_less_often(monkeypatch):
    ticks = iter(range(1000))
    shown = Shown(monkeypatch)
    monkeypatch.setattr(views.time, "perf_counter", lambda: next(ticks))  # a drawing costs a second
    frames = []
    original = shown.view._draw
    monkeypatch.setattr(shown.view, "_draw", lambda: frames.append(shown.clock.now) or original())
    shown.send(["word "] * 100, pause=0.1)
    assert len(frames) == 3


@pytest.mark.parametrize(
    "text", ["\x1b[2Jgone", "\x9b2Jgone", "over\rwritten", "\x07\x08", "\x1b]0;title\x07"]
)
def test_a_model_cannot_command_the_terminal(text, monkeypatch):
    for written in (visible(text), one_line(text)):
        assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in written)
    lines = in_one_piece(monkeypatch, text).lines
    assert lines == [visible(text)]
