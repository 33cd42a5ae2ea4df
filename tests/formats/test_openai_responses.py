"""The Responses API's events as bytes: the name of each is its type, its offset stands last."""

import json

import pytest

from everytoken.formats.openai_responses import ResponsesEvents
from everytoken.formats.table import FORMATS
from everytoken.sse import SSEDecoder

DELTA = b'{"type":"response.output_text.delta","delta":"Hi"}'


def test_an_event_has_its_type_as_its_name_and_its_offset_last():
    expected = b"event: response.output_text.delta\ndata: %b\nid: 0000000000000008\n\n" % DELTA
    assert ResponsesEvents().push([DELTA], 7) == expected
    assert ResponsesEvents(ids=False).push([DELTA], 7) == expected.replace(b"id: 0000000000000008\n", b"")
    assert FORMATS["responses"]().push([DELTA] * 2, 7) == expected + expected.replace(b"8\n", b"9\n")


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (b'{ "type" : "response.created", "response": {}}', "response.created"),
        (b'{"delta":"\\"type\\":\\"x\\"","type":"response.refusal.delta"}', "response.refusal.delta"),
        (b'{"item":{"type":"message"},"type":"response.output_item.added"}', "response.output_item.added"),
        (b'{"type":"a\\nid: 5"}', "message"),
        (b'{"type":7}', "message"),
        (b'{"type":"error",\n"message":"x"}', "error"),
    ],
)
def test_any_json_gives_the_name_and_nothing_else(record, name):
    (event,) = SSEDecoder().receive_data(ResponsesEvents().push([record], 0))
    assert event.event == name
    assert json.loads(event.data) == json.loads(record)
    assert event.id == "0000000000000001"


def test_there_is_no_end_mark():
    for outcome in ("completed", "interrupted", "failed", "cancelled"):
        ending = ResponsesEvents().end({"outcome": outcome})
        assert (list(ending.writes), ending.last, ending.clean) == ([], b"", True)


def test_a_keep_alive_is_one_comment_line():
    assert ResponsesEvents.keep_alive == b": keep-alive\n"
    assert ResponsesEvents(greets=False).begin() == b""
