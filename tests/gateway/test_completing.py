"""`POST /v1/completions` of one prompt and one text is recovered like any other response; what is more is passed on."""

from __future__ import annotations

import json

import openai
import pytest

from completion_streams import PARTS, TEXT, USAGE, chunk, like_openai, wire
from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.testing import CleanEnd, Head, Reset, ScriptedUpstream, Send, Status
from gateway_serving import limit, over, served, serving

POLICY = Policy(backoff=0.0, retry_after_max=0.0)
ASK = {"model": "m", "prompt": "Tell.", "stream": True}


def cut_at(*cuts, end=None):
    """Return a script: so many events of each attempt, then `end`; the last attempt is whole."""

    def script(request):
        if request.path.endswith("/models"):
            return [Status(404)]
        events = wire(like_openai("abcdef"[request.attempt % 6]))
        if request.attempt < len(cuts):
            return [Head(), Send(b"".join(events[: cuts[request.attempt]])), end or CleanEnd()]
        return [Head(), Send(b"".join(events)), CleanEnd()]

    return script


def attempts(upstream):
    return [request for request in upstream.requests if request.path == "/v1/completions"]


class Completions(ScriptedUpstream):
    """The scripted upstream counts attempts at the APIs it knows; this counts those at `/completions`."""

    def script_for(self, request):
        self.requests.append(request)
        request.attempt = len(attempts(self)) - 1
        return self.script(request)

    def __init__(self, script) -> None:
        super().__init__()
        self.script = script


@pytest.mark.parametrize("end", [CleanEnd(), Reset()], ids=["an end", "a reset"])
@pytest.mark.parametrize("cut", range(1, len(PARTS) + 1))
async def test_the_official_sdk_reads_one_text(cut, end):
    async with limit(), Completions(cut_at(cut, end=end)) as up, serving(up, policy=POLICY) as gateway:
        sdk = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0)
        async with sdk:
            stream = await sdk.completions.create(**ASK)
            chunks = [one async for one in stream]
    assert "".join(one.choices[0].text for one in chunks) == TEXT
    assert [one.choices[0].finish_reason for one in chunks if one.choices[0].finish_reason] == ["stop"]
    assert len({one.id for one in chunks}) == 1
    bodies = [request.json for request in attempts(up)]
    assert [body["prompt"] for body in bodies] == ["Tell."] * 2
    assert bodies[0]["seed"] == bodies[1]["seed"]


async def test_what_is_always_cut_is_an_error_of_the_sdk():
    async with limit(), Completions(cut_at(*[3] * 9)) as up, serving(up, policy=POLICY) as gateway:
        sdk = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0)
        said = []

        async def read():
            async for one in await sdk.completions.create(**ASK):
                said.append(one.choices[0].text)  # noqa: PERF401  # what came before the error counts

        async with sdk:
            with pytest.raises(openai.APIError) as raised:
                await read()
    assert raised.value.code == "recovery-exhausted"
    assert said == PARTS[:3]


async def test_a_caller_that_does_not_stream_gets_it_whole():
    async with limit(), Completions(cut_at(3)) as up, serving(up, policy=POLICY) as gateway:
        sdk = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0)
        async with sdk:
            whole = await sdk.completions.create(model="m", prompt="Tell.")
    (choice,) = whole.choices
    assert (whole.object, choice.text, choice.finish_reason) == ("text_completion", TEXT, "stop")
    assert whole.usage.total_tokens >= USAGE["total_tokens"]
    assert len(attempts(up)) == 2


async def test_it_is_kept_and_read_again_from_any_offset():
    async with limit(), Completions(cut_at(2)) as up, serving(up, policy=POLICY) as gateway:
        key = {"Idempotency-Key": "once"}
        answer = await gateway.ask("POST", "/v1/completions", ASK, key)
        again = await gateway.ask("POST", "/v1/completions", ASK, key)
        chat = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Tell."}]}
        other = await gateway.ask("POST", "/v1/chat/completions", chat, key)
        path = answer.headers["location"].removeprefix(gateway.url)
        path = path[path.index("/v1/") :]
        for offset in range(len(answer.events)):
            rest = await gateway.ask("GET", f"{path}/events?offset={offset}")
            if rest.status == 200:
                assert rest.events == answer.events[offset:]
    assert answer.events[-1][0] == "[DONE]"
    assert again.events == answer.events
    assert other.status == 422
    assert len(attempts(up)) == 2


