"""A client asks further upstreams where the one of the request fails, and its secrets go to none of them."""

from __future__ import annotations

import asyncio

import openai
import pytest

import everytoken
from everytoken import Policy, Upstream
from everytoken.testing import Answer, ScriptedUpstream, Status
from everytoken.testing.plan import plan_answer
from guide_loops import CONTEXT, MESSAGES

ANSWER = Answer("Streaming sends each token as soon as it exists.")
POLICY = Policy(backoff=0.01, first_content=5.0)
ASKED = {"model": "m", "messages": MESSAGES, "stream": True}
FAULTS = [
    "close",
    "status-500",
    "connection-refused",
    "clean-end",
    "error-event",
    "garbage-event",
    "status-401",
    "status-404",
]


def ask(first, *others, kind="sync", policy=POLICY, **options):
    upstreams = [
        one if isinstance(one, Upstream) else Upstream(url=one.base_url, api_key="second-key")
        for one in others
    ]
    settings = {"policy": policy, "upstreams": upstreams, "verify": CONTEXT, "trust_env": False, **options}
    if kind == "sync":
        with openai.OpenAI(
            base_url=first.base_url,
            api_key="first-key",
            http_client=everytoken.Client(**settings),
            max_retries=0,
        ) as client:
            return "".join(
                chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**ASKED)
            )

    async def run():
        async with openai.AsyncOpenAI(
            base_url=first.base_url,
            api_key="first-key",
            http_client=everytoken.AsyncClient(**settings),
            max_retries=0,
        ) as client:
            stream = await client.chat.completions.create(**ASKED)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    return asyncio.run(run())


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_second_upstream_gives_the_answer_whatever_the_first_one_always_does(fault, kind):
    with (
        ScriptedUpstream(ANSWER, faults=[("always", fault, "middle")]) as first,
        ScriptedUpstream(ANSWER) as second,
    ):
        assert ask(first, second, kind=kind) == ANSWER.text
        assert len(second.attempts) == 1


def test_nothing_secret_of_the_caller_goes_to_another_upstream():
    headers = {"x-api-key": "mine", "openai-organization": "org", "cookie": "session=1", "x-trace": "t"}
    with (
        ScriptedUpstream(ANSWER, faults=[("always", "status-503", "start")]) as first,
        ScriptedUpstream(ANSWER) as second,
    ):
        further = Upstream(
            url=second.base_url, api_key="second-key", headers={"x-title": "app"}, model="theirs"
        )
        ask(first, further, headers=headers, auth=("user", "password"))
        sent = second.attempts[0].headers
        assert sent["authorization"] == "Bearer second-key"
        assert sent["x-title"] == "app"
        assert sent["x-trace"] == "t"
        assert not {"x-api-key", "openai-organization", "cookie"} & set(sent)
        assert "first-key" not in str(sent)
        assert second.attempts[0].json["model"] == "theirs"


def test_a_key_of_a_further_upstream_is_not_shown():
    refusal = Status(401, body=b'{"error":{"message":"bad key second-key"}}')
    with (
        ScriptedUpstream(ANSWER, faults=[("always", "status-401", "start")]) as first,
        ScriptedUpstream(lambda _: [refusal]) as second,
    ):
        with pytest.raises(openai.APIError) as raised:
            ask(first, second)
        assert "second-key" not in str(raised.value)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_declared_prefill_is_used_at_once(kind):
    with ScriptedUpstream(ANSWER, faults=[(0, "close", 3)]) as only:
        assert ask(only, kind=kind, prefill="yes") == ANSWER.text
        assert [one.json["messages"][-1]["role"] for one in only.attempts] == ["user", "assistant"]


@pytest.mark.parametrize("url", ["", "example.com/v1", "ftp://example.com", "http://", "http://[::1"])
def test_an_upstream_that_cannot_be_asked_is_refused(url):
    with pytest.raises(ValueError, match="url must"):
        Upstream(url=url)


def test_what_was_learned_of_one_upstream_is_not_held_against_another():
    with (
        ScriptedUpstream(ANSWER, faults=[("always", "status-500", "start")]) as first,
        ScriptedUpstream(ANSWER) as second,
        everytoken.Client(
            policy=POLICY, upstreams=[Upstream(url=second.base_url)], verify=CONTEXT, trust_env=False
        ) as http,
    ):
        client = openai.OpenAI(base_url=first.base_url, api_key="k", http_client=http, max_retries=0)
        for _ in range(4):
            assert (
                "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(**ASKED))
                == ANSWER.text
            )
        # The breaker has set the first aside: it is not asked each time any more.
        assert len(second.attempts) == 4
        assert len(first.attempts) < 6


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("failover", ["exact", "continue"])
def test_another_model_continues_only_where_that_is_allowed(kind, failover):
    words = Answer("One, two, three, four, five, six, seven, eight, nine, ten.", prefill="refuse")
    # Repeats nothing, and continues what it is given.
    moody = Answer(words.text)
    with (
        ScriptedUpstream(words, faults=[("always", "close", 8)]) as first,
        ScriptedUpstream(_unlike(moody)) as second,
    ):
        further = Upstream(url=second.base_url, model="another")
        policy = Policy(attempts=1, backoff=0.0, failover=failover)
        if failover == "continue":
            assert ask(first, further, kind=kind, policy=policy) == words.text
            assert second.attempts[-1].json["messages"][-1]["role"] == "assistant"
            return
        with pytest.raises(openai.APIConnectionError):
            ask(first, further, kind=kind, policy=policy)
        assert all(one.json["messages"][-1]["role"] == "user" for one in second.attempts)


def _unlike(answer):
    """Return a script of an upstream that would answer otherwise, but continues what it is given."""

    def script(request):
        given = request.json["messages"][-1]["role"] == "assistant"
        plan = plan_answer(answer.variant(0 if given else 1), request.json, number=request.attempt)
        return plan.whole()

    return script


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("api", ["messages", "responses"])
@pytest.mark.parametrize("fault", ["status-500", "close"])
def test_a_further_upstream_may_speak_another_api(kind, api, fault):
    faults = [("always", fault, "middle")]
    with (
        ScriptedUpstream(ANSWER, faults=faults, apis=["chat"]) as first,
        ScriptedUpstream(ANSWER, apis=[api]) as second,
    ):
        upstream = Upstream(url=second.base_url, api_key="second-key", api=api, model="theirs")
        assert ask(first, upstream, kind=kind) == ANSWER.text
    (attempt,) = second.attempts
    assert (attempt.path, attempt.json["model"]) == (f"/v1/{api}", "theirs")
    key = {"messages": ("x-api-key", "second-key"), "responses": ("authorization", "Bearer second-key")}[api]
    assert attempt.headers[key[0]] == key[1]
    assert ("anthropic-version" in attempt.headers) == (api == "messages")
    assert "first-key" not in str(attempt.headers)
