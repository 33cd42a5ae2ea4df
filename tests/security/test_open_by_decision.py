"""The gateway is open because somebody decided so, and keys go where they belong."""

from __future__ import annotations

import urllib.error
import urllib.request

import msgspec
import pytest

from command_line import gateway, run, started
from everytoken.errors import ConfigurationError
from everytoken.gateway import Config, UpstreamConfig
from everytoken.gateway.config import (
    check_open,
    is_loopback,
    parse,
    plain_text_keys,
    unknown_variables,
)
from everytoken.gateway.targets import target_of
from everytoken.recovery import Policy
from everytoken.testing import ScriptedUpstream
from gateway_serving import HELLO, ManualUpstream, Served, limit, over, served

KEY = "0123456789abcdef"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_beyond_loopback_it_wants_keys_or_a_word(host):
    done = run(
        "serve", "--host", host, "--port", "0", "--upstream", "http://127.0.0.1:9/v1", "--journal", "memory"
    )
    assert done.returncode == 1
    assert b"EVERYTOKEN_API_KEYS" in done.stderr
    assert b"--no-auth" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_with_the_word_or_a_key_it_listens():
    arguments = ["--host", "0.0.0.0", "--upstream", "http://127.0.0.1:9/v1", "--journal", "memory"]
    with gateway(*arguments, "--no-auth"):
        pass
    with (
        gateway(*arguments, EVERYTOKEN_API_KEYS=f"{KEY}, {KEY}2") as (_, url),
        pytest.raises(urllib.error.HTTPError, match="401"),
    ):
        urllib.request.urlopen(url.replace("0.0.0.0", "127.0.0.1") + "/v1/models", timeout=10)


@pytest.mark.parametrize(
    "key", ["", " ", "tiny-key", "x" * 15, "0123456789 abcdefgh", "0123456789\tabcdefgh"]
)
def test_a_key_that_guards_nothing_is_an_error_that_does_not_tell_it(key):
    with pytest.raises(ConfigurationError) as refused:
        check_open(Config(api_keys=[KEY, key]), loopback=True)
    assert "key 2" in refused.value.message
    if key.strip():
        assert key not in refused.value.message


ENVIRONMENT = {
    "host": ("::1", "::1"),
    "port": ("9000", 9000),
    "api_keys": (f"{KEY},{KEY}x", [KEY, f"{KEY}x"]),
    "origins": ("https://a.example, https://b.example", ["https://a.example", "https://b.example"]),
    "no_auth": ("true", True),
    "max_response": ("1000", 1000),
    "grace": ("5.5", 5.5),
    "durability": ("power", "power"),
    "default_model": ("m", "m"),
}


@pytest.mark.parametrize(("name", "text", "value"), [(n, *v) for n, v in ENVIRONMENT.items()])
def test_every_setting_can_come_from_the_environment(name, text, value):
    config = parse('host = "localhost"', {f"EVERYTOKEN_{name.upper()}": text}, where="x")
    assert getattr(config, name) == value


def test_no_setting_is_left_out():
    for kind in (Config, Policy):
        for field in msgspec.structs.fields(kind):
            assert field.name in {
                "policy",
                "breaker",
                "upstream",
                "prices",
                "limits",
            } or not unknown_variables({f"EVERYTOKEN_{field.name.upper()}": "1"})


@pytest.mark.parametrize(
    ("name", "text"), [("PORT", "many"), ("PORT", "99999"), ("NO_AUTH", "perhaps"), ("GRACE", "nan")]
)
def test_a_wrong_value_is_named_by_its_variable(name, text):
    with pytest.raises(ConfigurationError, match=f"EVERYTOKEN_{name}"):
        parse("", {f"EVERYTOKEN_{name}": text}, where="x")


def test_an_unknown_variable_is_a_warning_with_a_suggestion():
    assert unknown_variables({"EVERYTOKEN_API_KEY": "x", "HOME": "y"}) == []
    [warning] = unknown_variables({"EVERYTOKEN_CONTENT_GAPS": "60"})
    assert "EVERYTOKEN_CONTENT_GAP?" in warning
    with started(
        "serve",
        "--port",
        "0",
        "--upstream",
        "http://127.0.0.1:9/v1",
        "--journal",
        "memory",
        env={"EVERYTOKEN_CONTENT_GAPS": "6"},
    ) as process:
        assert b"EVERYTOKEN_CONTENT_GAPS is not a setting" in process.stderr.readline()


@pytest.mark.parametrize("count", [1, 2])
async def test_with_models_only_those_are_served(count):
    manual = ManualUpstream()
    upstreams = {f"u{n}": manual for n in range(count)}
    gateway = over(manual)
    configured = [UpstreamConfig(name=name, url="http://manual", models=["known"]) for name in upstreams]
    gateway.config = msgspec.structs.replace(gateway.config, upstream=configured)
    gateway._policies = dict.fromkeys(upstreams, Policy())
    async with limit(), gateway, served(gateway) as port:
        answer = await Served(gateway, port).ask("POST", "/v1/chat/completions", {**HELLO, "model": "other"})
        assert answer.status == 404
        assert answer.error["code"] == "model-not-found"
        assert not manual.attempts


def test_an_upstream_without_models_takes_any():
    assert target_of(UpstreamConfig(url="http://x"), "openai-chat", "any", Policy()).model is None


def test_openais_key_goes_to_the_first_upstream_only():
    with (
        ScriptedUpstream(faults=[("always", "status-500", "start")]) as first,
        ScriptedUpstream() as second,
        gateway(
            "--upstream",
            first.base_url,
            "--upstream",
            second.base_url,
            OPENAI_API_KEY="sk-of-openai-and-no-other",
        ) as (_, url),
    ):
        request = urllib.request.Request(
            f"{url}/v1/chat/completions",
            b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}',
            {"Content-Type": "application/json"},
        )
        assert urllib.request.urlopen(request, timeout=20).status == 200
        assert first.attempts[0].headers["authorization"] == "Bearer sk-of-openai-and-no-other"
        assert "authorization" not in second.attempts[0].headers


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://llm.example/v1", True),
        ("http://192.168.1.2:8000/v1", True),
        ("http://127.0.0.1:8000/v1", False),
        ("http://[::1]:8000/v1", False),
        ("http://localhost/v1", False),
        ("https://llm.example/v1", False),
    ],
)
def test_a_key_over_plain_http_is_a_warning(url, warned):
    config = Config(upstream=[UpstreamConfig(url=url, name="it", key=KEY)])
    warnings = plain_text_keys(config, {})
    assert bool(warnings) is warned
    assert not any(KEY in warning for warning in warnings)
    assert plain_text_keys(Config(upstream=[UpstreamConfig(url=url)]), {}) == []


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("localhost.evil.example", False),
    ],
)
def test_what_loopback_is(host, own):
    assert is_loopback(host) is own