async def test_the_next_upstream_answers_where_the_first_has_no_completions():
    async with limit(), Completions(lambda _: [Status(404)]) as none, Completions(cut_at()) as up:
        async with serving(none, up, policy=POLICY) as gateway:
            answer = await gateway.ask("POST", "/v1/completions", ASK)
        refused = UpstreamConfig(name="only", url=none.base_url)
        async with serving(refused, policy=POLICY) as gateway:
            missing = await gateway.ask("POST", "/v1/completions", ASK)
    assert "".join(json.loads(data)["choices"][0]["text"] for data, _ in answer.events[:-1]) == TEXT
    assert missing.status == 404


async def test_an_upstream_of_messages_only_is_not_asked():
    async with limit(), Completions(cut_at()) as up:
        only = UpstreamConfig(name="claude", url=up.base_url, api="messages")
        async with serving(only) as gateway:
            answer = await gateway.ask("POST", "/v1/completions", ASK)
    assert (answer.status, answer.error["code"]) == (404, "model-not-found")
    assert not attempts(up)


@pytest.mark.parametrize(
    "more", [{"echo": True}, {"n": 2}, {"logprobs": 1}, {"prompt": ["a", "b"]}, {"suffix": "."}]
)
async def test_what_is_more_than_a_text_is_passed_on_as_it_is(more):
    chunks = [chunk("a", "Hi"), chunk("a", "", "stop")]
    script = [Head(), Send(b"".join(wire(chunks))), CleanEnd()]
    async with limit(), Completions(lambda _: script) as up, serving(up, policy=POLICY) as gateway:
        answer = await gateway.ask("POST", "/v1/completions", {**ASK, **more})
    assert answer.body == b"".join(wire(chunks))
    assert "location" not in answer.headers
    assert [request.json for request in attempts(up)] == [{**ASK, **more}]


async def test_what_cannot_be_read_or_is_nobodys_is_refused():
    async with limit(), Completions(cut_at()) as up, serving(up) as gateway:
        assert (await gateway.ask("POST", "/v1/completions", b"{")).error["code"] == "invalid-request"
        wrong = await gateway.ask("POST", "/v1/completions", {**ASK, "stream": "yes"})
        assert (wrong.status, wrong.error["param"]) == (400, "stream")
        assert (await gateway.ask("GET", "/v1/completions")).status == 405
        assert not attempts(up)
    async with over(up, api_keys=["k" * 20]) as gateway, served(gateway) as port:
        assert port
        gateway_url = f"http://127.0.0.1:{port}/v1"
        sdk = openai.AsyncOpenAI(base_url=gateway_url, api_key="nobody", max_retries=0)
        async with sdk:
            with pytest.raises(openai.AuthenticationError):
                await sdk.completions.create(model="m", prompt="Tell.")


async def test_an_upstream_that_does_not_stream_is_read_in_one_piece():
    whole = {**chunk("a", TEXT, "stop"), "usage": USAGE}

    def script(request):
        if request.json.get("stream"):
            return [Status(400, body=b'{"error": {"message": "no streaming", "param": "stream"}}')]
        return [Status(200, body=json.dumps(whole).encode())]

    async with limit(), Completions(script) as up, serving(up, policy=POLICY) as gateway:
        answer = await gateway.ask("POST", "/v1/completions", {"model": "m", "prompt": "Tell."})
        streamed = await gateway.ask("POST", "/v1/completions", ASK)
    assert answer.json["choices"] == whole["choices"]
    assert answer.json["usage"] == USAGE
    assert [json.loads(data)["object"] for data, _ in streamed.events[:-1]] == ["text_completion"] * 2
