"""`check`: all that is wrong with a configuration, with its place and what was meant."""

from __future__ import annotations

import asyncio
import datetime as dt
import os

import msgspec
import pytest
import trustme

from everytoken.errors import ConfigurationError
from everytoken.gateway.checking import check, explained
from everytoken.gateway.checking.connecting import connect
from everytoken.gateway.config import BreakerConfig, Config, UpstreamConfig, load
from everytoken.gateway.prices import PriceConfig
from everytoken.gateway.rates import LimitsConfig, Rates
from everytoken.recovery import Policy
from everytoken.testing import ScriptedUpstream

UPSTREAM = "[[upstream]]\nurl = 'http://127.0.0.1:8080/v1'\n"


def found(tmp_path, text, environ=None, options=None):
    path = tmp_path / "everytoken.toml"
    path.write_text(text, encoding="utf-8")
    return check(path, environ or {}, options)


def lines(problems):
    return [(problem.line, problem.setting) for problem in problems]


MISTAKES = [
    ("an unknown setting", "prot = 8000", 1, "unknown setting 'prot'", "'port'?"),
    ("of another table", "\ncontent_gap = 5", 2, "unknown setting 'content_gap'", "[policy]"),
    ("below a table", "[policy]\nport = 5", 2, "unknown setting 'port' in [policy]", "above the first"),
    ("a hyphen", "max-body = 5", 1, "unknown setting", "'max_body'?"),
    ("a text for a number", "port = 'many'", 1, "port must be a whole number", "port = 8000"),
    ("a unit of time", "drain = '2m'", 1, "drain must be a number", "drain = 120"),
    ("a unit of size", "max_body = '2 MiB'", 1, "max_body must be a whole number", "max_body = 2097152"),
    ("half a port", "port = 80.5", 1, "a whole number", ""),
    ("a word for a flag", "ids = 'off'", 1, "ids must be true or false", "ids = false"),
    ("a choice there is not", "durability = 'powr'", 1, '"process", "power"', '"power"?'),
    ("a text for a list", "origins = 'https://a'", 1, "a list of texts", 'origins = ["…"]'),
    ("an element of a list", "hosts = ['a',\n 5]", 2, "hosts[1] must be text in quotes", ""),
    ("beyond a limit", "port = 70000", 1, "port must be from 0 to 65535", ""),
    ("a number for a table", "policy = 5", 1, "policy must be a table", "[policy]"),
    ("one table for a list", "[upstream]\nurl = 'http://x'", 1, "a list of tables", "[[upstream]]"),
    ("no URL", "[[upstream]]\nname = 'a'", 1, "upstream needs 'url'", "url = "),
    (
        "a URL without scheme",
        "[[upstream]]\nurl = 'host:1/v1'",
        2,
        "not an http:// or https://",
        "http://host:1",
    ),
    ("a strategy there is not", "[policy]\nstrategies = ['reply']", 2, "strategies[0]", '"replay"?'),
    ("an upstream's policy", UPSTREAM + "[upstream.policy]\ncontent_gap = -1", 4, "content_gap must be", ""),
    ("a slip in it", UPSTREAM + "policy = { attemts = 1 }", 3, "unknown setting 'attemts'", "'attempts'?"),
    ("a table against itself", "[breaker]\npause = 30", 2, "pause must be above 0 and not above", ""),
    ("a limit", "[limits.each_key]\nrunning = -1", 2, "running must be", ""),
    ("a slip in limits", "[limits.models.m]\nrunnin = 1", 2, "unknown setting 'runnin'", "'running'?"),
    ("a price that lacks a part", "[prices.m]\ninput = 1", 1, "m needs 'output'", ""),
    ("a price below 0", "[prices.m]\ninput = -1\noutput = 1", 2, "a price must be", ""),
    ("a variable that is not set", UPSTREAM + "key_env = 'NOPE'", 3, "NOPE is not set", "key_file"),
    ("a file that is not there", UPSTREAM + "key_file = '/none'", 3, "cannot read /none", ""),
    (
        "a name for two",
        UPSTREAM + "name = 'a'\n" + UPSTREAM + "name = 'a'",
        6,
        "two upstreams are named 'a'",
        "",
    ),
    ("a short key", "api_keys = [\n'sk-0123456789abcdef',\n'short']", 3, "key 2 is too short", "openssl"),
    ("open to everybody", "host = '0.0.0.0'", 1, "anyone who can reach 0.0.0.0", "no-auth"),
    ("half of TLS", "tls_key = '/dev/null'", 1, "there is no file /dev/null", ""),
    ("a journal there is not", "journal = 'mysql://x'", 1, "is no journal", "redis://"),
    ("a journal without a file", "journal = 'sqlite:x'", 1, "names no file", "sqlite:///PATH"),
    ("a journal below a file", "journal = 'sqlite:////dev/null/j'", 1, "/dev/null is a file", ""),
    (
        "a journal in a directory's place",
        "journal = 'sqlite:////tmp'",
        1,
        "is a directory",
        "sqlite:////tmp/",
    ),
    ("an observer there is not", "observers = ['none']", 1, "no installed package", ""),
    ("a dialect there is not", "dialects = ['none']", 1, "no installed package", ""),
    ("no value", "port =\nprot = 1", 1, "not TOML: invalid value", "write a value"),
    ("no quotes", "host = localhost", 1, "not TOML", 'host = "…"'),
    ("Python's True", "ids = True", 1, "not TOML", "ids = true"),
    ("a quote too few", 'host = "a\nport = 1', 1, "not TOML", "quote"),
    ("a bracket too few", "[policy\nattempts = 1", 1, "not TOML", ""),
    ("a setting twice", "port = 1\nport = 2", 2, "not TOML: cannot overwrite", ""),
]


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"), [pytest.param(*m, id=name) for name, *m in MISTAKES]
)
def test_a_mistake_has_its_line_and_what_was_meant(text, line, message, hint, tmp_path):
    report = found(tmp_path, text)
    first = report.errors[0]
    assert (first.file, first.line) == (str(tmp_path / "everytoken.toml"), line), str(first)
    assert first.column is not None
    assert message in first.message
    assert hint in f"{first.message} {first.suggestion}"
    assert str(first).startswith(f"{first.file}:{line}:{first.column}: ")
    assert "\n" not in str(first)


