"""Odd JSON, as hypothesis strategies of *text*: what no encoder would write, at every place of a known body."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Text = st.SearchStrategy[str]

NUMBERS = [
    *("0", "-0", "-1", "1.5", "1e308", "1e400", "-1e400", "5e-324", "9223372036854775807"),
    # From here on none fits 64 bits; the last has more digits than Python turns into a number.
    *("9223372036854775808", "-9223372036854775809", "18446744073709551616", "1180591620717411303424"),
    *("99999999999999999999", "9" * 400, "9" * 5000),
]
STRINGS = [
    *('""', '" "', r'"\u0000"', r'"\ud800"', r'"\udfff\ud800"', r'"a\ud83d"', r'"\u2028\r\n\n"', '"流👍🏽"'),
    *('"data: x"', '"../../x"', '"assistant"', '"[DONE]"', json.dumps("x" * 70_000)),
]
OTHERS = [
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    '{"": ""}',
    '{"a": 1, "a": 2}',
    "NaN",
    "Infinity",
]
BRACKETS = [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]"), ('{"type":"text","content":[', "]}")]

scalars: Text = st.sampled_from([*NUMBERS, *STRINGS, *OTHERS])


def nested(*depths: int) -> Text:
    """Return values that are nested so many levels deep."""
    return st.builds(
        lambda brackets, depth, inside: brackets[0] * depth + inside + brackets[1] * depth,
        st.sampled_from(BRACKETS),
        st.sampled_from(depths),
        st.sampled_from(["1", '""', "18446744073709551616"]),
    )


def array(values: Sequence[str]) -> str:
    return f"[{', '.join(values)}]"


def table(fields: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in fields.items()) + "}"


values: Text = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(array),
        st.dictionaries(st.sampled_from(["a", "id", "type", "text", "", "\ud800"]), inner, max_size=3).map(
            table
        ),
    ),
    max_leaves=6,
)
odd: Text = st.one_of(scalars, values, nested(10, 100, 500, 900, 981, 990, 1000, 1500, 2000))


def bent(known: Mapping[str, str], *, value: Text = odd, most: int = 3, more: Sequence[str] = ()) -> Text:
    """Return objects with these fields, of which some are odd, or gone, or joined by ones that nobody knows."""
    names = [*known, *more, "unknown", ""]
    changes = st.dictionaries(st.sampled_from(names), st.one_of(value, st.none()), max_size=most)

    def change(given: dict[str, str | None]) -> str:
        return table({name: text for name, text in {**known, **given}.items() if text is not None})

    return changes.map(change)


CHAT_FIELDS = (
    *("max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "stop", "seed", "user", "metadata"),
    *(
        "tools",
        "tool_choice",
        "response_format",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "presence_penalty",
    ),
    *("frequency_penalty", "parallel_tool_calls", "reasoning_effort", "modalities", "audio", "prediction"),
    *("store", "service_tier", "stream_options", "verbosity", "functions", "extra_body"),
)
HELLO = {"role": '"user"', "content": '"Hello"'}
messages: Text = st.one_of(
    st.lists(
        bent(HELLO, more=("name", "tool_calls", "tool_call_id", "refusal", "audio")), min_size=1, max_size=4
    ).map(array),
    st.sampled_from([200, 2000]).map(lambda count: array([table(HELLO)] * count)),
)


def chat_bodies() -> Text:
    """Return bodies for `/v1/chat/completions`."""

    def with_messages(text: str) -> Text:
        known = {"model": '"m"', "stream": "true", "messages": text}
        return bent(known, most=4, more=CHAT_FIELDS)

    return st.one_of(st.just(array([table(HELLO)])), messages).flatmap(with_messages)


def ui_bodies() -> Text:
    """Return bodies for `/api/chat`: a prompt, messages, or what the AI SDK sends."""
    text_part = {"type": '"text"', "text": '"Hello"'}
    tool = {"type": '"tool-weather"', "toolCallId": '"call-1"', "state": '"output-available"', "input": "{}"}
    parts = st.lists(
        st.one_of(
            bent(text_part, more=("state", "providerMetadata")),
            bent(tool, more=("output", "errorText", "providerExecuted")),
            bent({"type": '"file"', "mediaType": '"image/png"', "url": '"data:image/png;base64,AA=="'}),
        ),
        max_size=3,
    ).map(array)
    message = st.one_of(parts, odd).flatmap(
        lambda text: bent(
            {"id": '"message-1"', "role": '"user"', "parts": text}, more=("metadata", "content")
        )
    )
    conversation = st.one_of(st.lists(message, max_size=3).map(array), odd)
    ui = conversation.flatmap(
        lambda text: bent(
            {"messages": text, "trigger": '"submit-message"', "id": '"chat-1"'},
            more=("messageId", "prompt", "model", "stream", *CHAT_FIELDS),
        )
    )
    return st.one_of(ui, bent({"prompt": '"Hello"'}, more=("messages", "model", "stream")))


def upstream_events() -> Text:
    """Return the data of events that an upstream may send: chunks with odd values at every place."""
    deep = st.one_of(scalars, values, nested(10, 500, 981, 2000, 5000))
    call = bent(
        {
            "index": "0",
            "id": '"call-1"',
            "type": '"function"',
            "function": '{"name": "f", "arguments": "{}"}',
        },
        value=deep,
    )
    delta = st.one_of(
        bent({"content": '"Hello"'}, value=deep, more=("role", "refusal", "reasoning_content", "audio")),
        st.lists(call, max_size=2).map(lambda calls: table({"tool_calls": array(calls)})),
        deep,
    )
    choice = delta.flatmap(
        lambda text: bent(
            {"index": "0", "delta": text, "finish_reason": "null"}, value=deep, more=("logprobs",)
        )
    )
    usage = bent({"prompt_tokens": "1", "completion_tokens": "2", "total_tokens": "3"}, value=deep)
    known = {"id": '"c"', "object": '"chat.completion.chunk"', "created": "1", "model": '"m"'}
    chunk = st.tuples(st.lists(choice, max_size=2).map(array), st.one_of(st.just("null"), usage)).flatmap(
        lambda both: bent(
            {**known, "choices": both[0], "usage": both[1]},
            value=deep,
            most=2,
            more=("error", "system_fingerprint", "message"),
        )
    )
    return st.one_of(
        chunk, chunk, chunk, deep, st.text(max_size=20).map(lambda text: text.replace("\n", " "))
    )
