"""`everytoken conversations`: the list, and removing from it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from everytoken.cli import commands
from everytoken.cli.kept import Conversation, Kept, Message, title
from everytoken.errors import EverytokenError


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def listed(*arguments):
    done = CliRunner().invoke(commands, ["conversations", *arguments])
    if done.exception is not None:
        raise done.exception
    return done.stdout.splitlines()


def test_the_list():
    assert listed() == ["There are no conversations yet."]
    for text in ("one", "two"):
        conversation = Conversation.new()
        conversation.name = "work" if text == "one" else ""
        conversation.messages = [Message(role="user", content=text)]
        title(conversation)
        Kept(save=True).save(conversation)
    head, newest, oldest = listed()
    assert head.split() == ["ID", "UPDATED", "NAME", "TITLE"]
    assert (newest.split()[-1], oldest.split()[-2:]) == ("two", ["work", "one"])
    [one] = map(json.loads, listed("--json", "--limit", "1"))
    assert [message["content"] for message in one["messages"]] == ["two"]
    assert "“one”" in listed("--remove", "work")[0]
    with pytest.raises(EverytokenError, match="there is no conversation work"):
        listed("--remove", "work")
    assert len(listed()) == 2
