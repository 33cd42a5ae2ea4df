"""How an upstream of a configuration is asked: which APIs it offers, in which of them, and in which order."""

from __future__ import annotations

import pytest

from everytoken.dialects.registry import dialect_named
from everytoken.gateway import Config, UpstreamConfig
from everytoken.gateway.reload import reload
from everytoken.gateway.services import Services
from everytoken.gateway.targets import native_first, offered, offers, target_of
from everytoken.recovery import Policy, Target
from everytoken.translation.registry import DIALECTS, translation

CHAT, MESSAGES, RESPONSES = "openai-chat", "anthropic-messages", "openai-responses"


@pytest.mark.parametrize(
    ("url", "api", "expected"),
    [
        ("https://api.openai.com/v1", None, ("chat", "responses")),
        ("https://me.openai.azure.com/openai/v1", None, ("chat", "responses")),
        ("https://api.anthropic.com/v1", None, ("messages",)),
        ("https://API.Anthropic.com/v1", None, ("messages",)),
        ("https://generativelanguage.googleapis.com/v1beta/openai", None, ("chat",)),
        ("https://api.deepseek.com/v1", None, ("chat",)),
        ("https://api.deepseek.com/anthropic/v1", None, ("messages",)),
        ("https://api.openai.com.example.net/v1", None, None),
        ("https://notapi.openai.com/v1", None, None),
        ("http://127.0.0.1:8080/v1", None, None),
        ("http://[::1", None, None),
        ("embedded:", None, ("chat",)),
        ("https://api.openai.com/v1", "messages", ("messages",)),
        ("http://127.0.0.1:8080/v1", ["chat", "messages"], ("chat", "messages")),
    ],
)
def test_what_is_configured_counts_then_what_is_known_of_the_host(url, api, expected):
    assert offered(UpstreamConfig(url=url, api=api)) == expected


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [("embedded", "", ("chat",)), ("e", "EMBEDDED:", ("chat",)), ("embedded", "http://[::1]/v1", None)],
)
def test_the_embedded_model_is_asked_in_chat_completions_by_whichever_name(name, url, expected):
    assert offered(UpstreamConfig(name=name, url=url)) == expected


@pytest.mark.parametrize(
    ("api", "dialect", "spoken", "instead"),
    [
        ("chat", CHAT, None, None),
        ("chat", MESSAGES, CHAT, None),
        ("messages", CHAT, MESSAGES, None),
        (["messages", "responses"], CHAT, RESPONSES, None),
        (["responses", "chat"], MESSAGES, CHAT, None),
        (["messages", "chat"], MESSAGES, None, None),
        (None, CHAT, None, None),
        (None, MESSAGES, None, CHAT),
        (None, RESPONSES, None, CHAT),
    ],
)
def test_it_is_asked_in_the_callers_api_or_else_in_one_that_it_offers(api, dialect, spoken, instead):
    target = target_of(UpstreamConfig(name="a", url="http://x", api=api), dialect, "m", Policy())
    assert target.api(dialect) == (spoken or dialect)
    assert (target.translation is None) == (spoken is None)
    assert (target.instead and target.instead.api(dialect)) == instead


@pytest.mark.parametrize(
    ("api", "asked"), [("messages", False), ("chat", True), (["messages", "chat"], True), (None, True)]
)
def test_completions_are_asked_for_where_chat_completions_are(api, asked):
    upstream = UpstreamConfig(name="a", url="http://x", api=api)
    target = target_of(upstream, "openai-completions", "m", Policy())
    assert (target is not None) == asked
    assert target is None or target.translation is None


def test_which_apis_may_be_passed_on():
    messages = UpstreamConfig(url="http://x", api="messages")
    assert (offers(messages, CHAT, RESPONSES), offers(messages, MESSAGES)) == (False, True)
    assert offers(UpstreamConfig(url="http://x"), CHAT)


def test_at_one_server_the_callers_api_comes_first_and_the_order_stays_otherwise():
    chat = translation(MESSAGES, DIALECTS["chat"])
    found = [
        ("http://a/v1", Target(name="a-chat", translation=chat)),
        ("http://b/v1", Target(name="b-chat", translation=chat)),
        ("http://c/v1", Target(name="c")),
        ("http://a/anthropic/v1", Target(name="a-messages")),
        ("http://b:81/v1", Target(name="b-elsewhere")),
    ]
    names = [target.name for target in native_first(found)]
    assert names == ["a-messages", "a-chat", "b-chat", "c", "b-elsewhere"]


def asked(model):
    return dialect_named(CHAT).request({"model": model, "messages": [{"role": "user", "content": "?"}]})


async def test_who_serves_a_model_is_found_out_once_for_each_configuration():
    def config(**names):
        return Config(upstream=[UpstreamConfig(name="one", url="https://one.example/v1", models=names)])

    services = Services(config(a="first"))
    (target,) = services.targets(asked("a"))
    assert target.model == "first"
    assert services.targets(asked("a"))[0] is target
    assert not services.targets(asked("b"))
    await reload(services, config(a="second", b="other"))
    assert [services.targets(asked(model))[0].model for model in ("a", "b")] == ["second", "other"]


def test_callers_cannot_have_any_number_of_names_remembered():
    services = Services(Config(upstream=[UpstreamConfig(name="one", url="https://one.example/v1")]))
    for number in range(1000):
        assert services.targets(asked(f"m{number}"))[0].name == "one"
    assert services.targets(asked("m" * 100_000))[0].name == "one"
    assert len(services._targets) < 300
    assert max(len(model) for _, model in services._targets) < 300