MANY = """prot = 8000
port = "many"
host = localhost
drain = -1
max_body = 0
[policy]
contnet_gap = 3
attempts = 0
[[upstream]]
url = "a"
prefill = "perhaps"
[[upstream]]
key = 5
"""


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path):
    environ = {"EVERYTOKEN_GRACE": "soon", "EVERYTOKEN_API_KEYS_FILE": "/none"}
    report = found(tmp_path, MANY, environ)
    assert [line for line, _ in lines(report.errors)] == [1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13, None, None]
    assert "EVERYTOKEN_GRACE" in str(report.errors[-1]) + str(report.errors[-2])
    assert report.told().startswith("the configuration has 13 errors:\n  ")
    assert len(report.told().splitlines()) == 14


def test_settings_of_the_environment_and_of_options_are_named_by_them(tmp_path):
    report = found(
        tmp_path, "host = 'localhost'", {"EVERYTOKEN_CONTENT_GAP": "soon"}, {"port": 1, "host": "0.0.0.0"}
    )
    assert [str(error).split(": ")[0] for error in report.errors] == [
        "the environment variable EVERYTOKEN_CONTENT_GAP",
        "the option --host",
    ]


def test_what_may_be_a_secret_is_not_repeated(tmp_path):
    text = "api_keys = 'geheim'\nport = 'geheim'\njournal = 5\n[[upstream]]\nurl = 'http://x'\nkey = ['geheim']\nheaders = { a = ['geheim'] }"
    report = found(tmp_path, text, {"EVERYTOKEN_ADMIN_KEYS": "geheim"})
    assert len(report.errors) == 6
    assert "geheim" not in report.told()


def test_a_line_that_is_no_toml_hides_no_other_and_makes_up_none(tmp_path):
    report = found(tmp_path, "[[upstream]]\nname = 'a'\nurl = http://x\nprot = 1\nmodels = [a]\n")
    assert [line for line, _ in lines(report.errors)] == [3, 4, 5]
    report = found(tmp_path, "origins = [\n'a'\nport = 1\n[policy]\nattempts = 2\n")
    assert len(report.errors) == 1


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_file_that_cannot_be_read(content, tmp_path):
    path = tmp_path / "none.toml"
    if content is not None:
        path.write_bytes(content)
    [error] = check(path, {}).errors
    assert "cannot be read" in str(error)
    assert str(path) in str(error)


def test_a_configuration_that_is_right_is_what_is_served(tmp_path):
    text = f"grace = 5\n{UPSTREAM}key = 'k'\n"
    report = found(tmp_path, text)
    assert report.problems == []
    assert report.config == load(tmp_path / "everytoken.toml", {})
    assert report.sources["grace",].endswith("everytoken.toml:1")


