"""What was learned of upstreams is there after a restart, on every journal that outlives the process."""

from __future__ import annotations

import asyncio
import json

import pytest

from everytoken.recovery import Policy
from everytoken.relay.learned import Learned
from everytoken.testing import Answer, ScriptedUpstream, Status
from gateway_serving import HELLO, over, served
from journal_backends import BACKENDS

DURABLE = ["sqlite", "redis", "of the docs"]


@pytest.mark.parametrize("backend", DURABLE)
async def test_it_is_read_again_after_a_restart(tmp_path, backend):
    kind = BACKENDS[backend](tmp_path)
    journal = await kind.open()
    learned = Learned(journal)
    await learned.load()
    learned.of("a", "m").prefill = "continues"
    await learned.save()
    learned.of("a", "m").additions = "refused"
    learned.of("b", "m").has_answered(12.0, 5.0)
    learned.of("c", "m")
    await learned.save()
    await learned.save()
    assert (await journal.open("~learned")).tail == 3, "what has not changed is not stored again"
    await journal.stop()

    journal = await kind.open()
    again = Learned(journal)
    await again.load()
    assert (again.of("a", "m").prefill, again.of("a", "m").additions) == ("continues", "refused")
    assert again.of("b", "m").first_content(30.0) == 36.0
    assert again.of("b", "m").measured == 0.0
    await journal.stop()


async def test_a_journal_in_memory_keeps_nothing(tmp_path):
    journal = await BACKENDS["memory"](tmp_path).open()
    learned = Learned(journal)
    learned.of("a", "m").prefill = "refused"
    await learned.save()
    await Learned(journal).load()
    await journal.stop()


async def test_what_cannot_be_read_is_passed_over(tmp_path, caplog):
    kind = BACKENDS["sqlite"](tmp_path)
    journal = await kind.open()
    learned = Learned(journal)
    learned.of("a", "m").prefill = "refused"
    await learned._append([b"{}", b'["a"]', b'["x","m",{"prefill":"unheard of"}]'])
    await learned.save()
    again = Learned(journal)
    await again.load()
    assert again.of("a", "m").prefill == "refused"
    await journal.stop()
    await again.save()
    again.of("b", "m").prefill = "refused"
    await again.save()
    assert "cannot be stored" in caplog.text


async def test_what_is_stored_stays_short_while_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("everytoken.relay.learned._LONG", 20)
    journal = await BACKENDS["sqlite"](tmp_path).open()
    learned, lengths = Learned(journal), []
    for turn in range(60):
        for model in ("m", "n"):
            learned.of("a", model).prefill = "refused" if turn % 2 else "continues"
        await learned.save()
        lengths.append((await journal.open("~learned")).tail)
    assert max(lengths) <= 20
    again = Learned(journal)
    await again.load()
    assert [again.of("a", model).prefill for model in ("m", "n")] == ["refused", "refused"]
    await journal.stop()


async def test_callers_cannot_make_the_number_of_models_grow(tmp_path):
    learned = Learned(await BACKENDS["memory"](tmp_path).open())
    for number in range(5000):
        learned.of("a", str(number))
    assert len(learned._known) <= 1024


async def test_a_refusal_of_our_additions_is_paid_for_once_also_across_restarts(tmp_path, scripted_upstream):
    answer = Answer("Hello.")

    def picky(request):
        if "seed" in request.json:
            return [Status(400, body=b'{"error":{"message":"unknown field","param":"seed"}}')]
        return None

    script = ScriptedUpstream(answer).script_for
    upstream = await scripted_upstream(lambda request: picky(request) or script(request))
    for calls in (2, 3):
        gateway = over(upstream, journal=f"sqlite:///{tmp_path / 'journal'}", policy=Policy(backoff=0.0))
        async with gateway, served(gateway) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            body = json.dumps({**HELLO, "stream": False}).encode()
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            assert b"Hello." in await reader.read()
            writer.close()
        assert len(upstream.attempts) == calls
