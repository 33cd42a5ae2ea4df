"""What `/v1/responses/{id}` does with a response whose upstream speaks another API: OpenAI's SDK sees no difference."""

from __future__ import annotations

import json

import openai
import pytest

from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.testing import Answer, ScriptedUpstream, ToolCall
from gateway_serving import limit, serving
from journal_backends import until

QUESTION = {"model": "m", "input": "Hello"}
CALL = ToolCall("weather", '{"city":"Zürich"}', "call_1")
ANSWER = Answer("Let me look.", tool_calls=(CALL,))
SLOW = Answer(delay=0.05)
OTHER_APIS = ["chat", "messages"]

pytestmark = pytest.mark.parametrize("api", OTHER_APIS)


class Served:
    """A gateway over one upstream of another API, and the SDK at it."""

    def __init__(self, api, answer=ANSWER, faults=(), **settings):
        self.upstream = ScriptedUpstream(answer, apis=[api], faults=faults)
        self._api = api
        self._settings = settings

    async def __aenter__(self):
        await self.upstream.__aenter__()
        config = UpstreamConfig(name="a", url=self.upstream.base_url, api=self._api)
        self._serving = serving(config, policy=Policy(backoff=0.0), **self._settings)
        self.gateway = await self._serving.__aenter__()
        base_url = f"{self.gateway.url}/v1"
        self.client = openai.AsyncOpenAI(base_url=base_url, api_key="sk-caller", max_retries=0)
        return self

    async def __aexit__(self, *error):
        await self.client.close()
        await self._serving.__aexit__(*error)
        await self.upstream.__aexit__(*error)

    async def in_the_background(self):
        """Return a response that has begun and does not end before the test does."""
        response = await self.client.responses.create(**QUESTION, background=True)
        log = self.gateway.gateway.relays.get(response.id.removeprefix("resp_")).log
        await until(lambda: log.tail > 6)
        return response


def calls_in(response):
    return [(item.name, item.arguments) for item in response.output if item.type == "function_call"]


@pytest.mark.parametrize("faults", [(), [(0, "close", "middle")]], ids=["healthy", "cut"])
async def test_it_is_kept_whole_and_its_stream_can_be_resumed_at_every_number(api, faults):
    async with Served(api, faults=faults) as served, limit():
        client = served.client
        made = await client.responses.create(**QUESTION, stream=True)
        events = [event async for event in made]
        whole = events[-1].response
        kept = await client.responses.retrieve(whole.id)
        assert (kept.status, kept.output_text, calls_in(kept)) == (
            "completed",
            ANSWER.text,
            [(CALL.name, CALL.arguments)],
        )
        assert (kept.usage, kept.output) == (whole.usage, whole.output)
        for number in range(-1, len(events)):
            again = await client.responses.retrieve(whole.id, stream=True, starting_after=number)
            assert [event async for event in again] == events[number + 1 :]
        async with client.responses.stream(response_id=whole.id, starting_after=3) as helped:
            assert [event.sequence_number async for event in helped] == list(range(4, len(events)))
            assert (await helped.get_final_response()).output_text == ANSWER.text
    assert len(served.upstream.attempts) == 1 + len(faults)


async def test_not_streamed_is_the_same_response(api):
    async with Served(api) as served, limit():
        made = await served.client.responses.create(**QUESTION)
        kept = await served.client.responses.retrieve(made.id)
        assert kept.to_dict() == made.to_dict()
        assert (made.output_text, calls_in(made)) == (ANSWER.text, [(CALL.name, CALL.arguments)])


async def test_the_next_one_is_asked_with_what_it_continues(api):
    async with Served(api) as served, limit():
        client = served.client
        first = await client.responses.create(**QUESTION)
        result = {"type": "function_call_output", "call_id": first.output[-1].call_id, "output": "rain"}
        second = await client.responses.create(model="m", input=[result], previous_response_id=first.id)
        assert (second.status, second.previous_response_id) == ("completed", first.id)
        items = [item async for item in client.responses.input_items.list(second.id, order="asc")]
        assert [item.type for item in items] == [
            *("message", "message", "function_call", "function_call_output"),
        ]
    asked = served.upstream.attempts[1].json
    assert "previous_response_id" not in asked
    said = json.dumps(asked["messages"], ensure_ascii=False)
    for part in ("Hello", "Let me look.", "weather", "Zürich", "rain"):
        assert part in said
    roles = [message["role"] for message in asked["messages"]]
    assert roles == ["user", "assistant", "tool" if api == "chat" else "user"]


async def test_in_the_background_it_goes_on_without_a_reader(api):
    async with Served(api, grace=0.0, max_grace=0.001) as served, limit():
        made = await served.client.responses.create(**QUESTION, background=True)
        assert (made.status, made.background, made.output) == ("queued", True, [])
        await served.gateway.until_idle()
        now = await served.client.responses.retrieve(made.id)
        assert (now.status, now.background, now.output_text) == ("completed", True, ANSWER.text)
        assert calls_in(now) == [(CALL.name, CALL.arguments)]
        assert "background" not in served.upstream.attempts[0].json


async def test_cancel_stops_it_at_the_upstream(api):
    async with Served(api, SLOW) as served, limit():
        made = await served.in_the_background()
        (attempt,) = served.upstream.attempts
        stopped = await served.client.responses.cancel(made.id)
        await attempt.closed.wait()
        assert (stopped.status, stopped.error) == ("cancelled", None)
        assert stopped.output_text
        assert SLOW.text.startswith(stopped.output_text)
        assert (await served.client.responses.retrieve(made.id)).to_dict() == stopped.to_dict()
        with pytest.raises(openai.APIError, match="stopped"):
            _ = [event async for event in await served.client.responses.retrieve(made.id, stream=True)]
        with pytest.raises(openai.BadRequestError, match="did not complete"):
            await served.client.responses.create(**QUESTION, previous_response_id=made.id)


async def test_deleted_is_gone_even_while_it_is_written(api):
    async with Served(api, SLOW) as served, limit():
        made = await served.in_the_background()
        (attempt,) = served.upstream.attempts
        await served.client.responses.delete(made.id)
        await attempt.closed.wait()
        for ask in (served.client.responses.retrieve, served.client.responses.delete):
            with pytest.raises(openai.NotFoundError):
                await ask(made.id)


async def test_what_is_not_to_be_stored_cannot_be_asked_for(api):
    async with Served(api) as served, limit():
        made = await served.client.responses.create(**QUESTION, store=False)
        assert made.output_text == ANSWER.text
        with pytest.raises(openai.NotFoundError):
            await served.client.responses.retrieve(made.id)
