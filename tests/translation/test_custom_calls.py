"""Custom tools, called as functions by servers that have nothing else: the caller sees its own tool, with its text."""

from __future__ import annotations

import json

import pytest

from everytoken.translation.custom_calls import CustomCalls, custom_names
from everytoken.translation.events import Arguments, CallBegan, CallEnded

RESPONSES = {"tools": [{"type": "custom", "name": "patch"}, {"type": "function", "name": "f"}]}
CHAT = {"tools": [{"type": "custom", "custom": {"name": "patch"}}]}
TEXT = '*** Begin\n+"a" \\ \u2028 😀\t*** End'


def unwrapped(*pieces, end=True):
    """Return the text that the caller's tool gets of these arguments."""
    calls = CustomCalls(RESPONSES)
    events = [
        CallBegan(0, "c", "patch"),
        *(Arguments(0, piece) for piece in pieces),
        *([CallEnded(0)] if end else ()),
    ]
    found = [seen for event in events for seen in calls.unwrapped(event)]
    assert found[0] == CallBegan(0, "c", "patch", custom=True)
    assert (found[-1] == CallEnded(0)) is end
    return [event.text for event in found if isinstance(event, Arguments)]


def test_the_text_comes_out_in_whatever_pieces_the_arguments_come():
    for whole in (json.dumps({"input": TEXT}), json.dumps({"input": TEXT}, ensure_ascii=False, indent=1)):
        assert "".join(unwrapped(*whole)) == TEXT
        for cut in range(len(whole)):
            assert "".join(unwrapped(whole[:cut], whole[cut:])) == TEXT


def test_a_piece_is_passed_on_at_once():
    assert unwrapped('{"inp', 'ut": "a', "b", 'c"', "}") == ["a", "b", "c"]


@pytest.mark.parametrize(
    "given", ["no JSON", '{"patch": "x"}', '"x"', '{"input": 3}', "{" + " " * 300 + '"input": "x"}']
)
def test_arguments_of_another_form_are_the_text_itself(given):
    assert "".join(unwrapped(*given)) == given


def test_line_breaks_as_models_write_them_are_text():
    assert unwrapped('{"input": "a\nb"}') == ["a\nb"]


def test_a_call_cut_by_a_limit_has_the_text_that_came():
    assert unwrapped('{"input": "a', "b\\", end=False) == ["a", "b"]


def test_calls_of_other_tools_are_left_alone():
    calls = CustomCalls(RESPONSES)
    events = [
        *(CallBegan(0, "c", "f"), Arguments(0, '{"input": "x"}'), CallEnded(0)),
        *(CallBegan(1, "d", "patch", custom=True), Arguments(1, "x"), CallEnded(1)),
    ]
    assert [seen for event in events for seen in calls.unwrapped(event)] == events


def test_which_tools_are_custom():
    assert custom_names(RESPONSES["tools"]) == custom_names(CHAT["tools"]) == {"patch"}
    for tools in (None, "x", [None, {"type": "custom"}, {"type": "custom", "custom": {}}]):
        assert custom_names(tools) == set()
