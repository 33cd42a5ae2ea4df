"""Records as OpenAI events, read back by our decoder and by the official SDK's."""

from __future__ import annotations

import json

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everytoken.formats.openai import DONE, KEEP_ALIVE, encode, error
from everytoken.sse import SSEDecoder

# Each case: its name, the records, the offset before them, the bytes.
CASES = [
    ("nothing is nothing", [], 3, b""),
    ("one record", [b'{"a":1}'], 0, b'data: {"a":1}\nid: 0000000000000001\n\n'),
    ("the id is the offset behind the record", [b"{}"], 41, b"data: {}\nid: 0000000000000042\n\n"),
    (
        "several records count on",
        [b"1", b"2"],
        9,
        b"data: 1\nid: 0000000000000010\n\ndata: 2\nid: 0000000000000011\n\n",
    ),
    ("a record with LF has several data lines", [b"{\n}"], 0, b"data: {\ndata: }\nid: 0000000000000001\n\n"),
    ("CR and CRLF end lines too", [b"a\rb\r\nc"], 0, b"data: a\ndata: b\ndata: c\nid: 0000000000000001\n\n"),
    (
        "a record with LF among others",
        [b"1", b"a\nb"],
        0,
        b"data: 1\nid: 0000000000000001\n\ndata: a\ndata: b\nid: 0000000000000002\n\n",
    ),
    (
        "a record with CR among others",
        [b"a\rb", b"2"],
        0,
        b"data: a\ndata: b\nid: 0000000000000001\n\ndata: 2\nid: 0000000000000002\n\n",
    ),
    (
        "U+2028 travels as it came",
        ["\N{LINE SEPARATOR}".encode()],
        0,
        b"data: \xe2\x80\xa8\nid: 0000000000000001\n\n",
    ),
    ("a percent sign is only that", [b"%d %b"], 0, b"data: %d %b\nid: 0000000000000001\n\n"),
]


@pytest.mark.parametrize(("records", "offset", "data"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_encode(records: list[bytes], offset: int, data: bytes):
    assert encode(records, offset) == data


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5), st.integers(0, 10**16 - 10))
def test_what_is_encoded_is_decoded_again(records: list[str], offset: int):
    data = encode([record.encode() for record in records], offset)
    events = SSEDecoder().receive_data(data)
    lines = [record.replace("\r\n", "\n").replace("\r", "\n") for record in records]
    expected = [(line, f"{number:016d}") for number, line in enumerate(lines, offset + 1)]
    assert [(event.data, event.id) for event in events] == expected


@given(st.lists(st.binary(max_size=8), max_size=5), st.integers(0, 99))
def test_the_encoding_does_not_depend_on_what_is_encoded_together(records: list[bytes], offset: int):
    apart = b"".join(encode([record], offset + number) for number, record in enumerate(records))
    assert encode(records, offset) == apart


@pytest.mark.parametrize("offset", [0, 1, 997, 998, 999, 1000, 10**15 - 1])
@pytest.mark.parametrize("count", [2, 3, 999, 1000, 1001, 2001])
def test_ids_go_on_over_every_thousand(offset: int, count: int):
    data = encode([b"x"] * count, offset)
    assert data == b"".join(b"data: x\nid: %016d\n\n" % (offset + number) for number in range(1, count + 1))


def test_an_error_with_an_offset_is_a_record_like_any_other():
    body = {"error": {"message": "a\nb", "type": "t", "param": None, "code": "c"}}
    (event,) = SSEDecoder().receive_data(error(body, 7))
    assert json.loads(event.data) == body
    assert event.id == "0000000000000007"


def test_an_error_without_an_offset_leaves_the_readers_offset():
    decoder = SSEDecoder()
    decoder.receive_data(encode([b"{}"], 0))
    (event,) = decoder.receive_data(error({"error": {"message": "x"}}))
    assert event.id == "0000000000000001"


RECORD = (
    b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}'
)


def read_with_openai(body: bytes) -> list[str | None]:
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    )
    with openai.OpenAI(
        base_url="http://gateway.test/v1", api_key="k", http_client=httpx2.Client(transport=transport)
    ) as client:
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], stream=True
        )
        return [chunk.choices[0].delta.content for chunk in stream]


def test_the_official_client_reads_events_keep_alives_between_them_and_the_end():
    body = encode([RECORD], 0) + KEEP_ALIVE + encode([RECORD, RECORD], 1) + KEEP_ALIVE + DONE
    assert read_with_openai(body) == ["x", "x", "x"]


def test_the_official_client_raises_at_an_error():
    body = (
        encode([RECORD], 0) + KEEP_ALIVE + error({"error": {"message": "boom", "type": "t", "code": "c"}}, 2)
    )
    with pytest.raises(openai.APIError, match="boom"):
        read_with_openai(body)
