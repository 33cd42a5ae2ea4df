"""What is made of the keys that are typed during an answer; the rest is in conversation/test_loop.py."""

from __future__ import annotations

import pytest

from everytoken.cli.keyboard import typed_text


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("next", "next"),
        ("nextx\x7f", "next"),
        ("\x7f\x7fa", "a"),
        ("one\rtwo\n", "one\ntwo"),
        ("wrong\x15right", "right"),
        ("a\x1b[A\x1b[1;5Cb\x1bOPc\x1b[200~d\x1b[201~", "abcd"),
        ("\x03\x04\x1a\x00", ""),
        ("übung 你好", "übung 你好"),
        ("\x1b", ""),
    ],
)
def test_keys_become_text(keys, text):
    assert typed_text(keys) == text
