"""What is kept of conversations: private, whole, bounded, and nobody's work overwritten."""

from __future__ import annotations

import json

import pytest

from everytoken.cli import kept as module
from everytoken.cli.conversation.history import KeptHistory
from everytoken.cli.kept import Conversation, Kept, Message, conversation_in, title
from everytoken.errors import EverytokenError


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path


def talk(*texts):
    conversation = Conversation.new()
    roles = ("user", "assistant")
    conversation.messages = [Message(role=roles[n % 2], content=text) for n, text in enumerate(texts)]
    title(conversation)
    return conversation


def test_a_conversation_comes_back_as_it_was():
    one = talk("What is\n this?", "That.")
    one.messages[1].outcome = "cancelled"
    Kept(save=True).save(one)
    found = Kept(save=True).latest()
    assert found == one
    assert found.title == "What is this?"


@pytest.mark.parametrize("wanted", ["work", "first ONE", None])
def test_it_is_found_by_name_title_or_the_beginning_of_its_id(wanted):
    kept, one = Kept(save=True), talk("First one")
    one.name = "work"
    kept.save(one)
    kept.save(talk("Another"))
    assert kept.find(wanted or one.id[:-3]).id == one.id
    assert kept.find("nothing") is None


def test_what_another_process_has_written_is_not_overwritten():
    first, second = Kept(save=True), Kept(save=True)
    first.save(one := talk("q"))
    other = second.latest()
    other.messages.append(Message(role="assistant", content="theirs"))
    second.save(other)
    one.messages.append(Message(role="assistant", content="ours"))
    first.save(one)
    texts = {conversation.messages[-1].content for conversation in first.all()}
    assert texts == {"theirs", "ours"}
    assert one.id != other.id


def test_only_the_newest_are_kept(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 3)
    kept = Kept(save=True)
    talks = [talk(f"q{number}") for number in range(5)]
    for one in talks:
        kept.save(one)
    assert sorted(one.title for one in kept.all()) == ["q2", "q3", "q4"]
    monkeypatch.setattr(module, "_MOST_BYTES", 100)
    kept.save(talk("q5"))
    assert [one.title for one in kept.all()] == ["q5"]


def test_nothing_is_written_where_nothing_is_to_be_kept(data):
    Kept(save=False).save(talk("q"))
    KeptHistory(save=False).store_string("q")
    Kept(save=True).save(talk())
    assert list(data.iterdir()) == []


def test_a_damaged_one_is_left_out():
    kept = Kept(save=True)
    kept.save(talk("q"))
    (module.folder() / "20300101-000000-ffffff.json").write_text('{"messages": ')
    assert kept.latest().title == "q"
    assert len(kept.all()) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "is not a conversation"),
        ('{"a": 1}', "it has no messages"),
        ('[{"role": "tool", "content": "x"}]', "has the role 'tool'"),
        ('[{"role": "user"}]', "missing required field `content`"),
    ],
)
def test_what_is_no_conversation_is_refused(text, why, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(EverytokenError, match=r".+") as caught:
        conversation_in(path)
    assert why in caught.value.message


def test_messages_of_the_api_are_a_conversation(tmp_path):
    path = tmp_path / "x.json"
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}]
    path.write_text(json.dumps({"model": "m", "messages": messages}))
    found = conversation_in(path)
    assert (found.system, found.model, found.title) == ("Be brief.", "m", "q")
    assert found.wire() == messages


def test_earlier_questions_are_kept_once_and_not_too_many(monkeypatch):
    monkeypatch.setattr("everytoken.cli.conversation.history._MOST", 3)
    history = KeptHistory(save=True)
    for question in ("a", "b\nc", "a", "d", "e", "x" * 30_000):
        history.store_string(question)
    assert list(KeptHistory(save=True).load_history_strings()) == ["e", "d", "a"]
