"""What the embedded model cannot do is refused in words, in every API; what makes no difference is said once."""

from __future__ import annotations

import json

import pytest

from everytoken.recovery.refusals import is_only_here
from everytoken.upstream.embedded import EmbeddedUpstream
from everytoken.upstream.embedded_refusals import ignored, refusal

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}


def said(*parts, name="messages"):
    return {name: [{"role": "user", "content": list(parts)}]}


REFUSED = [
    ("tools", {"messages": [USER], "tools": [TOOL]}, "call tools", "tools"),
    ("tools that may not be called", {"tools": [TOOL], "tool_choice": "none"}, "call tools", "tools"),
    ("functions", {"functions": [{"name": "weather"}]}, "call tools", "functions"),
    ("the web", {"web_search_options": {}}, "search the web", "web_search_options"),
    ("speech", {"modalities": ["text", "audio"]}, "answer in anything but text", "modalities"),
    ("a voice", {"audio": {"voice": "alloy"}}, "answer in anything but text", "audio"),
    ("two answers", {"n": 2}, "give more than one answer to a request", "n"),
    ("the best of two", {"best_of": 2}, "give more than one answer to a request", "best_of"),
    ("a suffix", {"prompt": "One,", "suffix": "three"}, "write what comes before a suffix", "suffix"),
    ("an echo", {"prompt": "One,", "echo": True}, "repeat the prompt", "echo"),
    ("an image in chat", said({"type": "text"}, {"type": "image_url"}), "see images", None),
    ("an image in Responses", said({"type": "input_image"}, name="input"), "see images", None),
    ("an image in Messages", said({"type": "image"}), "see images", None),
    (
        "an image of a tool",
        said({"type": "tool_result", "content": [{"type": "image"}]}),
        "see images",
        None,
    ),
    (
        "an image of a function",
        {"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]},
        "see images",
        None,
    ),
    ("a sound", said({"type": "input_audio"}), "hear audio", None),
    ("a file", said({"type": "file"}), "read files", None),
    ("a document", said({"type": "document"}), "read files", None),
    ("a video", said({"type": "video_url"}), "see videos", None),
]

TAKEN = [
    ("text", {"messages": [USER]}),
    ("parts of text", said({"type": "text", "text": "Hi"})),
    ("no tools", {"tools": [], "functions": None}),
    ("one answer", {"n": 1, "best_of": 1}),
    ("text only", {"modalities": ["text"]}),
    ("a tool's result", said({"type": "tool_result", "content": [{"type": "text", "text": "Sunny"}]})),
    ("an image among a tool's arguments", said({"type": "tool_use", "input": {"content": "image"}})),
    ("nonsense", {"messages": "x", "input": 3, "n": "2", "modalities": "audio"}),
    ("nonsense in messages", {"messages": [None, {"content": [3, {"type": ["image"]}]}]}),
]


@pytest.mark.parametrize(
    ("body", "what", "param"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_it_cannot_do_is_refused_in_words(body, what, param):
    error = refusal(body)
    assert error.status == 400
    assert not error.retryable
    assert is_only_here(error), "another upstream may do it"
    told = json.loads(error.body)["error"]
    assert told["message"] == f"the embedded model does not {what}; configure an upstream that does"
    assert (told["type"], told["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize("body", [case[1] for case in TAKEN], ids=[case[0] for case in TAKEN])
def test_what_it_can_do_is_not_refused(body):
    assert refusal(body) is None


def test_a_hint_that_makes_no_difference_is_said_once(caplog):
    upstream = EmbeddedUpstream("embedded")
    assert ignored({"messages": [USER], "temperature": 1, "verbosity": None}) == []
    for _ in range(2):
        upstream._say_ignored({"reasoning_effort": "high", "verbosity": "low"})
    upstream._say_ignored({"reasoning_effort": "high", "thinking": {"type": "enabled"}})
    assert caplog.messages == [
        "the embedded model ignores reasoning_effort, verbosity",
        "the embedded model ignores thinking",
    ]
