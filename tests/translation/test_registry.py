"""Which APIs are translated into which, and what a translation does with a request and a stream."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from everytoken.dialects.registry import dialect_named
from everytoken.errors import InvalidRequestError, MalformedEventError, TruncatedError
from everytoken.translation.registry import DIALECTS, translation
from everytoken.translation.stream import StreamBrokenError

BODIES = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True},
    "messages": {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
    },
    "responses": {"model": "m", "input": "Hi", "stream": True},
}


def asked(api: str, **more):
    return dialect_named(DIALECTS[api]).request({**BODIES[api], **more})


@pytest.mark.parametrize(("caller", "upstream"), list(itertools.permutations(DIALECTS, 2)))
def test_each_api_is_translated_into_each_other(caller, upstream):
    found = translation(DIALECTS[caller], DIALECTS[upstream])
    request = found.request(asked(caller))
    assert (found.dialect.name, request.dialect) == (DIALECTS[upstream], DIALECTS[upstream])
    assert (request.model, request.stream) == ("m", True)
    assert found.request(asked(caller, stream=False)).stream is False


@pytest.mark.parametrize(
    ("caller", "upstream"), [("openai-chat", "openai-chat"), ("openai-chat", "toy"), ("toy", "openai-chat")]
)
def test_nothing_else_is(caller, upstream):
    assert translation(caller, upstream) is None


def test_what_is_ours_in_a_stored_request_is_not_translated():
    ours = asked("responses", everytoken={"background": True})
    assert "everytoken" not in translation(DIALECTS["responses"], DIALECTS["chat"]).request(ours).body


def test_a_request_that_cannot_be_said_names_the_callers_field():
    with pytest.raises(InvalidRequestError) as refused:
        translation(DIALECTS["chat"], DIALECTS["messages"]).request(asked("chat", n=2))
    assert refused.value.param == "n"


def test_what_came_before_an_event_that_cannot_be_read_is_kept():
    stream = translation(DIALECTS["messages"], DIALECTS["chat"]).stream(asked("messages"))
    good = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    with pytest.raises(StreamBrokenError) as broken:
        stream.receive_data(good + b"data: {\n\n" + good)
    assert [event.event for event in broken.value.events][-1] == "content_block_delta"
    assert isinstance(broken.value.cause, MalformedEventError)
    with pytest.raises(TruncatedError):
        stream.receive_eof()


def test_a_client_that_never_translates_does_not_wait_for_it():
    code = "import sys, everytoken; sys.exit(any('read_events' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
