"""Custom tools, called as functions by servers that have nothing else: the caller sees its own tool, with its text."""

from __future__ import annotations

import json

import pytest

from everytoken.translation.anthropic_messages import read_request as read_messages
from everytoken.translation.anthropic_messages import write_request as write_messages
from everytoken.translation.custom_calls import CustomCalls
from everytoken.translation.events import Arguments, Began, CallBegan, CallEnded, Ended
from everytoken.translation.openai_chat import read_request as read_chat
from everytoken.translation.openai_chat import write_request as write_chat
from everytoken.translation.openai_responses import read_request as read_responses
from everytoken.translation.openai_responses import write_request as write_responses
from everytoken.translation.wrapping import wrapped_input
from translated import ASK, CHAT, MESSAGES, RESPONSES, read_by_sdk, translated, written

REQUESTS = {
    CHAT: (read_chat.read_request, write_chat.write_request),
    MESSAGES: (read_messages.read_request, write_messages.write_request),
    RESPONSES: (read_responses.read_request, write_responses.write_request),
}

TOOLS = {
    CHAT: [{"type": "custom", "custom": {"name": "patch"}}],
    RESPONSES: [
        {"type": "custom", "name": "patch"},
        {
            "type": "namespace",
            "name": "git",
            "description": "",
            "tools": [{"type": "custom", "name": "patch"}],
        },
    ],
}
TEXT = '*** Begin\n+"a" \\ \u2028 😀\t*** End'


def unwrapped(*pieces, end=True):
    """Return the text that the caller's tool gets of these arguments."""
    calls = CustomCalls({"patch"})
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


def test_a_backslash_that_begins_no_escape_is_text():
    given = r'{"input": "\d+ \u12 \n \\"}'
    for pieces in ([given], given):
        assert "".join(unwrapped(*pieces)) == "\\d+ \\u12 \n \\"


def test_line_breaks_as_models_write_them_are_text():
    assert unwrapped('{"input": "a\nb"}') == ["a\nb"]


def test_a_call_cut_by_a_limit_has_the_text_that_came():
    assert unwrapped('{"input": "a', "b\\", end=False) == ["a", "b"]


def test_calls_of_other_tools_are_left_alone():
    calls = CustomCalls({"patch"})
    events = [
        *(CallBegan(0, "c", "f"), Arguments(0, '{"input": "x"}'), CallEnded(0)),
        *(CallBegan(1, "d", "patch", custom=True), Arguments(1, "x"), CallEnded(1)),
    ]
    assert [seen for event in events for seen in calls.unwrapped(event)] == events


@pytest.mark.parametrize(
    ("caller", "name"), [(CHAT, "patch"), (RESPONSES, "patch"), (RESPONSES, "git__patch")]
)
@pytest.mark.parametrize("upstream", [CHAT, MESSAGES])
def test_a_tool_that_was_wrapped_in_the_request_is_called_as_the_callers_own(caller, name, upstream):
    ask = {**ASK[caller], "tools": TOOLS[caller]}
    sent = REQUESTS[upstream][1](REQUESTS[caller][0](ask))
    tools = [tool.get("function", tool) for tool in sent["tools"]]
    assert name in [tool["name"] for tool in tools]
    called = [
        *(Began("id", "m"), CallBegan(0, "c", name), Arguments(0, wrapped_input(TEXT)), CallEnded(0)),
        Ended("tool_calls"),
    ]
    seen = translated(upstream, caller, written(upstream, called), ask)
    assert read_by_sdk(caller, seen).calls == [("c", "patch", TEXT)]
    assert ('"namespace":"git"' in seen[-1].data) is (name == "git__patch")
