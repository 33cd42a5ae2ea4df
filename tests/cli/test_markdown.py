"""Markdown that is still being written: what is finished of it, and how the rest is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from everytoken.cli.markdown import CURSOR, Renderer
from everytoken.cli.parsing import markdown_parser
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
        pytest.param("```py\na = 1", [f"a = 1{CURSOR}"], id="in code"),
        pytest.param("```py", [CURSOR], id="at the beginning of code"),
        pytest.param("```\na\n```", ["a", "", CURSOR], id="at the end of code"),
    ],
)
def test_unfinished(text, lines, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen(40, 12)
    screen.feed("\r\n".join(Renderer().unfinished(text, 39, 11)))
    assert screen.text == "\n".join(lines).strip("\n")


EMPHASIS = json.loads((Path(__file__).parents[1] / "data" / "emphasis.json").read_text(encoding="utf-8"))
STYLES = {"em": "em", "strong": "strong", "s": "del"}


def runs(source):
    """Return the text of a paragraph as [styles, text]; what stands together and looks the same is one run."""
    found, open_ = [], []
    for token in markdown_parser().parse(source)[1].children:
        if token.nesting == 1:
            open_.append(STYLES[token.tag])
        elif token.nesting == -1:
            open_.remove(STYLES[token.tag])
        else:
            styles = " ".join(sorted({*open_, *(["code"] if token.type == "code_inline" else [])}))
            text = "\n" if token.type == "softbreak" else token.content
            if text and found and found[-1][0] == styles:
                found[-1][1] += text
            elif text:
                found.append([styles, text])
    return found


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in EMPHASIS["cases"]])
def test_emphasis_in_chinese_japanese_and_korean(case):
    assert runs(case["source"]) == case["runs"]


def plain(text, width=40):
    """Return finished Markdown without its looks."""
    screen = Screen(200, 50)
    screen.feed("\r\n".join(Renderer().markdown(text, width)))
    return screen.text.split("\n")


@pytest.mark.parametrize(
    "text",
    [
        r"Euler: \(e^{i\pi} + 1 = 0\), always",
        r"a \[ x_1 * y_1 * z \] b",
        r"cost $x_{1}\,y_{2}\$ and$ more",
        r"$$\{a\}\;b$$",
        "\\[\na \\\\\n+ b_{1} \\,\n\\]",
        "$$\n- a \\\\\n\\frac{1}{2}\n$$",
        "\\begin{aligned}\na &= b \\\\\nc &= d\n\\end{aligned}",
        r"half of it: \(a_1 + b_1",
        "It costs $5 or $10, not *$6*.".replace("*", ""),
    ],
)
def test_mathematics_stays_as_it_is_written(text):
    assert plain(text) == text.split("\n")


def test_prices_are_no_mathematics():
    assert plain("From $5 to **$6**, or $7_a_ to $8.") == ["From $5 to $6, or $7_a_ to $8."]


CODE = (
    'def f(name):\n    return f"a long line of code, which no terminal of forty columns has room for: {name}"'
)
MOVED = f"""\
1. First:

   ```python
{chr(10).join("   " + line for line in CODE.split(chr(10)))}
   ```

   and then
2. Second:
   ```sh
   ls
   ```
3. Third
   - nested
     ```
     x
     ```

> said:
> ```
> y
> ```
"""


def test_a_table_has_one_empty_line_around_it():
    assert plain("One:\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nTwo.") == [
        *("One:", "", " a  b", " ────", " 1  2", "", "Two."),
    ]


def test_code_can_be_copied_wherever_it_stands():
    """No indent, no line end and no box that is not its own."""
    assert plain(f"Look:\n\n```python\n{CODE}\n```\n") == ["Look:", "", *CODE.split("\n")]
    assert plain(MOVED) == [
        *(" 1 First:", "", *CODE.split("\n"), "", "   and then", " 2 Second:", "", "ls", ""),
        *(" 3 Third", "    • nested", "", "x", "", "▌ said:", "", "y"),
    ]
    assert not any(line.endswith(" ") for line in Renderer().markdown(MOVED, 40))
