"""UI messages as OpenAI's, and rebuilt."""

from __future__ import annotations

import pytest

from everytoken.errors import InvalidRequestError
from everytoken.formats.ui_messages import is_ui_request, openai_messages, rebuild

PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERg=="


def text(content):
    return {"type": "text", "text": content}


def user(*parts):
    return {"id": "u", "role": "user", "parts": list(parts)}


def assistant(*parts):
    return {"id": "a", "role": "assistant", "parts": list(parts)}


def weather(state="output-available", **more):
    return {
        "type": "tool-weather",
        "toolCallId": "call_1",
        "state": state,
        "input": {"city": "Zürich"},
        **more,
    }


CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Zürich"}'},
}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}


def answered(content):
    return [CALLED, {"role": "tool", "tool_call_id": "call_1", "content": content}]


CASES = [
    ("text", [user(text("Hello"))], [{"role": "user", "content": "Hello"}]),
    ("texts are joined", [user(text("Hel"), text("lo"))], [{"role": "user", "content": "Hello"}]),
    (
        "a system message",
        [{"id": "s", "role": "system", "parts": [text("Be brief.")]}],
        [{"role": "system", "content": "Be brief."}],
    ),
    (
        "an image beside text",
        [user(text("What is it?"), {"type": "file", "mediaType": "image/png", "url": PNG})],
        [
            {
                "role": "user",
                "content": [text("What is it?"), {"type": "image_url", "image_url": {"url": PNG}}],
            }
        ],
    ),
    (
        "an image by its address",
        [user({"type": "file", "mediaType": "image/*", "url": "https://x.test/a.png"})],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]}],
    ),
    (
        "another file by value",
        [user({"type": "file", "mediaType": "application/pdf", "url": PDF, "filename": "a.pdf"})],
        [{"role": "user", "content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}]}],
    ),
    (
        "data, sources and what nobody knows say nothing to a model",
        [user(text("Hi"), {"type": "data-x", "data": 1}, {"type": "source-url"}, {"type": "new"}, "odd", {})],
        [{"role": "user", "content": "Hi"}],
    ),
    (
        "reasoning is not sent back",
        [assistant({"type": "step-start"}, {"type": "reasoning", "text": "Hm"}, text("Yes"))],
        [{"role": "assistant", "content": "Yes"}],
    ),
    ("an empty answer is left out", [assistant({"type": "step-start"})], []),
    ("a tool's output", [assistant(weather(output={"t": 21}))], answered('{"t":21}')),
    ("an output that is text", [assistant(weather(output="21 °C"))], answered("21 °C")),
    ("an output that is nothing", [assistant(weather(output=None))], answered("null")),
    ("a tool that failed", [assistant(weather("output-error", errorText="no net"))], answered("no net")),
    (
        "a tool that was not allowed",
        [assistant(weather("output-denied", approval={"id": "1", "approved": False, "reason": "too dear"}))],
        answered("too dear"),
    ),
    (
        "a dynamic tool",
        [assistant({**weather(output=1), "type": "dynamic-tool", "toolName": "weather"})],
        answered("1"),
    ),
    (
        "arguments that were no JSON go back as they were",
        [assistant({**weather("output-error", errorText="bad", rawInput='{"cit'), "input": None})],
        [
            {**CALLED, "tool_calls": [{**CALL, "function": {"name": "weather", "arguments": '{"cit'}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "bad"},
        ],
    ),
    ("a call without its output is left out", [assistant(weather("input-available"))], []),
    (
        "half a call is left out",
        [assistant(text("Let me see"), weather("input-streaming"))],
        [{"role": "assistant", "content": "Let me see"}],
    ),
    (
        "steps are messages",
        [
            assistant(
                {"type": "step-start"},
                text("Let me see."),
                weather(output="21"),
                {"type": "step-start"},
                text("It is 21 °C."),
            )
        ],
        [
            {**CALLED, "content": "Let me see."},
            {"role": "tool", "tool_call_id": "call_1", "content": "21"},
            {"role": "assistant", "content": "It is 21 °C."},
        ],
    ),
]


@pytest.mark.parametrize(("messages", "expected"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_ui_messages_become_openai_messages(messages, expected):
    assert openai_messages(messages) == expected


REFUSED = [
    ("a message that is none", ["odd"], "messages[0].parts"),
    ("a message without parts", [user(text("a")), {"role": "user", "content": "b"}], "messages[1].parts"),
    ("a role of its own", [{"role": "tool", "parts": []}], "messages[0].role"),
    ("no role", [{"parts": []}], "messages[0].role"),
    ("a file without an address", [user({"type": "file", "mediaType": "image/png"})], "messages[0].parts"),
    (
        "a file that nobody would fetch",
        [user({"type": "file", "mediaType": "application/pdf", "url": "https://x.test/a.pdf"})],
        "messages[0].parts",
    ),
]


@pytest.mark.parametrize(("messages", "param"), [pytest.param(*case[1:], id=case[0]) for case in REFUSED])
def test_what_cannot_be_converted_is_refused_by_its_place(messages, param):
    with pytest.raises(InvalidRequestError) as caught:
        openai_messages(messages)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"messages": [user()]}, True, id="messages with parts"),
        pytest.param({"prompt": "a"}, False, id="a prompt"),
        pytest.param({"messages": [{"role": "user", "content": "a"}]}, False, id="messages with content"),
        pytest.param({"messages": []}, False, id="no messages"),
        pytest.param({"messages": [{"parts": "a"}, 1]}, False, id="parts that are none"),
        pytest.param({"messages": {"parts": []}}, False, id="messages that are none"),
    ],
)
def test_the_form_is_told_by_the_parts(body, expected):
    assert is_ui_request(body) is expected


def test_a_message_is_rebuilt_without_running_its_tools_again():
    source = {"type": "source-url", "sourceId": "1", "url": "https://x.test"}
    parts = [
        {"type": "step-start"},
        {"type": "reasoning", "text": "Hm", "state": "done"},
        text("See"),
        weather(output={"t": 21}),
        weather("output-error", errorText="no net"),
        weather("output-denied"),
        {**weather("input-available"), "type": "dynamic-tool", "toolName": "weather"},
        source,
        {"type": "data-x", "id": "d", "data": 1},
        {"type": "unknown"},
        "odd",
    ]
    chunks = rebuild(parts)
    assert "tool-input-available" not in {chunk["type"] for chunk in chunks}
    assert chunks[:7] == [
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "before-1"},
        {"type": "reasoning-delta", "id": "before-1", "delta": "Hm"},
        {"type": "reasoning-end", "id": "before-1"},
        {"type": "text-start", "id": "before-2"},
        {"type": "text-delta", "id": "before-2", "delta": "See"},
        {"type": "text-end", "id": "before-2"},
    ]
    assert chunks[7:10] == [
        {"type": "tool-input-start", "toolCallId": "call_1", "toolName": "weather"},
        {"type": "tool-input-delta", "toolCallId": "call_1", "inputTextDelta": '{"city":"Zürich"}'},
        {"type": "tool-output-available", "toolCallId": "call_1", "output": {"t": 21}},
    ]
    assert [c["type"] for c in chunks[10:]] == [
        "tool-input-start",
        "tool-input-delta",
        "tool-output-error",
        "tool-input-start",
        "tool-input-delta",
        "tool-output-denied",
        "tool-input-start",
        "tool-input-delta",
        "source-url",
        "data-x",
    ]
