"""The answers of a scripted upstream."""

from __future__ import annotations

import pytest

from everytoken.testing import (
    DEFAULT_TEXT,
    Answer,
    tokenise,
)


def test_tokens_joined_are_the_text():
    assert "".join(tokenise(DEFAULT_TEXT)) == DEFAULT_TEXT
    assert tokenise("extraordinary 12345 文字") == (
        "extrao",
        "rdinar",
        "y",
        " ",
        "123",
        "45",
        " ",
        "文",
        "字",
    )


@pytest.mark.parametrize("cut", range(len("Ünï code 文字 👍🏽.") + 1))
def test_a_prefill_goes_on_from_every_character(cut):
    answer = Answer("Ünï code 文字 👍🏽.")
    assert answer.text[:cut] + "".join(answer.after(answer.text[:cut])) == answer.text


def test_an_answer_of_so_many_chunks():
    answer = Answer.of_chunks(1000)
    assert len(answer.tokens) == 1000
    assert answer.text.startswith(DEFAULT_TEXT)
