"""Phrases that no native speaker would write, found here before; each with what to write instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    r"(?:gone|go|goes|going) on with\b": "continue",
    r"\b(?:laid|lays?|laying) (?:\w+ )?against\b": "compare with",
    r"\bheld against\b": "test with",
    r"\bfurther attempt": "another attempt",
    r"\bwho (?:reads|polls|resumes|thinks|sends `|waits here|comes back)": "a reader; clients that …",
    r"\bthe one who (?:thinks|reads|asks)": "the model server; a reader",
    r"\bnothing lives\b": "Unknown path",
    r"\b(?:is|are|was) told so\b": "gets an error",
    r"\bof ours\b": "our own; in this package",
    r"\bwhat becomes of\b": "what happens after",
    r"\bbegins? anew\b|\bbegun anew\b": "start again, restart",
    r"\btakes? note\b": "record",
    r"\bwhoever\b": "anyone who; clients that",
    r"\bone's own\b": "a caller's own",
    r"\blooked at again\b": "shown again",
    r"\bread on\b": "continue reading, resume",
}
FILES = [
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "docs/decisions/*.md", "src/everytoken/**/*.py", "bench/report.py")
    for path in sorted(ROOT.glob(pattern))
]


def found(text: str) -> list[str]:
    """Return the forbidden phrases in a text, with the line and what to write instead."""
    return [
        f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}; better: {better}"
        for phrase, better in FORBIDDEN.items()
        # A phrase may go over two lines of a paragraph, a docstring or a comment.
        for match in re.finditer(phrase.replace(" ", r"(?: |\s+(?:# )?)"), text, re.IGNORECASE)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "How a broken answer is gone on with",
        "A further attempt is laid against what you have",
        "Nothing lives at this path",
        "it is gone on\n# with",
        "Who reads: knows when it has gone",
    ],
)
def test_a_phrase_is_found(text):
    assert found(text)


@pytest.mark.parametrize("text", ["the response continues", "those who know", "hours of work"])
def test_plain_english_passes(text):
    assert found(text) == []


@pytest.mark.parametrize("name", FILES)
def test_there_is_none(name):
    assert found((ROOT / name).read_text(encoding="utf-8")) == []
