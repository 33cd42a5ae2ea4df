"""What a response leaves behind when it has ended: its records, and nothing that waits for the garbage collector."""

import asyncio
import gc
import weakref
from collections import Counter

import pytest

from everytoken.journal.memory import MemoryJournal
from everytoken.journal.sqlite import SqliteJournal
from gateway_serving import HELLO, limit, serving

RESPONSES = 20


@pytest.fixture
def without_collector():
    gc.collect()
    gc.freeze()  # what earlier tests keep is not looked through again
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.fixture(params=["memory", "sqlite"])
def journal(request, tmp_path):
    return MemoryJournal() if request.param == "memory" else SqliteJournal(tmp_path / "journal.sqlite")


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "not streamed"])
async def test_what_a_response_was_made_with_goes_when_it_ends(
    journal, stream, scripted_upstream, monkeypatch
):
    seen = []
    upstream = await scripted_upstream("Good day")
    async with serving(upstream, kept_in=journal) as gateway:
        begin = gateway.gateway.relays.begin

        async def watched(*arguments, **options):
            relay = await begin(*arguments, **options)
            seen.append(weakref.ref(relay))
            return relay

        monkeypatch.setattr(gateway.gateway.relays, "begin", watched)
        for _ in range(RESPONSES):
            answer = await gateway.ask("POST", "/v1/chat/completions", {**HELLO, "stream": stream})
            assert answer.status == 200
        async with limit():
            while any(relay() is not None for relay in seen):  # noqa: ASYNC110  # within some turns of the loop
                await asyncio.sleep(0)
    assert len(seen) == RESPONSES


@pytest.mark.usefixtures("without_collector")
async def test_nothing_of_ours_waits_for_the_garbage_collector(journal, scripted_upstream):
    upstream = await scripted_upstream("Good day")
    async with serving(upstream, kept_in=journal) as gateway:

        async def ask():
            answer = await gateway.ask("POST", "/v1/chat/completions", {**HELLO, "stream": True})
            assert answer.body.endswith(b"data: [DONE]\n\n")

        await ask()
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(RESPONSES):
                await ask()
            gc.collect()
            kinds = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
    # The upstream of the test has circles of its own. One of ours would be there once for each response.
    ours = [kind for kind in kinds if kind.startswith("everytoken.") and ".testing." not in kind]
    assert [kind for kind in ours if kinds[kind] >= RESPONSES] == []
