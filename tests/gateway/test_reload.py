"""SIGHUP: the configuration changes, and no stream is dropped."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request

import msgspec
import pytest

from command_line import gateway, wait_for
from everytoken.errors import ConfigurationError
from everytoken.gateway import Config, UpstreamConfig
from everytoken.gateway.reload import FIXED, at_next_start, reload
from everytoken.recovery import Policy
from everytoken.testing import DEFAULT_TEXT, Answer, ScriptedUpstream
from gateway_serving import ManualUpstream, limit, over

KEYS = ["the-first-key-of-a-caller", "the-second-key-of-a-caller"]
CHAT = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


def ask(url, key):
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    return urllib.request.urlopen(
        urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(CHAT).encode(), headers), timeout=20
    )


def text_of(body):
    lines = [line[6:] for line in body.decode().split("\n") if line.startswith("data: {")]
    return "".join(json.loads(line)["choices"][0]["delta"].get("content") or "" for line in lines)


def logged(process, words):
    """Read the log until a line has `words`."""
    while True:
        line = process.stderr.readline().decode()
        assert line, "the log has ended"
        if words in line:
            return line


def write(path, key, upstream, **more):
    lines = [f"{name} = {json.dumps(value)}" for name, value in more.items()]
    path.write_text(
        "\n".join(
            [
                f"api_keys = [{json.dumps(key)}]",
                *lines,
                "[[upstream]]",
                f'url = "{upstream.base_url}"',
                'name = "u"',
            ]
        )
    )


def test_keys_and_upstreams_change_and_a_running_stream_goes_on(tmp_path):
    file = tmp_path / "everytoken.toml"
    with ScriptedUpstream(Answer(delay=0.01)) as old, ScriptedUpstream() as new:
        write(file, KEYS[0], old)
        with gateway("--config", str(file)) as (process, url), ask(url, KEYS[0]) as running:
            read = running.read1(65536)
            write(file, KEYS[1], new, retention=5.0)
            process.send_signal(signal.SIGHUP)
            assert "retention" in logged(process, "was reloaded"), "what cannot change says so"
            with pytest.raises(urllib.error.HTTPError, match="401"):
                ask(url, KEYS[0])
            with ask(url, KEYS[1]) as other:
                assert text_of(other.read()) == DEFAULT_TEXT
            assert len(new.attempts) == 1
            whole = read + running.read()
            assert text_of(whole) == DEFAULT_TEXT
            assert whole.endswith(b"data: [DONE]\n\n")
            wait_for(old.attempts[0].closed.is_set)


@pytest.mark.parametrize(
    "text", ["this is not TOML", "grace = 'x'", 'api_keys = ["short"]', "[[upstream]]\nurl = 'x'"]
)
def test_a_configuration_with_a_mistake_changes_nothing(tmp_path, text):
    file = tmp_path / "everytoken.toml"
    with ScriptedUpstream() as upstream:
        write(file, KEYS[0], upstream)
        with gateway("--config", str(file)) as (process, url):
            file.write_text(text)
            process.send_signal(signal.SIGHUP)
            logged(process, "stays as it was")
            with ask(url, KEYS[0]) as answer:
                assert text_of(answer.read()) == DEFAULT_TEXT


def test_without_a_file_there_is_nothing_to_read_again():
    with gateway("--upstream", "http://127.0.0.1:9/v1") as (process, url):
        process.send_signal(signal.SIGHUP)
        logged(process, "no configuration file")
        assert urllib.request.urlopen(f"{url}/healthz", timeout=10).status == 200


async def test_a_reload_that_fails_leaves_nothing_started():
    class Counted(ManualUpstream):
        running = 0

        async def start(self):
            Counted.running += 1

        async def stop(self):
            Counted.running -= 1

    class Broken(ManualUpstream):
        async def start(self):
            raise ConfigurationError("it cannot start")

        async def stop(self):
            pass

    gateway_ = over(ManualUpstream())
    new = Config(
        upstream=[UpstreamConfig(name="a", url="http://a"), UpstreamConfig(name="b", url="http://b")]
    )
    async with limit(), gateway_:
        before = gateway_.config
        with pytest.raises(ConfigurationError):
            await reload(gateway_, new, lambda one: Counted() if one.name == "a" else Broken())
        assert Counted.running == 0
        assert gateway_.config is before


def test_secrets_in_files_are_read_again(tmp_path):
    file, keys, key = (tmp_path / name for name in ("everytoken.toml", "keys", "key"))
    with ScriptedUpstream() as upstream:
        file.write_text(f'[[upstream]]\nurl = "{upstream.base_url}"\nname = "u"\nkey_file = "{key}"\n')
        keys.write_text(f"{KEYS[0]}\n")
        key.write_text("sk-first\n")
        with gateway("--config", str(file), EVERYTOKEN_API_KEYS_FILE=str(keys)) as (process, url):
            with ask(url, KEYS[0]) as answer:
                answer.read()
            keys.write_text(f"{KEYS[1]}\n")
            key.write_text("sk-second\n")
            process.send_signal(signal.SIGHUP)
            logged(process, "was reloaded")
            with ask(url, KEYS[1]) as answer:
                assert text_of(answer.read()) == DEFAULT_TEXT
    assert [one.headers["authorization"] for one in upstream.attempts] == [
        "Bearer sk-first",
        "Bearer sk-second",
    ]


async def test_a_reload_says_what_has_changed():
    upstream = UpstreamConfig(name="a", url="http://a")
    gateway_ = over(ManualUpstream())
    async with limit(), gateway_:
        old = gateway_.config
        new = msgspec.structs.replace(
            old, grace=1.0, port=1, policy=Policy(attempts=7), upstream=[*old.upstream, upstream]
        )
        changes = await reload(gateway_, new, lambda _: ManualUpstream())
        assert changes.changed == ["grace", "policy.attempts", "upstream.a"]
        assert changes.waiting == ["port"]
        changes = await reload(gateway_, gateway_.config, lambda _: ManualUpstream())
        assert (changes.changed, changes.waiting) == ([], [])


def test_what_cannot_change_while_running_is_named_and_kept():
    old, new = Config(), Config(port=1, grace=2.0, journal="memory")
    kept, waiting = at_next_start(old, new)
    assert sorted(waiting) == ["journal", "port"]
    assert (kept.port, kept.journal, kept.grace) == (old.port, old.journal, 2.0)
    assert set(FIXED) <= set(Config.__struct_fields__)
