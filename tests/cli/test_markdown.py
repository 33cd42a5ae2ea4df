"""Markdown that is still being written: what is finished of it, and how the rest is shown."""

from __future__ import annotations

import pytest

from everytoken.cli.markdown import CURSOR, Renderer
from terminal import Screen


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        pytest.param("one", "", id="a line that is being written"),
        pytest.param("one\n\ntwo", "", id="its successor is being written, and may become anything"),
        pytest.param("one\n\ntwo\n", "one\n\n", id="two paragraphs"),
        pytest.param("one\n---\n", "", id="an underlined heading is one block"),
        pytest.param("- a\n- b\n\n- c\n", "", id="a list is one block"),
        pytest.param("1. a\n\n2", "", id="the number of a list's next item is no paragraph yet"),
        pytest.param("```\na\n\nb\n", "", id="open code"),
        pytest.param("```\na\n```\nb\n", "```\na\n```\n", id="closed code"),
        pytest.param("a\n\n```\nb\n", "a\n\n", id="code has begun"),
    ],
)
def test_finished(text, finished):
    assert text[: Renderer().finished(text)] == finished


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param("", [CURSOR], id="nothing yet"),
        pytest.param("a `co", [f"a co{CURSOR}"], id="a code span is closed"),
        pytest.param("a **b", [f"a b{CURSOR}"], id="bold is closed"),
        pytest.param("a **", [f"a {CURSOR}"], id="bold that has only begun"),
        pytest.param("a `**` b", [f"a ** b{CURSOR}"], id="asterisks in code are none"),
        pytest.param("- a", [f" • a{CURSOR}"], id="in a list"),
        pytest.param("```py\na = 1", ["", f" a = 1{CURSOR}", ""], id="in code"),
        pytest.param("```py", ["", f" {CURSOR}", ""], id="at the beginning of code"),
        pytest.param("```\na\n```", ["", " a", "", "", CURSOR], id="at the end of code"),
    ],
)
def test_unfinished(text, lines, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen(40, 12)
    screen.feed("\r\n".join(Renderer().unfinished(text, 39, 11)))
    assert screen.text == "\n".join(lines).strip("\n")
