"""Which response of a chat is the active one, for whom, and in which process."""

from __future__ import annotations

import asyncio

import pytest

from everytoken.gateway import Gateway
from everytoken.gateway.chats import Turn
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.sqlite import SqliteJournal
from gateway_serving import ManualUpstream, Served, Wire, over, served, serving
from ui_chats import begun, body, chat, chunks, text_of, until, until_left


async def test_the_newest_response_of_a_chat_is_the_active_one():
    upstream = ManualUpstream()
    async with (
        serving(upstream) as gateway,
        Wire.to(gateway.port) as wire,
        Wire.to(gateway.port) as next_wire,
    ):
        first, head = await begun(upstream, wire)
        first.send("First")
        second, _ = await begun(upstream, next_wire, number=1)
        second.send("Second")
        first.finish()
        assert text_of(chunks(await wire.rest(head))) == "First"
        async with Wire.to(gateway.port) as tab:
            tab.send("GET", "/api/chat/c1/stream")
            head = await tab.head()
            await gateway.ask("POST", "/api/chat/c1/stop")
            assert text_of(chunks(await tab.rest(head))) == "Second"


async def test_a_key_may_have_more_chats_than_streams():
    """A web application has one key, and a chat for each of its visitors."""
    upstream = ManualUpstream()
    async with serving(upstream, max_key_streams=2) as gateway:
        for number in range(5):
            async with Wire.to(gateway.port) as wire:
                attempt, head = await begun(upstream, wire, body(chat=f"c{number}"), number)
                attempt.send("Hello")
                attempt.finish()
                assert text_of(chunks(await wire.rest(head))) == "Hello"


async def test_no_caller_reaches_a_chats_own_stream():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        await begun(upstream, wire)
        [name] = [name for name in gateway.gateway.journal._streams if name.startswith("~chat.")]
        assert (await gateway.ask("GET", f"/v1/stream/{name}?offset=-1")).status in {400, 404}


@pytest.mark.blocking_allowed("opening the journal's file")
async def test_another_process_knows_the_chats(tmp_path):
    upstream = ManualUpstream()
    path = tmp_path / "j.db"

    def gateway():
        made = over(upstream)
        return Gateway(made.config, made.upstreams, SqliteJournal(path))

    async with gateway() as first, served(first) as port:
        async with Wire.to(port) as wire:
            attempt, _ = await begun(upstream, wire)
            attempt.send("Hello world")
            await until(wire, "world")
        await until_left(*first.relays._relays.values())
        attempt.finish()
        await Served(first, port).until_idle()
    async with gateway() as second, served(second) as port:
        answer = await Served(second, port).ask("GET", "/api/chat/c1/stream")
    assert text_of(chunks(answer)) == "Hello world"


async def test_turns_begun_at_once_are_all_kept():
    journal = MemoryJournal()
    await asyncio.gather(*(chat(journal).begin(Turn(str(number), "m")) for number in range(5)))
    [stream] = journal._streams.values()
    assert stream.tail == 5
    assert (await chat(journal).current()).stream in set("01234")


async def test_an_end_that_is_noted_late_hides_no_newer_turn():
    journal = MemoryJournal()
    await chat(journal).begin(Turn("one", "m"))
    await chat(journal).begin(Turn("two", "m"))
    await chat(journal).delivered("one")
    await chat(journal)._append(Turn("one", seen=True))  # it looked before the newer one came
    assert (await chat(journal).current()).stream == "two"
    await chat(journal).delivered("two")
    assert await chat(journal).current() is None


async def test_chats_of_others_have_the_same_id_and_nothing_else_in_common():
    journal = MemoryJournal()
    await chat(journal, "one").begin(Turn("s", "m"))
    assert await chat(journal, "two").current() is None
    assert await chat(journal).current() is None
