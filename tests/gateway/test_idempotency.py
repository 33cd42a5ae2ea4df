"""Requests with one idempotency key are one response."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everytoken.errors import IdempotencyConflictError, InvalidRequestError
from everytoken.gateway.idempotency import attach
from everytoken.journal.memory import MemoryJournal
from everytoken.recovery import Policy
from gateway_serving import FINISH, HELLO, ManualUpstream, limit, serving

TEXT = ["One ", "two ", "three ", "four ", "five"]


async def test_three_requests_with_one_key_are_one_response() -> None:
    upstream = ManualUpstream()
    async with serving(upstream) as served:
        headers = {"Idempotency-Key": "k-1"}
        asking = [
            asyncio.create_task(served.ask("POST", "/v1/chat/completions", HELLO, headers)) for _ in range(3)
        ]
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send(*TEXT)
        attempt.finish()
        answers = await asyncio.gather(*asking)
        assert {answer.body for answer in answers} == {answers[0].body}
        assert answers[0].text == "".join(TEXT)
        assert len({answer.headers["location"] for answer in answers}) == 1
        later = await served.ask("POST", "/v1/chat/completions", HELLO, headers)
        assert later.body == answers[0].body
        assert len(upstream.attempts) == 1
        other = await served.ask("POST", "/v1/chat/completions", {**HELLO, "temperature": 1}, headers)
        assert (other.status, other.error["code"]) == (422, "idempotency-conflict")


async def test_the_key_of_a_request_that_failed_may_be_tried_again() -> None:
    upstream = ManualUpstream()
    async with serving(upstream, policy=Policy(attempts=1)) as served:
        headers = {"Idempotency-Key": "k-2"}
        first = asyncio.create_task(served.ask("POST", "/v1/chat/completions", HELLO, headers))
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.sink.on_eof()
        assert "error" in (await first).body.decode()
        second = asyncio.create_task(served.ask("POST", "/v1/chat/completions", HELLO, headers))
        attempt = await upstream.attempt(1)
        attempt.accept()
        attempt.send(*TEXT)
        attempt.finish()
        assert (await second).text == "".join(TEXT)


async def test_a_whole_answer_attaches_too() -> None:
    upstream = ManualUpstream()
    async with serving(upstream) as served:
        body = {**HELLO, "stream": False}
        asking = [
            asyncio.create_task(served.ask("POST", "/v1/chat/completions", body, {"Idempotency-Key": "w"}))
            for _ in range(2)
        ]
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send(*TEXT)
        attempt.sink.on_data(FINISH)
        answers = await asyncio.gather(*asking)
        assert [answer.json["choices"][0]["message"]["content"] for answer in answers] == ["".join(TEXT)] * 2
        assert len(upstream.attempts) == 1


async def test_a_key_whose_request_was_refused_stands_for_nothing() -> None:
    """A node that stops refuses with a 503; the same request is then begun at once, here or on another node."""
    upstream = ManualUpstream()
    async with limit(), serving(upstream) as served:
        headers = {"Idempotency-Key": "k-3"}
        served.gateway.relays.draining = True
        refused = await served.ask("POST", "/v1/chat/completions", HELLO, headers)
        assert (refused.status, refused.error["code"]) == (503, "overloaded")
        served.gateway.relays.draining = False
        second = asyncio.create_task(served.ask("POST", "/v1/chat/completions", HELLO, headers))
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send(*TEXT)
        attempt.finish()
        assert (await second).text == "".join(TEXT)


@pytest.mark.virtual_time
async def test_a_key_whose_node_died_before_it_began_is_taken_over() -> None:
    journal = MemoryJournal()
    first = await attach(journal, owner="a", key="k", body={})
    second = await attach(journal, owner="a", key="k", body={})
    assert second.log is None
    assert second.stream_id != first.stream_id


@given(st.text(max_size=300), st.text(max_size=20))
def test_any_key_either_attaches_or_is_refused(key: str, owner: str) -> None:
    async def twice() -> None:
        journal = MemoryJournal()
        try:
            first = await attach(journal, owner=owner, key=key, body=HELLO)
        except InvalidRequestError:
            assert not 1 <= len(key) <= 255
            return
        assert first.log is None
        with pytest.raises(IdempotencyConflictError):
            await attach(journal, owner=owner, key=key, body={**HELLO, "n": 1})
        stranger = await attach(journal, owner=f"{owner}x", key=key, body=HELLO)
        assert stranger.stream_id != first.stream_id

    asyncio.run(twice())
