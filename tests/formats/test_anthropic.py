"""Records as Anthropic events, read back by our decoder and by the official SDK."""

from __future__ import annotations

import json

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everytoken.formats.anthropic import KEEP_ALIVE, AnthropicEvents, encode
from everytoken.formats.table import format_named
from everytoken.sse import SSEDecoder

DELTA = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}'

# Each case: its name, the records, the offset before them, the bytes.
CASES = [
    ("nothing is nothing", [], 3, b""),
    ("a delta", [DELTA], 0, b"event: content_block_delta\ndata: %b\nid: 0000000000000001\n\n" % DELTA),
    (
        "the name is the type wherever it stands",
        [b'{"delta": {"type": "x"}, "type": "message_delta"}'],
        41,
        b'event: message_delta\ndata: {"delta": {"type": "x"}, "type": "message_delta"}\nid: 0000000000000042\n\n',
    ),
    (
        "several records count on",
        [DELTA, b'{"type": "message_stop"}'],
        9,
        b"event: content_block_delta\ndata: %b\nid: 0000000000000010\n\n" % DELTA
        + b'event: message_stop\ndata: {"type": "message_stop"}\nid: 0000000000000011\n\n',
    ),
    (
        "a record with line ends has several data lines",
        [b'{"type":\n"x"\r\n}'],
        0,
        b'event: x\ndata: {"type":\ndata: "x"\ndata: }\nid: 0000000000000001\n\n',
    ),
    (
        "a delta with line ends too",
        [DELTA[:-1] + b"\r}"],
        0,
        b"event: content_block_delta\ndata: %b\ndata: }\nid: 0000000000000001\n\n" % DELTA[:-1],
    ),
    (
        "a type that cannot be a name is none",
        [b'{"type":"a\\nb"}'],
        0,
        b'event: message\ndata: {"type":"a\\nb"}\nid: 0000000000000001\n\n',
    ),
    ("no type", [b"{}"], 0, b"event: message\ndata: {}\nid: 0000000000000001\n\n"),
    ("no JSON", [b"%d"], 0, b"event: message\ndata: %d\nid: 0000000000000001\n\n"),
    (
        "a number for a type",
        [b'{"type":1}'],
        0,
        b'event: message\ndata: {"type":1}\nid: 0000000000000001\n\n',
    ),
]


@pytest.mark.parametrize(("records", "offset", "data"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_encode(records: list[bytes], offset: int, data: bytes):
    assert encode(records, offset) == data
    without = b"".join(line for line in data.splitlines(keepends=True) if not line.startswith(b"id: "))
    assert AnthropicEvents(ids=False).push(records, offset) == without
    assert AnthropicEvents().push(records, offset) == data


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5), st.integers(0, 10**9))
def test_what_is_encoded_is_decoded_again(texts: list[str], offset: int):
    records = [json.dumps({"type": "x", "text": text}, ensure_ascii=False).encode() for text in texts]
    events = SSEDecoder().receive_data(encode(records, offset))
    assert [(event.event, event.data.encode()) for event in events] == [("x", record) for record in records]
    assert [int(event.id or 0) for event in events] == list(range(offset + 1, offset + 1 + len(records)))


def test_it_is_offered_by_its_name():
    assert format_named("anthropic")().keep_alive == KEEP_ALIVE
    assert AnthropicEvents().begin() == KEEP_ALIVE
    assert AnthropicEvents(greets=False).begin() == b""


EVENTS = [
    {
        "type": "message_start",
        "message": {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "x",
            "content": [],
            "usage": {"input_tokens": 1, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]


@pytest.mark.parametrize("ids", [True, False])
def test_the_official_sdk_reads_it(ids: bool):  # noqa: FBT001
    records = [json.dumps(event).encode() for event in EVENTS]
    output = AnthropicEvents(ids=ids)
    # A ping between all events, and one in front: with an id before it or none.
    body = output.begin() + KEEP_ALIVE.join([output.push([record], n) for n, record in enumerate(records)])
    body += b"".join(output.end({"outcome": "completed"}).writes)
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    )
    with anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport)) as client:
        ask = {"model": "x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        with client.messages.create(stream=True, **ask) as stream:
            assert [event.type for event in stream] == [event["type"] for event in EVENTS]
        with client.messages.stream(**ask) as helper:
            message = helper.get_final_message()
    assert (message.content[0].text, message.stop_reason) == ("Hello", "end_turn")


def test_the_official_sdk_raises_for_what_did_not_complete():
    told = {"type": "error", "error": {"type": "overloaded_error", "message": "cut"}}
    records = [json.dumps(event).encode() for event in (*EVENTS[:3], told)]
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(
            200, headers={"content-type": "text/event-stream"}, content=AnthropicEvents().push(records, 0)
        )
    )
    with anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport)) as client:
        ask = {"model": "x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        with client.messages.create(stream=True, **ask) as stream:
            assert [next(stream).type for _ in range(3)] == [event["type"] for event in EVENTS[:3]]
            with pytest.raises(anthropic.APIStatusError, match="cut"):
                next(stream)
