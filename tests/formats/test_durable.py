"""Records as data and control events: every text comes back whole, whatever stands in it."""

from __future__ import annotations

import base64
import codecs
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everytoken.errors import InvalidRequestError
from everytoken.formats import durable
from everytoken.sse import SSEDecoder

ENCODINGS = [
    ("application/json", "json"),
    ("Application/JSON; charset=utf-8", "json"),
    ("application/x-ndjson", "base64"),
    ("text/plain", "text"),
    ("TEXT/markdown; charset=UTF-8", "text"),
    ('text/plain; format=flowed; charset="us-ascii"', "text"),
    ("text/plain; charset=utf-16", "base64"),
    ("application/octet-stream", "base64"),
    ("image/png", "base64"),
]


@pytest.mark.parametrize(("content_type", "encoding"), ENCODINGS)
def test_only_utf_8_text_stands_in_events_as_it_is(content_type, encoding):
    assert durable.encoding_of(content_type) == encoding


BODIES = [
    (b"[]", []),
    (b" {} \n", [b"{}"]),
    (b'[{"a": 1},\n [2, 3] , "]," ]', [b'{"a": 1}', b"[2, 3]", b'"],"']),
    (b"[[1],[[2]]]", [b"[1]", b"[[2]]"]),
    (b"1e999", [b"1e999"]),
    ('"\u2028é"'.encode(), ['"\u2028é"'.encode()]),
]


@pytest.mark.parametrize(("body", "messages"), BODIES)
def test_a_body_is_split_by_one_level_and_its_bytes_stay(body, messages):
    assert durable.split_messages(body) == messages


@pytest.mark.parametrize(
    "body", [b"", b"[1,]", b"{'a':1}", b"[1] [2]", b"nul", b"[1", b'"\xff"', b"\xef\xbb\xbf1", b"[" * 100_000]
)
def test_what_is_not_json_is_refused(body):
    with pytest.raises(InvalidRequestError):
        durable.split_messages(body)


def decoded(data: bytes) -> list[tuple[str, str, str]]:
    return [(event.event, event.data, event.id) for event in SSEDecoder().receive_data(data)]


JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@settings(max_examples=30)
@given(st.lists(JSON, min_size=1), st.booleans())
def test_json_comes_back_from_a_data_event(values, indented):
    records = [
        json.dumps(value, ensure_ascii=False, indent=2 if indented else None).encode() for value in values
    ]
    [(event, data, last_id)] = decoded(durable.data_event(records, 7, "json"))
    assert (event, json.loads(data), last_id) == ("data", values, "0000000000000007")


@given(
    st.lists(st.text(alphabet=st.characters(exclude_characters="\r", exclude_categories=["Cs"])), min_size=1)
)
def test_text_comes_back_from_a_data_event(texts):
    [(_, data, _)] = decoded(durable.data_event([text.encode() for text in texts], 1, "text")) or [
        ("", "", "")
    ]
    assert data == "".join(texts)


@given(st.lists(st.binary(), min_size=1))
def test_bytes_come_back_from_a_data_event(records):
    events = decoded(durable.data_event(records, 1, "base64"))
    assert base64.b64decode(events[0][1] if events else "") == b"".join(records)


@pytest.mark.parametrize(
    "text", ["a\r\n\r\nevent: control\r\ndata: {}\r\n\r\nb", "a\r\rid: 9\r\rb", "\n\nevent: x\n"]
)
def test_text_cannot_make_events_of_its_own(text):
    [(event, data, last_id)] = decoded(durable.data_event([text.encode()], 1, "text"))
    assert event == "data"
    assert data == text.replace("\r\n", "\n").replace("\r", "\n")
    assert last_id == "0000000000000001"


CONTROLS = [
    ("behind", {"up_to_date": False, "closed": False}, {"streamCursor": "5"}),
    ("at the tail", {"up_to_date": True, "closed": False}, {"streamCursor": "5", "upToDate": True}),
    ("at the end", {"up_to_date": True, "closed": True}, {"streamClosed": True, "upToDate": True}),
]


@pytest.mark.parametrize(
    ("said", "expected"), [row[1:] for row in CONTROLS], ids=[row[0] for row in CONTROLS]
)
def test_a_control_event_says_where_to_read_on(said, expected):
    [(event, data, last_id)] = decoded(durable.control_event(3, 5, **said))
    assert (event, last_id) == ("control", "0000000000000003")
    assert json.loads(data) == {"streamNextOffset": "0000000000000003", **expected}


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8), st.data())
def test_characters_cut_between_records_are_not_sent_in_halves(text, data):
    """Whatever the cuts: what may be sent at once decodes by itself, and nothing that could be sent is held back."""
    encoded = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(encoded) - 1))))) if len(encoded) > 1 else []
    records = [encoded[a:b] for a, b in zip([0, *cuts], [*cuts, len(encoded)], strict=True) if a < b]
    for count in range(len(records) + 1):
        sent = durable.whole(records[:count])
        b"".join(records[:sent]).decode()
        for more in range(sent + 1, count + 1):
            decoder = codecs.getincrementaldecoder("utf-8")()
            decoder.decode(b"".join(records[:more]))
            assert decoder.getstate()[0]


@pytest.mark.parametrize("end", [b"\xff", b"\x80\x80\x80", b"a\xf8", b"\xe2\x82\xac\xac"])
def test_what_is_not_utf_8_is_not_waited_for(end):
    assert durable.whole([b"x", end]) == 2
