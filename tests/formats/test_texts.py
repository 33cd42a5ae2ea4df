"""The text in records of every API."""

from __future__ import annotations

import json

import pytest

import messages_streams
import responses_streams
from chat_wire import chunk_of
from everytoken.formats.texts import text_reader

CHOICE = {"text": "Hi ", "index": 0, "finish_reason": None}
OTHER = {"text": "not this", "index": 1, "finish_reason": None}


def encoded(values):
    return [json.dumps(value).encode() for value in values]


@pytest.mark.parametrize("name", messages_streams.STREAMS)
def test_of_messages_it_is_that_of_all_blocks_of_text(name):
    events = messages_streams.STREAMS[name]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    told = "".join(delta["text"] for delta in deltas if delta["type"] == "text_delta")
    assert text_reader("anthropic-messages")(encoded(events)) == told


@pytest.mark.parametrize("name", responses_streams.STREAMS)
def test_of_responses_it_is_that_of_all_messages_and_of_what_refuses(name):
    events = responses_streams.STREAMS[name]("a")
    parts = [part for item in events[-1]["response"]["output"] for part in item.get("content") or ()]
    told = "".join(part.get("text", part.get("refusal")) for part in parts if "reasoning" not in part["type"])
    assert text_reader("openai-responses")(encoded(events)) == told


def test_a_block_may_begin_with_text():
    begin = messages_streams.begin(0, "text", text="Hel")
    assert text_reader("anthropic-messages")(encoded([begin, *messages_streams.texts(0, "lo")])) == "Hello"


def test_of_completions_it_is_that_of_the_first_choice():
    chunks = [{"choices": [OTHER, CHOICE]}, {"choices": []}, {"choices": [{**CHOICE, "text": "there"}]}]
    assert text_reader("openai-completions")(encoded(chunks)) == "Hi there"


@pytest.mark.parametrize("dialect", [None, "openai-chat", "of-another-package"])
def test_others_are_read_as_chat_completions(dialect):
    assert text_reader(dialect)(encoded([chunk_of({"content": "Hi"}), chunk_of({"refusal": "!"})])) == "Hi!"


@pytest.mark.parametrize("dialect", ["anthropic-messages", "openai-responses", "openai-completions"])
@pytest.mark.parametrize("odd", [{}, [], None, 7, {"type": 7}, {"type": "content_block_delta", "delta": "x"}])
def test_what_says_nothing_has_no_text(dialect, odd):
    assert text_reader(dialect)(encoded([odd])) == ""
