"""Which API a path stands for, and which upstreams are asked by it."""

from __future__ import annotations

import pytest

from everytoken.gateway import UpstreamConfig
from everytoken.gateway.apis import APIS, dialect_at
from gateway_serving import HELLO, serving


@pytest.mark.parametrize("place", APIS)
def test_what_is_below_an_api_speaks_its_dialect(place):
    assert dialect_at(place) is dialect_at(f"{place}/x/cancel") is APIS[place].dialect


@pytest.mark.parametrize("path", ["/", "/v1/models", "/v1/chat/completionsx"])
def test_elsewhere_errors_are_openais(path):
    assert dialect_at(path).name == "openai-chat"


async def test_an_upstream_is_asked_by_the_apis_it_offers(scripted_upstream):
    upstream = await scripted_upstream("Good day")
    for api in ("messages", ["messages", "chat"]):
        async with serving(UpstreamConfig(name="one", url=upstream.base_url, api=api)) as gateway:
            assert (await gateway.ask("POST", "/v1/chat/completions", HELLO)).text == "Good day"
    assert [request.path for request in upstream.requests] == ["/v1/messages", "/v1/chat/completions"]
