"""Keys in the journal: made, looked up, revoked and rotated, on every backend, by several nodes, over restarts."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tests.journal_backends import BACKENDS, until

from everytoken.errors import (
    AuthenticationError,
    InvalidRequestError,
    JournalFullError,
    JournalUnavailableError,
    KeyNotFoundError,
    NotAllowedError,
)
from everytoken.gateway import Config
from everytoken.gateway.keys import KeyBook
from everytoken.journal import Append
from gateway_serving import limit

LASTING = ["sqlite", "redis", "of the docs"]


class Clock:
    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


def asking(secret: str, header: bytes = b"authorization") -> Any:
    """Return a request with a secret in a header."""
    value = f"Bearer {secret}" if header == b"authorization" else secret
    return SimpleNamespace(header=lambda name: value if name == header else None)


@asynccontextmanager
async def book_in(journal: Any, clock: Clock, **settings: Any):
    stopped: list[str] = []
    book = KeyBook(Config(**settings), journal, stopped.append, clock)
    await book.start()
    try:
        yield book, stopped
    finally:
        await book.stop()


@pytest.fixture(params=["memory", *LASTING])
async def book(request, tmp_path):
    journal = await BACKENDS[request.param](tmp_path).open()
    clock = Clock()
    async with limit(), book_in(journal, clock) as (opened, stopped):
        opened.clock, opened.stopped = clock, stopped  # type: ignore[attr-defined]
        yield opened
    await journal.stop()


async def test_nobody_needs_a_key_until_there_is_one_for_callers(book):
    assert book.of(asking("anything")) is None
    await book.create({"name": "boss", "admin": True})
    assert book.of(asking("anything")) is None
    key, secret = await book.create({"name": "ci"})
    with pytest.raises(AuthenticationError, match="is needed"):
        book.of(asking(""))
    with pytest.raises(AuthenticationError, match="unknown") as caught:
        book.of(asking("anything"))
    assert caught.value.guessed
    assert book.of(asking(secret)) == key
    await book.revoke("ci")
    with pytest.raises(AuthenticationError):
        book.of(asking("anything"))  # it does not become open again


@pytest.mark.parametrize("header", [b"authorization", b"api-key", b"x-api-key"])
async def test_a_key_is_known_in_every_header_that_clients_use(header, tmp_path):
    journal = await BACKENDS["memory"](tmp_path).open()
    async with book_in(journal, Clock()) as (book, _):
        key, secret = await book.create({"name": "ci"})
        assert book.of(asking(secret, header)) == key


async def test_a_revoked_key_is_refused_for_good_and_says_so(book):
    key, secret = await book.create({"name": "ci"})
    await book.revoke(key.id)
    with pytest.raises(AuthenticationError, match="'ci' was revoked") as caught:
        book.of(asking(secret))
    assert not caught.value.guessed  # whoever has it need not be slowed down
    assert book.stopped == []
    await book.revoke("ci", stop=True)
    await book.revoke("ci", stop=True)
    assert book.stopped == [key.id]
    with pytest.raises(InvalidRequestError, match="is revoked"):
        await book.rotate("ci", 0)


async def test_an_expired_key_is_refused(book):
    _, secret = await book.create({"name": "ci", "expires": book.clock.at + 60})
    assert book.of(asking(secret)).state(book.clock.at) == "active"
    book.clock.at += 60
    with pytest.raises(AuthenticationError, match="'ci' has expired"):
        book.of(asking(secret))


async def test_a_rotated_key_stays_the_same_key_and_its_old_secret_counts_for_a_while(book):
    key, old = await book.create({"name": "ci"})
    _, new = await book.rotate("ci", 60.0)
    assert old != new
    assert book.of(asking(old)).id == book.of(asking(new)).id == key.id
    book.clock.at += 60
    with pytest.raises(AuthenticationError, match="unknown"):
        book.of(asking(old))
    _, newest = await book.rotate("ci", 0)
    with pytest.raises(AuthenticationError):
        book.of(asking(new))
    assert book.of(asking(newest)).id == key.id


async def test_a_key_can_be_revoked_however_many_changes_there_have_been(book, monkeypatch):
    monkeypatch.setattr("everytoken.gateway.keys.stored._MOST", 2)
    _, secret = await book.create({"name": "a"})
    await book.create({"name": "b"})
    for change in (book.create({"name": "c"}), book.rotate("a", 0), book.limit("a", None)):
        with pytest.raises(JournalFullError, match="only be revoked"):
            await change
    await book.revoke("a")
    await book.revoke("b", stop=True)
    with pytest.raises(AuthenticationError, match="revoked"):
        book.of(asking(secret))


async def test_the_keys_of_the_configuration_count_beside_those_of_the_journal(tmp_path):
    journal = await BACKENDS["memory"](tmp_path).open()
    settings = {"api_keys": ["sk-configured-ü"], "admin_keys": ["sk-boss-12345678"]}
    async with book_in(journal, Clock(), **settings) as (book, _):
        sent = "sk-configured-ü".encode().decode("latin-1")  # as a header brings it
        assert book.of(asking(sent)).name == "api_keys 1"
        assert book.of(asking("sk-boss-12345678")).admin
        assert book.administrator(asking("sk-boss-12345678")).name == "admin_keys 1"
        with pytest.raises(AuthenticationError, match="'api_keys 1' is not an admin key"):
            book.administrator(asking(sent))
        with pytest.raises(InvalidRequestError, match="configuration"):
            await book.revoke("api_keys 1")
        book.change(Config())
        assert book.of(asking(sent)) is None


async def test_the_secret_is_kept_nowhere(book):
    key, secret = await book.create({"name": "ci", "labels": {"team": "a"}})
    await book.rotate("ci", 60)
    assert secret not in repr(book.all())
    assert secret not in repr(msgspec.to_builtins(key))
    (shown,) = book.all()
    assert shown["hint"].startswith("sk-et-")
    assert len(shown["hint"]) == 13
    assert not any("digest" in name for name in shown)


async def test_what_is_stored_is_there_after_a_restart(tmp_path):
    for kind in LASTING:
        place = tmp_path / kind.replace(" ", "-")
        place.mkdir()
        backend, clock = BACKENDS[kind](place), Clock()
        journal = await backend.open()
        async with book_in(journal, clock) as (book, _):
            kept, secret = await book.create({"name": "kept", "models": ["a"], "labels": {"x": "y"}})
            _, revoked = await book.create({"name": "gone"})
            await book.revoke("gone", stop=True)
        await journal.stop()
        journal = await backend.open()
        async with book_in(journal, clock) as (book, stopped):
            assert book.of(asking(secret)) == kept
            with pytest.raises(AuthenticationError, match="revoked"):
                book.of(asking(revoked))
            assert stopped == [book.named("gone").id]  # of what a dead node has left
        await journal.stop()


async def test_every_node_knows_of_a_change_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("everytoken.gateway.keys.stored._AGAIN", 0.01)
    backend, clock = BACKENDS["redis"](tmp_path), Clock()
    one, other = await backend.open(), await backend.open()
    async with limit(), book_in(one, clock) as (here, _), book_in(other, clock) as (there, stopped):
        key, secret = await here.create({"name": "ci"})
        await until(lambda: there.required)
        assert there.of(asking(secret)) == key
        await here.revoke("ci", stop=True)
        await until(lambda: stopped)
        with pytest.raises(AuthenticationError, match="revoked"):
            there.of(asking(secret))
        await there.create({"name": "other"})
        await until(lambda: len(here.all()) == 2)
    await one.stop()
    await other.stop()


async def test_many_changes_are_read_in_pieces(tmp_path):
    backend = BACKENDS["sqlite"](tmp_path)
    journal = await backend.open()
    async with limit(), book_in(journal, Clock()) as (book, _):
        for number in range(50):
            await book.create({"name": f"k{number}", "labels": {"x": "y" * 200}})
    await journal.stop()
    journal = await backend.open()
    async with limit(), book_in(journal, Clock()) as (book, _):
        assert len(book.all()) == 50
    await journal.stop()


async def test_a_journal_that_fails_lets_nobody_in_by_half_a_list(tmp_path):
    journal = await BACKENDS["memory"](tmp_path).open()

    async def fails(*_: Any, **__: Any) -> None:
        raise JournalUnavailableError("no")

    journal.open = fails  # type: ignore[method-assign]
    book = KeyBook(Config(), journal)
    with pytest.raises(JournalUnavailableError):
        await book.start()
    await book.stop()


async def test_a_record_of_a_later_version_hides_no_other(tmp_path, caplog):
    journal = await BACKENDS["memory"](tmp_path).open()
    async with limit(), book_in(journal, Clock()) as (book, _):
        await book.create({"name": "one"})
        await journal.submit("~keys", Append(records=[b'{"id": 5}', b"nonsense"]))
        await book.create({"name": "two"})
        assert [key["name"] for key in book.all()] == ["one", "two"]
    assert "cannot be read" in caplog.text


async def test_it_goes_on_when_the_journal_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr("everytoken.gateway.keys.stored._AGAIN", 0.0)
    journal = await BACKENDS["memory"](tmp_path).open()
    async with limit(), book_in(journal, Clock()) as (book, _):
        await book.create({"name": "one"})
        await journal.delete("~keys")  # whatever has happened to it
        await asyncio.sleep(0)
        await book.create({"name": "two"})
        assert [key["name"] for key in book.all()] == ["one", "two"], "what is known here stays"


BAD = {
    "no name": {},
    "an empty name": {"name": ""},
    "a name that would garble a list": {"name": "a\nb"},
    "a long name": {"name": "a" * 65},
    "no text as a name": {"name": 5},
    "something unknown": {"name": "a", "limit": 5},
    "models that are no list": {"name": "a", "models": "gpt"},
    "models that are no texts": {"name": "a", "models": [1]},
    "too many models": {"name": "a", "models": ["m"] * 101},
    "an unknown API": {"name": "a", "apis": ["chats"]},
    "a time that has passed": {"name": "a", "expires": 1},
    "a time in milliseconds": {"name": "a", "expires": 1_800_000_100_000},
    "a truth for a time": {"name": "a", "expires": True},
    "labels that are no texts": {"name": "a", "labels": {"a": 1}},
    "labels that are a list": {"name": "a", "labels": ["a"]},
    "an admin that is none": {"name": "a", "admin": "yes"},
}


@pytest.mark.parametrize("value", BAD.values(), ids=BAD.keys())
async def test_a_key_that_makes_no_sense_is_refused(value, tmp_path):
    journal = await BACKENDS["memory"](tmp_path).open()
    async with book_in(journal, Clock()) as (book, _):
        with pytest.raises(InvalidRequestError):
            await book.create(value)
        assert book.all() == []


async def test_two_active_keys_do_not_have_the_same_name(book):
    await book.create({"name": "ci"})
    with pytest.raises(InvalidRequestError, match="already"):
        await book.create({"name": "ci"})
    await book.revoke("ci")
    await book.create({"name": "ci"})
    assert book.named("ci").revoked is None, "the newest is meant"
    with pytest.raises(KeyNotFoundError):
        book.named("other")


@pytest.mark.parametrize("overlap", [-1.0, 31 * 86_400.0, float("nan")])
async def test_an_overlap_has_limits(overlap, tmp_path):
    journal = await BACKENDS["memory"](tmp_path).open()
    async with book_in(journal, Clock()) as (book, _):
        await book.create({"name": "ci"})
        with pytest.raises(InvalidRequestError):
            await book.rotate("ci", overlap)


@pytest.mark.parametrize(
    ("models", "model", "allowed"),
    [
        ([], "anything", True),
        (["gpt-5"], "gpt-5", True),
        (["gpt-5"], "gpt-5-mini", False),
        (["gpt-*"], "gpt-5-mini", True),
        (["gpt-*"], "claude", False),
        (["a", "b*"], "bc", True),
        (["*"], "", True),
    ],
)
async def test_a_key_is_for_some_models(models, model, allowed, tmp_path):
    journal = await BACKENDS["memory"](tmp_path).open()
    async with book_in(journal, Clock()) as (book, _):
        key, _ = await book.create({"name": "ci", "models": models})
        assert key.allows(model) is allowed
        if not allowed:
            with pytest.raises(NotAllowedError, match="is not for the model"):
                key.check_model(model)
