"""The configuration file and what is laid over it."""

from __future__ import annotations

import re

import msgspec
import pytest

from everytoken.errors import ConfigurationError
from everytoken.gateway import Config, Gateway, UpstreamConfig
from everytoken.gateway.config import load, named, parse, policy_of
from everytoken.gateway.targets import target_of
from everytoken.recovery import Policy

FULL = """
host = "0.0.0.0"
port = 9000
grace = 5
api_keys = ["sk-one"]
max_body = 1000
default_model = "small"

[policy]
content_gap = 12.5
attempts = 5
strategies = ["replay"]

[[upstream]]
name = "local"
url = "http://127.0.0.1:8080/v1"
models = ["small"]
prefill = "yes"

[upstream.policy]
content_gap = 60

[[upstream]]
url = "https://api.openai.com/v1"
key_env = "MY_KEY"
models = { large = "gpt-x" }
headers = { "x-org" = "me" }
"""


def test_a_full_file_says_what_it_says():
    config = parse(FULL, {}, where="file.toml")
    assert (config.host, config.port, config.grace, config.max_body) == ("0.0.0.0", 9000, 5.0, 1000)
    assert config.policy.content_gap == 12.5
    assert config.policy.strategies == {"replay"}
    local, cloud = config.upstream
    assert local.names == {"small": "small"}
    assert cloud.names == {"large": "gpt-x"}
    assert cloud.name == "upstream-2"
    assert cloud.api_key({"MY_KEY": "sk-secret"}) == "sk-secret"
    assert policy_of(local, config.policy) == msgspec.structs.replace(config.policy, content_gap=60.0)
    assert policy_of(cloud, config.policy) == config.policy


def test_without_a_file_there_are_the_defaults_and_the_environment():
    assert load(None, {}) == Config()
    assert load(None, {"EVERYTOKEN_CONTENT_GAP": "7"}).policy == Policy(content_gap=7.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("port = ", "not TOML", id="no TOML"),
        pytest.param("a = 1\na = 2", "not TOML", id="a setting twice"),
        pytest.param("prot = 8000", "unknown field `prot`", id="an unknown setting"),
        pytest.param("port = 'many'", "$.port", id="a text for a number"),
        pytest.param("port = 70000", "port must be from 0 to 65535", id="a port beyond the last"),
        pytest.param("port = 80.5", "$.port", id="half a port"),
        pytest.param("max_body = 0", "max_body must be", id="no body at all"),
        pytest.param("grace = nan", "grace must be", id="no number of seconds"),
        pytest.param("drain = inf", "drain must be", id="a drain without an end"),
        pytest.param("retention = nan", "retention must be", id="a retention that is no number"),
        pytest.param("max_journal = 0", "max_journal must be", id="a journal without room"),
        pytest.param("long_poll = -1", "long_poll must be", id="a poll into the past"),
        pytest.param("durability = 'none'", "$.durability", id="a durability there is not"),
        pytest.param("api_keys = 'sk'", "$.api_keys", id="a text for a list"),
        pytest.param("policy = 5", "$.policy", id="a number for a table"),
        pytest.param(
            "[policy]\ncontent_gap = 0",
            "content_gap must be a finite number of seconds above 0",
            id="no time at all",
        ),
        pytest.param("[policy]\ncontent_gap = nan", "content_gap must be", id="a time that is none"),
        pytest.param("[policy]\nattempts = 0", "attempts must be at least 1", id="no attempt"),
        pytest.param("[policy]\ncontnet_gap = 3", "unknown field `contnet_gap` - at `$.policy`", id="a slip"),
        pytest.param("[policy]\nstrategies = ['hope']", "$.policy.strategies", id="no such strategy"),
        pytest.param("[[upstream]]\nname = 'a'", "`url` - at `$.upstream[0]`", id="an upstream without URL"),
        pytest.param("[[upstream]]\nurl = 5", "$.upstream[0].url", id="a URL that is a number"),
        pytest.param(
            "[[upstream]]\nurl = 'http://x'\nprefill = 'perhaps'",
            "$.upstream[0].prefill",
            id="no such choice",
        ),
        pytest.param(
            "[[upstream]]\nname='a'\nurl='http://x'\n[[upstream]]\nname='a'\nurl='http://y'",
            "two upstreams are named 'a'",
            id="one name for two",
        ),
        pytest.param("[upstream]\nurl = 'http://x'", "$.upstream", id="one upstream in place of a list"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_place(text, words, tmp_path):
    path = tmp_path / "everytoken.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load(path, {})
    assert words in raised.value.message
    if "two upstreams" not in words:
        assert str(path) in raised.value.message


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(content, tmp_path):
    path = tmp_path / "everytoken.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=re.escape(str(path))):
        load(path, {})


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("EVERYTOKEN_CONNECT", "2", {"connect": 2.0}),
        ("EVERYTOKEN_FIRST_CONTENT", " 90.5 ", {"first_content": 90.5}),
        ("EVERYTOKEN_CONTENT_GAP", "1e2", {"content_gap": 100.0}),
        ("EVERYTOKEN_ATTEMPTS", "9", {"attempts": 9}),
        ("EVERYTOKEN_RETRY_STATUSES", "500, 503", {"retry_statuses": frozenset({500, 503})}),
        ("EVERYTOKEN_STRATEGIES", "replay,prefill", {"strategies": frozenset({"replay", "prefill"})}),
        ("EVERYTOKEN_CONTENT_GAP", "", {}),
    ],
)
def test_the_environment_overrides_the_file(variable, value, expected):
    config = parse(
        "[policy]\nbackoff = 0.25\n" + "".join(f"{name} = 3\n" for name in ("connect",)),
        {variable: value},
        where="x",
    )
    assert config.policy == Policy(**{"backoff": 0.25, "connect": 3.0, **expected})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EVERYTOKEN_CONTENT_GAP", "soon"),
        ("EVERYTOKEN_CONTENT_GAP", "-1"),
        ("EVERYTOKEN_ATTEMPTS", "2.5"),
        ("EVERYTOKEN_RETRY_STATUSES", "500;503"),
        ("EVERYTOKEN_STRATEGIES", "hope"),
    ],
)
def test_a_mistake_in_the_environment_is_named_by_its_variable(variable, value):
    with pytest.raises(ConfigurationError, match=variable):
        parse("", {variable: value}, where="x")


