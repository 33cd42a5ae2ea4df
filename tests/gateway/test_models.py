"""The model of a request that names none, and the list of those that are served."""

from __future__ import annotations

import pytest

from everytoken.gateway import UpstreamConfig
from everytoken.testing import Answer, ScriptedUpstream, Status
from gateway_serving import HELLO, serving

UNNAMED = {"messages": [{"role": "user", "content": "Hello"}]}


CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/org/small%20one",
        "/models/org%2Fsmall%20one/",
        "//v1//models/org/small one".replace(" ", "%20"),
    ],
)
async def test_one_model(path):
    upstream = UpstreamConfig(name="u", url="http://127.0.0.1:9/v1", models=["org/small one"])
    async with serving(upstream) as gateway:
        answer = await gateway.ask("GET", path)
        missing = await gateway.ask("GET", "/v1/models/none")
        wrong = await gateway.ask("POST", path, HELLO)
    assert answer.json == {"id": "org/small one", "object": "model", "created": 0, "owned_by": "u"}
    assert (missing.status, missing.error["code"]) == (404, "model-not-found")
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(("path", "body"), [(CHAT, UNNAMED), ("/api/chat", {"prompt": "Hello"})])
async def test_the_only_model_served_is_the_default(path, body, scripted_upstream):
    upstream = await scripted_upstream(Answer("Hi", model="lonely"))
    async with serving(upstream) as gateway:
        for _ in range(2):
            assert (await gateway.ask("POST", path, body)).status == 200
    assert [request.json["model"] for request in upstream.attempts] == ["lonely", "lonely"]
    assert len(upstream.requests) == 3, "it is asked for its models once"


@pytest.mark.parametrize(("path", "body"), [(CHAT, UNNAMED), ("/api/chat", {"prompt": "Hello"})])
async def test_among_several_models_the_error_says_how_to_choose(path, body, scripted_upstream):
    first = await scripted_upstream(Answer("Hi", model="one"))
    second = await scripted_upstream(Answer("Hi", model="two"))
    async with serving(first, second) as gateway:
        answer = await gateway.ask("POST", path, body)
    assert (answer.status, answer.error["param"]) == (400, "model")
    assert "--model" in answer.error["message"]
    assert "default_model" in answer.error["message"]
    assert not first.attempts + second.attempts


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_for_want_of_a_model_says_how_to_set_one(stream):
    def refuse(request):
        body = (
            b'{"error": {"message": "you must provide a model parameter", "type": "invalid_request_error"}}'
        )
        return [Status(400, body=body)]

    async with ScriptedUpstream(refuse) as upstream:
        upstream.answer = Answer(model="")
        async with serving(upstream) as gateway:
            answer = await gateway.ask("POST", CHAT, {**UNNAMED, "stream": stream})
    assert (answer.status, answer.error["param"]) == (400, "model")
    assert "you must provide a model parameter" in answer.error["message"]
    assert "--model" in answer.error["message"]
