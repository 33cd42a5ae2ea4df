"""Lines of JSON."""

from __future__ import annotations

import json
import logging
import sys

from everytoken.cli.logformat import JsonFormatter


def line_of(message="Hello %s", arguments=("you",), **more):
    record = logging.LogRecord("everytoken.x", logging.WARNING, "f", 1, message, arguments, None)
    record.__dict__.update(more)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_says_when_how_bad_where_and_what():
    line = line_of()
    assert line.pop("time").endswith("Z")
    assert line == {"level": "warning", "logger": "everytoken.x", "message": "Hello you"}


def test_an_entry_lies_open_in_its_line():
    line = line_of(entry={"outcome": "failed", "message": "why", "level": "mine", "at": 1.0})
    assert (line["outcome"], line["message"], line["level"]) == ("failed", "why", "warning")


def test_a_response_and_a_traceback_have_fields():
    try:
        int("no")
    except ValueError:
        line = line_of("two\nlines", (), stream_id="r1", exc_info=sys.exc_info())
    assert (line["response"], line["message"]) == ("r1", "two\nlines")
    assert "ValueError: invalid" in line["exception"]
