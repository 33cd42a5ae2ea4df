"""Cut at each kind of place, once or always, on every journal: the response is exact, or it ends in an explicit error."""

from __future__ import annotations

import asyncio
import json

import pytest

from everytoken.dialects.openai_responses.dialect import OPENAI_RESPONSES
from everytoken.errors import TruncatedError
from everytoken.recovery import Policy, Target
from everytoken.relay import Relays
from gateway_serving import ManualUpstream, limit
from journal_backends import BACKENDS, read_all, until
from responses_streams import Script, check_one_stream, texts_of, wire

ASK = {"model": "m", "input": "Hello", "stream": True}
POLICY = Policy(backoff=0.0, backoff_max=0.0, attempts=2)


def answer(tag):
    """Return an answer that thinks, speaks and calls a tool."""
    script = Script(tag)
    script.reasoning(encrypted=False)
    script.message(
        ({"type": "output_text", "annotations": [], "logprobs": [], "text": ""}, ("So ", "be ", "it."))
    )
    script.call("weather", ['{"city":', '"Par', 'is"}'])
    return script.end()


def _nth(kind, number):
    """Return how many events come up to and including the n-th of a kind."""
    found = [place for place, event in enumerate(answer("a"), 1) if event["type"].startswith(kind)]
    return found[number]


PLACES = {
    "before content": 2,
    "after one piece": _nth("response.reasoning_summary_text.delta", 0),
    "inside thinking": _nth("response.reasoning_summary_text.delta", 2),
    "inside text": _nth("response.output_text.delta", 1),
    "inside tool arguments": _nth("response.function_call_arguments.delta", 1),
    "before the end": len(answer("a")) - 1,
}


@pytest.mark.parametrize("always", [False, True], ids=["first attempt", "always"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("backend", ["memory", "sqlite", "redis"])
async def test_it_is_exact_or_says_so(tmp_path, backend, place, always):
    journal = await BACKENDS[backend](tmp_path).open()
    upstream = ManualUpstream()
    targets = [Target(name="manual", policy=POLICY)]
    relay = await Relays({"manual": upstream}, lambda _: targets, journal).begin(
        OPENAI_RESPONSES.request(ASK)
    )
    serving = asyncio.create_task(_serve(upstream, PLACES[place], always=always))
    async with limit():
        await relay.over
        await until(lambda: relay.log.closed)
    serving.cancel()
    events = [json.loads(record) for record in await read_all(relay.log)]
    outcome = relay.log.info.result["outcome"]
    if not always:
        assert outcome == "completed"
        check_one_stream(events, answer("a"))
    else:
        *before, last = events
        assert outcome == ("failed" if place == "before content" else "interrupted")
        assert (last["type"], last["sequence_number"]) == ("error", len(before))
        assert last["error"]["code"] == "recovery-exhausted"
        assert not {event["type"] for event in events} & {"response.completed", "response.incomplete"}
        for where, told in texts_of(before).items():
            assert texts_of(answer("a"))[where].startswith(told)
    await journal.stop()


async def _serve(upstream, cut, *, always):
    for number in range(20):
        attempt = await upstream.attempt(number)
        events = wire(answer("abcdefghijklmnopqrst"[number]))
        attempt.accept()
        if number and not always:
            attempt.sink.on_data(b"".join(events))
            return
        attempt.sink.on_data(b"".join(events[:cut]))
        attempt.sink.on_error(TruncatedError("cut"))
