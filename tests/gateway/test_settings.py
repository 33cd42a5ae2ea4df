"""Settings from the environment, and from the files that it names."""

from __future__ import annotations

import pytest

from everytoken.errors import ConfigurationError
from everytoken.gateway import Config, UpstreamConfig
from everytoken.gateway.config import SETTINGS, BreakerConfig, parse, unknown_variables
from everytoken.gateway.settings import reads_files
from everytoken.recovery import Policy


def parsed(**environ):
    return parse("", environ, where="x")


def test_every_setting_has_a_variable_and_one_for_a_file(tmp_path):
    for setting in SETTINGS:
        assert unknown_variables({setting.variable: "1", f"{setting.variable}_FILE": "x"}) == []
        with pytest.raises(ConfigurationError, match=f"{setting.variable}_FILE: cannot read /none"):
            parsed(**{f"{setting.variable}_FILE": "/none"})
    names = {setting.path for setting in SETTINGS}
    assert {(name,) for name in Config.__struct_fields__} <= names
    assert {("policy", name) for name in Policy.__struct_fields__} <= names
    assert {("breaker", name) for name in BreakerConfig.__struct_fields__} <= names
    assert len({setting.variable for setting in SETTINGS}) == len(SETTINGS)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("API_KEYS", "sk-one, sk-two\n", ["sk-one", "sk-two"]),
        ("API_KEYS", "sk-one\nsk-two\n\n", ["sk-one", "sk-two"]),
        ("JOURNAL", "redis://:secret@host/0\n", "redis://:secret@host/0"),
        ("PORT", "9000\r\n", 9000),
    ],
)
def test_a_file_holds_a_value(name, text, expected, tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(text.encode())
    assert getattr(parsed(**{f"EVERYTOKEN_{name}_FILE": str(path)}), name.lower()) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff", "not UTF-8"),
        (b"x" * 1_048_577, "too large"),
        (None, "cannot read"),
    ],
)
def test_a_file_that_holds_none_is_an_error_and_never_no_key(content, words, tmp_path):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"EVERYTOKEN_API_KEYS_FILE.*{words}"):
        parsed(EVERYTOKEN_API_KEYS_FILE=str(path))
    with pytest.raises(ConfigurationError, match=f"'u': key_file.*{words}"):
        parse(f"[[upstream]]\nname='u'\nurl='http://x'\nkey_file='{path}'", {}, where="x")


def test_a_value_and_a_file_are_one_too_many(tmp_path):
    path = tmp_path / "secret"
    path.write_text("x")
    with pytest.raises(
        ConfigurationError, match="EVERYTOKEN_JOURNAL and EVERYTOKEN_JOURNAL_FILE are both set"
    ):
        parsed(EVERYTOKEN_JOURNAL="memory", EVERYTOKEN_JOURNAL_FILE=str(path))
    assert parsed(EVERYTOKEN_JOURNAL="memory", EVERYTOKEN_JOURNAL_FILE="").journal == "memory"


def test_an_upstream_has_its_key_from_a_file(tmp_path):
    path = tmp_path / "key"
    path.write_text("sk-secret\n")
    text = f"[[upstream]]\nurl='http://x'\nkey_file='{path}'\n"
    before = parse(text, {}, where="x").upstream[0]
    assert before.api_key({}) == "sk-secret"
    path.write_text("sk-other\n")
    assert parse(text, {}, where="x").upstream[0] != before, "a reload sees that it is another"
    assert UpstreamConfig(url="http://x", key_file=str(path)).api_key({}) == "sk-other"
    for more in ("key='x'", "key_env='HOME'"):
        with pytest.raises(ConfigurationError, match="upstream 'upstream-1': use one of"):
            parse(text + more, {"HOME": "x"}, where="x")


@pytest.mark.parametrize(
    ("variable", "text", "path", "expected"),
    [
        ("EVERYTOKEN_BREAKER_PAUSE", "7", "breaker.pause", 7.0),
        ("EVERYTOKEN_BREAKER", '{"failures": 9}', "breaker.failures", 9),
        ("EVERYTOKEN_LIMITS", "{ each_key = { running = 3 } }", "limits.each_key.running", 3),
        ("EVERYTOKEN_POLICY", "{ attempts = 4 }", "policy.attempts", 4),
    ],
)
def test_tables_come_from_the_environment_too(variable, text, path, expected):
    value = parsed(**{variable: text})
    for name in path.split("."):
        value = getattr(value, name)
    assert value == expected


def test_upstreams_come_from_the_environment_and_single_settings_over_tables():
    config = parsed(
        EVERYTOKEN_UPSTREAM='[{"url": "http://a/v1"}, {"url": "http://b/v1", "models": ["m"]}]',
        EVERYTOKEN_POLICY='{"attempts": 4, "hedges": 1}',
        EVERYTOKEN_ATTEMPTS="5",
    )
    assert [one.url for one in config.upstream] == ["http://a/v1", "http://b/v1"]
    assert config.policy == Policy(attempts=5, hedges=1)
    with pytest.raises(ConfigurationError, match="EVERYTOKEN_UPSTREAM is neither JSON"):
        parsed(EVERYTOKEN_UPSTREAM="http://a")
    with pytest.raises(ConfigurationError, match="EVERYTOKEN_UPSTREAM"):
        parsed(EVERYTOKEN_UPSTREAM='[{"uri": "http://a"}]')


def test_whether_there_is_a_file_to_read_again():
    assert not reads_files({"EVERYTOKEN_PORT": "1", "EVERYTOKEN_PORT_FILE": ""}, SETTINGS)
    assert reads_files({"EVERYTOKEN_API_KEYS_FILE": "/x"}, SETTINGS)