REMOTE = "[[upstream]]\nurl = 'https://api.example/v1'\n"
WARNINGS = [
    ("no upstream", "", {}, None, "no [[upstream]]"),
    ("an unknown variable", UPSTREAM, {"EVERYTOKEN_PROT": "1"}, None, "EVERYTOKEN_PORT?"),
    ("a key over plain http", "[[upstream]]\nurl = 'http://api.example'\nkey = 'k'", {}, 2, "plain http"),
    ("no key at all", REMOTE, {}, 1, "no upstream has a key"),
    ("two that are one", f"{UPSTREAM}{UPSTREAM}name = 'b'", {}, 3, "the same as"),
    ("a model nobody has", f"default_model = 'gtp-5'\n{UPSTREAM}models = ['gpt-5']", {}, 1, "'gpt-5'?"),
    ("a limit of no model", f"{UPSTREAM}models = ['a']\n[limits.models.zz]\nrunning = 1", {}, 4, "'zz'"),
    ("two keys", f"{UPSTREAM}key = 'a'\nkey_env = 'HOME'", {"HOME": "x"}, 3, "key_env counts"),
]


@pytest.mark.parametrize(
    ("text", "environ", "line", "words"), [pytest.param(*w, id=name) for name, *w in WARNINGS]
)
def test_what_is_probably_not_meant_is_a_warning(text, environ, line, words, tmp_path):
    report = found(tmp_path, text, environ)
    assert report.errors == []
    [warning] = report.warnings
    assert warning.line == line
    assert words in str(warning)


@pytest.mark.parametrize(
    ("ends", "words"),
    [(-1, "has expired"), (3, "expires in 3 days"), (100, None)],
    ids=["over", "soon", "good"],
)
def test_a_certificate_that_ends(ends, words, tmp_path):
    until = dt.datetime.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(days=ends, hours=1)
    certificate = trustme.CA().issue_cert("llm.example", not_after=until)
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(tmp_path / "cert.pem", append=True)
    text = f"tls_cert = '{tmp_path}/cert.pem'\ntls_key = '{tmp_path}/key.pem'\n{UPSTREAM}"
    report = found(tmp_path, text)
    assert report.errors == []
    assert [words in str(warning) for warning in report.warnings] == ([True] if words else [])
    (tmp_path / "key.pem").write_text("no key")
    report = found(tmp_path, text)
    assert [error.line for error in report.errors] in ([1], [2])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_journal_that_cannot_be_written(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    [error] = found(tmp_path, f"journal = 'sqlite:///{tmp_path}/closed/j'\n{UPSTREAM}").errors
    assert "not writable" in str(error)


def test_the_first_mistake_is_explained_by_all_of_them(tmp_path):
    path = tmp_path / "everytoken.toml"
    path.write_text("prot = 1\ngrace = 'x'")
    with pytest.raises(ConfigurationError) as raised:
        load(path, {})
    assert explained(raised.value, path).message.startswith("the configuration has 2 errors")
    path.write_text("")
    assert explained(raised.value, path) is raised.value, "what is not of the configuration stays as it is"
    assert explained(raised.value, tmp_path / "none") is raised.value


def test_upstreams_and_a_journal_are_tried_when_asked_for(tmp_path):
    with ScriptedUpstream() as upstream:
        upstreams = [
            UpstreamConfig(url=upstream.base_url),
            UpstreamConfig(url="http://127.0.0.1:9/v1", name="gone"),
        ]
        config = Config(journal=f"sqlite:///{tmp_path}/j", upstream=upstreams)
        [problem] = asyncio.run(connect(config))
    assert (problem.level, problem.setting) == ("error", "upstream[1]")
    assert "'gone'" in problem.message
    [problem] = asyncio.run(connect(Config(journal="redis://127.0.0.1:9/0"), 0.5))
    assert (problem.level, problem.setting) == ("error", "journal")


ODD = ["-1", "1.5", "nan", '"x"', "[5]", "{ a = 5 }"]
TABLES = {
    "": Config,
    "[policy]": Policy,
    "[breaker]": BreakerConfig,
    "[limits.all]": Rates,
    "[limits]": LimitsConfig,
    "[prices.m]": PriceConfig,
    "[[upstream]]": UpstreamConfig,
}


@pytest.mark.parametrize("head", TABLES)
def test_whatever_a_setting_is_set_to_is_accepted_by_both_or_has_its_line(head, tmp_path):
    path = tmp_path / "everytoken.toml"
    for field in msgspec.structs.fields(TABLES[head]):
        others = [
            one for one in msgspec.structs.fields(TABLES[head]) if one.required and one.name != field.name
        ]
        more = [f"{one.name} = {'1' if one.type is float else repr('http://127.0.0.1/v1')}" for one in others]
        for odd in ODD:
            path.write_text("\n".join([head, f"{field.name} = {odd}", *more]), encoding="utf-8")
            errors = check(path, {}).errors
            assert all(error.line == 2 for error in errors), [str(error) for error in errors]
            if not errors:
                load(path, {})
            else:
                assert len({error.setting for error in errors}) == 1
