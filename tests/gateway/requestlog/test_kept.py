"""Entries in the journal: added, found, shared by nodes, and gone with their time."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest
from tests.journal_backends import BACKENDS

from everytoken.errors import InvalidRequestError, JournalUnavailableError
from everytoken.gateway.requestlog import kept as kept_module
from everytoken.gateway.requestlog.kept import HOUR, Kept, room_in, stream_of
from everytoken.gateway.requestlog.query import Query, query_from
from gateway_serving import limit
from made_entries import made

pytestmark = pytest.mark.virtual_time

DAY = 86_400.0
AT = 1_900_000_000.0  # in the middle of an hour


class Clock:
    def __init__(self):
        self.at = AT

    def __call__(self):
        return self.at


def entry(at, **more):
    return {
        "at": at,
        "response": f"r{at}",
        "request": "q",
        "key": "ci",
        "outcome": "completed",
        "model": "m",
        **more,
    }


@pytest.fixture(params=["memory", "sqlite", "of the docs"])
async def journal(request, tmp_path):
    opened = await BACKENDS[request.param](tmp_path).open()
    async with limit():
        yield opened
    await opened.stop()


async def test_there_is_room_for_so_many_and_the_oldest_hours_go(journal):
    clock = Clock()
    kept = Kept(journal, DAY, clock, most=25)
    for hour in range(5):
        for number in range(10):
            clock.at += 1
            kept.add(entry(clock.at, hour=hour, number=number))
            await kept.flush()
        clock.at += HOUR
    found = await kept.find(Query(limit=1000))
    assert [one["hour"] for one in found] == [4] * 10 + [3] * 10
    clock.at += HOUR
    kept.add(entry(clock.at, hour=5, number=0))
    assert [one["hour"] for one in await kept.find(Query(limit=1000))] == [5] + [4] * 10 + [3] * 10
    await kept.stop()


async def test_an_hour_with_more_than_there_is_room_for_starts_over(journal):
    clock = Clock()
    kept = Kept(journal, DAY, clock, most=40)
    lengths = []
    for number in range(200):
        kept.add(entry(clock.at, number=number))
        found = await kept.find(Query(limit=1000))
        assert found[0]["number"] == number
        lengths.append(await kept.length(int(clock.at // HOUR)))
    assert 30 < max(lengths) <= 40 + 40 // 8 + 1
    assert 1 in lengths[1:]
    await kept.stop()


def test_the_room_is_a_quarter_of_the_journal():
    average = sum(len(msgspec.json.encode(one)) for one in made(500, AT, DAY)) / 500
    assert 0.2 < room_in(2 * 1024**3) * average / (2 * 1024**3) < 0.3
    assert room_in(1) == 1000


async def test_what_was_added_is_found_the_newest_first(journal):
    clock = Clock()
    kept = Kept(journal, DAY, clock)
    for number in range(5):
        kept.add(entry(AT + number))
    clock.at += 10
    assert [found["at"] for found in await kept.find(Query())] == [AT + 4, AT + 3, AT + 2, AT + 1, AT]
    assert [found["at"] for found in await kept.find(Query(limit=2))] == [AT + 4, AT + 3]
    assert [found["at"] for found in await kept.find(Query(since=AT + 1, until=AT + 2))] == [AT + 2, AT + 1]
    await kept.stop()


@pytest.mark.parametrize("wanted", [1, 3, 4, 7, 10])
async def test_an_hour_is_looked_through_from_its_end(journal, monkeypatch, wanted):
    monkeypatch.setattr("everytoken.gateway.requestlog.kept._LOOK", 3)
    kept = Kept(journal, DAY, Clock())
    for number in range(7):
        kept.add(entry(AT + number))
    read, looked = [], kept_module._read

    async def reading(log, offset, end):
        read.append((offset, end))
        async for some in looked(log, offset, end):
            yield some

    monkeypatch.setattr(kept_module, "_read", reading)
    assert [found["at"] - AT for found in await kept.find(Query(limit=wanted))] == [6, 5, 4, 3, 2, 1, 0][
        :wanted
    ]
    assert read == [(4, 7), (1, 4), (0, 1)][: -(-min(wanted, 7) // 3)]


async def test_entries_of_many_hours_are_found_and_those_between_are_no_trouble(journal):
    clock = Clock()
    kept = Kept(journal, DAY, clock)
    for hours in (0, 1, 5, 12):
        clock.at = AT + 3600 * hours
        kept.add(entry(clock.at, hours=hours))
        await kept.flush()
    assert [found["hours"] for found in await kept.find(Query())] == [12, 5, 1, 0]
    assert [found["hours"] for found in await kept.find(Query(since=AT + 1))] == [12, 5, 1]
    clock.at = AT + DAY + 3600 * 10
    assert [found["hours"] for found in await kept.find(Query())] == [12], "the rest is older than is kept"


async def test_a_response_that_took_hours_is_found_by_when_it_began(journal):
    clock = Clock()
    kept = Kept(journal, DAY, clock)
    clock.at += 2 * 3600
    kept.add(entry(AT))
    assert len(await kept.find(Query(since=AT - 1, until=AT + 1))) == 1


async def test_an_hour_goes_when_its_time_is_over(journal):
    clock = Clock()
    kept = Kept(journal, DAY, clock)
    kept.add(entry(AT))
    await kept.flush()
    log = await journal.open(stream_of(int(AT // 3600)))
    assert log.info.expires == (AT // 3600 + 1) * 3600 + DAY
    assert log.info.shared


async def test_entries_are_stored_a_few_at_a_time(journal):
    kept = Kept(journal, DAY, Clock())
    stored = []
    submit, create = journal.submit, journal.create

    async def submitting(name, append):
        result = await submit(name, append)
        stored.append(len(append.records))
        return result

    async def creating(info, records=(), **more):
        stored.append(len(records))
        return await create(info, records, **more)

    journal.submit, journal.create = submitting, creating
    for _ in range(3):
        for number in range(100):
            kept.add(entry(AT + number))
        await asyncio.sleep(1)
    assert stored == [100, 100, 100]


async def test_a_journal_that_fails_costs_entries_and_nothing_else(journal, caplog):
    kept = Kept(journal, DAY, Clock())
    submit = journal.submit

    async def failing(*_):
        raise JournalUnavailableError("no")

    journal.submit = failing
    kept.add(entry(AT))
    await asyncio.sleep(1)
    assert "1 entries of the request log could not be stored" in caplog.text
    journal.submit = submit
    kept.add(entry(AT + 1))
    assert [found["at"] for found in await kept.find(Query())] == [AT + 1]


async def test_what_waits_has_a_limit(journal, monkeypatch):
    monkeypatch.setattr("everytoken.gateway.requestlog.kept._MOST", 3)
    kept = Kept(journal, DAY, Clock())
    for number in range(5):
        kept.add(entry(AT + number))
    assert [found["at"] for found in await kept.find(Query())] == [AT + 4, AT + 3, AT + 2]


async def test_a_bug_is_logged_and_the_next_entries_are_kept(journal, caplog):
    kept = Kept(journal, DAY, Clock())
    append = kept._append
    kept._append = None
    with caplog.at_level(logging.ERROR):
        kept.add(entry(AT))
        await asyncio.sleep(1)
    assert "could not be stored" in caplog.text
    kept._append = append
    kept.add(entry(AT + 1))
    assert len(await kept.find(Query())) == 1


WANTED = {
    "outcome": ({"outcome": "failed"}, {"outcome": "failed"}),
    "key": ({"key": "other"}, {"key": "other"}),
    "model asked for": ({"model": "gpt"}, {"model": "gpt"}),
    "model that answered": ({"model_used": "gpt"}, {"model": "gpt"}),
    "upstream": ({"upstreams": ["a", "b"]}, {"upstream": "b"}),
    "error": ({"error": "rate-limited"}, {"error": "rate-limited"}),
    "a name with a quote": ({"key": 'a"b'}, {"key": 'a"b'}),
    "a name beyond ASCII": ({"key": "tëam"}, {"key": "tëam"}),
    "several": ({"key": "x", "outcome": "failed"}, {"key": "x", "outcome": "failed"}),
}


@pytest.mark.parametrize(("more", "wanted"), WANTED.values(), ids=WANTED.keys())
async def test_entries_are_chosen_by_what_is_in_them(journal, more, wanted):
    kept = Kept(journal, DAY, Clock())
    for other in (entry(AT), entry(AT + 1, **more), entry(AT + 2, message=str(wanted))):
        kept.add(other)
    assert [found["at"] for found in await kept.find(Query(wanted=wanted))] == [AT + 1]


async def test_a_text_is_looked_for_anywhere(journal):
    kept = Kept(journal, DAY, Clock())
    kept.add(entry(AT, message="The upstream Closed the connection"))
    kept.add(entry(AT + 1))
    assert [found["at"] for found in await kept.find(Query(text="closed THE"))] == [AT]


def test_a_query_is_read_from_a_url():
    query = query_from({"since": "-60", "until": "50", "key": "ci", "limit": "5", "text": "x"}, now=1000.0)
    assert query == Query(since=940.0, until=50.0, wanted={"key": "ci"}, text="x", limit=5)
    assert query_from({}, now=1000.0).until > 1000


@pytest.mark.parametrize(
    ("parameters", "wrong"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"since": "nan"}, "since"),
        ({"until": "1e99"}, "until"),
        ({"keys": "ci"}, "keys"),
        ({"text": "x" * 201}, "text"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(parameters, wrong):
    with pytest.raises(InvalidRequestError) as caught:
        query_from(parameters, now=0.0)
    assert caught.value.param == wrong
