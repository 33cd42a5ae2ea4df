"""API keys: who may call, whose a response is, and what is open to all."""

from __future__ import annotations

import openai
import pytest

from gateway_serving import HELLO, ManualUpstream, serving

CHAT = "/v1/chat/completions"
KEYS = ["sk-first-000", "sk-second-ü"]
FIRST = {"Authorization": "Bearer sk-first-000"}
SECOND = {"Authorization": "Bearer sk-second-ü".encode().decode("latin-1")}

REFUSED = {
    "no header": {},
    "an unknown key": {"Authorization": "Bearer sk-third"},
    "the beginning of a key": {"Authorization": "Bearer sk-first-00"},
    "more than a key": {"Authorization": "Bearer sk-first-000 x"},
    "no scheme": {"Authorization": "sk-first-000"},
    "another scheme": {"Authorization": "Basic sk-first-000"},
    "no key": {"Authorization": "Bearer "},
    "no text": {"Authorization": "Bearer \xff\xfe"},
}


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED.keys())
async def test_without_a_known_key_everything_that_costs_or_tells_is_a_401(headers):
    upstream = ManualUpstream()
    async with serving(upstream, api_keys=KEYS) as gateway:
        for method, path in [
            ("POST", CHAT),
            ("POST", "/api/chat"),
            ("GET", "/v1/models"),
            ("GET", "/v1/stream/AAAAAAAAAAAAAAAAAAAAAA/events"),
            ("POST", "/v1/stream/AAAAAAAAAAAAAAAAAAAAAA/cancel"),
        ]:
            answer = await gateway.ask(method, path, HELLO if method == "POST" else None, headers)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.error["code"] == "authentication-failed"
            assert answer.error["type"] == "authentication_error"
            assert "sk-" not in answer.body.decode()
    assert upstream.attempts == []


@pytest.mark.parametrize("path", ["/healthz", "/", "/assets/app.js"])
async def test_health_and_the_page_need_no_key(path):
    async with serving(ManualUpstream(), api_keys=KEYS) as gateway:
        assert (await gateway.ask("GET", path)).status == 200


@pytest.mark.parametrize("headers", [FIRST, SECOND, {"Authorization": "bEARER   sk-first-000"}])
async def test_a_known_key_may_call(scripted_upstream, headers):
    upstream = await scripted_upstream("Hi")
    async with serving(upstream, api_keys=KEYS) as gateway:
        assert (await gateway.ask("POST", CHAT, HELLO, headers)).text == "Hi"
    assert "authorization" not in upstream.attempts[0].headers, "the caller's key is not for the upstream"


async def test_another_keys_response_does_not_exist(scripted_upstream):
    async with serving(await scripted_upstream("Hi"), api_keys=KEYS) as gateway:
        url = (await gateway.ask("POST", CHAT, HELLO, FIRST)).headers["location"]
        mine = await gateway.ask("GET", f"{url}/events", headers=FIRST)
        other = await gateway.ask("GET", f"{url}/events", headers=SECOND)
        nobodys = await gateway.ask("GET", "/v1/stream/AAAAAAAAAAAAAAAAAAAAAA/events", headers=SECOND)
        stop = await gateway.ask("POST", f"{url}/cancel", headers=SECOND)
    assert mine.text == "Hi"
    assert other.status == stop.status == 404
    assert other.body == nobodys.body, "not even that it exists"


async def test_the_sdk_raises_its_own_error(scripted_upstream):
    async with (
        serving(await scripted_upstream("Hi"), api_keys=KEYS) as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-wrong", max_retries=0) as client,
    ):
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model="m", messages=HELLO["messages"])


@pytest.mark.parametrize("name", ["x-api-key", "api-key"])
async def test_the_key_may_stand_alone_in_a_header_of_its_own(name, scripted_upstream):
    async with serving(await scripted_upstream("Hi"), api_keys=KEYS) as gateway:
        mine = await gateway.ask("POST", CHAT, HELLO, {name: KEYS[0]})
        other = await gateway.ask("POST", CHAT, HELLO, {name: "wrong"})
        both = await gateway.ask("POST", CHAT, HELLO, {name: KEYS[0], "Authorization": "Bearer wrong"})
        url = mine.headers["location"]
        again = await gateway.ask("GET", f"{url}/events", headers=FIRST)
    assert (mine.text, again.text) == ("Hi", "Hi")
    assert (other.status, both.status) == (401, 401)


async def test_without_keys_any_is_taken(scripted_upstream):
    async with serving(await scripted_upstream("Hi")) as gateway:
        assert (await gateway.ask("POST", CHAT, HELLO, {"Authorization": "Bearer anything"})).text == "Hi"
