"""`<think>` at the beginning of an answer, cut anywhere."""

from __future__ import annotations

import pytest

from everytoken.cli.thinking import ThinkTags


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("Yes.", "", "Yes."),
        ("<think>\nHm < 3.</think>\n\nYes <think>.", "Hm < 3.", "Yes <think>."),
        ("\n<think>Hm", "Hm", ""),
        ("<think>\n\na\n\nb\n\n</think>\nc", "a\n\nb", "c"),
        ("<thin", "", "<thin"),
        ("<think>a</thi", "a", "</thi"),
        ("<thinking>no", "", "<thinking>no"),
        ("Say <think>x</think>", "", "Say <think>x</think>"),
    ],
)
def test_thinking_is_split_off(text, thought, answer, size):
    tags = ThinkTags()
    parts = [part for start in range(0, len(text), size) for part in tags.push(text[start : start + size])]
    parts.append((False, tags.finish()))
    assert "".join(part for thinking, part in parts if thinking) == thought
    assert "".join(part for thinking, part in parts if not thinking).lstrip("\n") == answer.lstrip("\n")