def test_a_key_that_the_environment_lacks_is_named_and_not_guessed():
    upstream = UpstreamConfig(name="cloud", url="http://x", key_env="MY_KEY", key="sk-other")
    for environ in ({}, {"MY_KEY": ""}):
        with pytest.raises(ConfigurationError, match=r"'cloud'.*MY_KEY is not set"):
            upstream.api_key(environ)
    assert UpstreamConfig(url="http://x", key="sk-other").api_key({}) == "sk-other"


def test_names_are_given_where_there_are_none():
    upstreams = [
        UpstreamConfig(url="http://x"),
        UpstreamConfig(url="http://y", name="b"),
        UpstreamConfig(url="http://z"),
    ]
    assert [upstream.name for upstream in named(upstreams)] == ["upstream-1", "b", "upstream-3"]


@pytest.mark.parametrize(
    ("models", "asked", "expected"),
    [
        pytest.param([], "any", None, id="without models any name is passed on"),
        pytest.param(["m"], "m", "m", id="a listed name is itself"),
        pytest.param({"m": "real"}, "m", "real", id="an alias is what it stands for"),
    ],
)
def test_which_name_an_upstream_is_asked_for(models, asked, expected):
    target = target_of(
        UpstreamConfig(name="u", url="http://x", models=models), "openai-chat", asked, Policy()
    )
    assert target is not None
    assert target.model == expected


def test_an_upstream_is_not_asked_for_what_it_does_not_have():
    upstream = UpstreamConfig(name="u", url="http://x", models=["m"])
    assert target_of(upstream, "openai-chat", "other", Policy()) is None


def test_a_policy_of_an_upstream_is_checked_when_the_gateway_is_made():
    config = Config(upstream=[UpstreamConfig(name="u", url="http://x", policy={"content_gap": -1})])
    with pytest.raises(ConfigurationError, match=r"'u'.*content_gap"):
        Gateway(config, {})


@pytest.mark.parametrize(
    ("settings", "model", "expected"),
    [
        pytest.param({}, None, None, id="none is given where there is none"),
        pytest.param({"default_model": "d"}, None, "d", id="the default"),
        pytest.param({"default_model": "d"}, "m", "m", id="the caller's own"),
        pytest.param({"upstream": ["a", "b"]}, None, "a", id="the first that is named"),
        pytest.param({"upstream": ["a"], "default_model": "d"}, "", "d", id="the default before the first"),
    ],
)
def test_which_model_a_request_without_one_gets(settings, model, expected):
    upstreams = [
        UpstreamConfig(name=name, url="http://x", models=[name]) for name in settings.get("upstream", ())
    ]
    gateway = Gateway(Config(**{**settings, "upstream": upstreams}), {})
    body = {"messages": []} if model is None else {"messages": [], "model": model}
    assert gateway.with_model(body).get("model") == expected
