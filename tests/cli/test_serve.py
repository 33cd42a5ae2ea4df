"""`everytoken serve` as a program: its one line, its errors, its end."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from command_line import gateway, run, started, wait_for
from everytoken.sse import SSEDecoder
from everytoken.testing import DEFAULT_TEXT, Answer, ScriptedUpstream

STALLED = [("always", "silent", "middle")]
QUESTION = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
END = 10.0  # seconds until a server that was told to stop has ended at the latest
NO_UPSTREAM = "http://127.0.0.1:9/v1"


def post(url, body):
    """Ask, and return the response, open."""
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    return urllib.request.urlopen(request, timeout=END)


def test_one_line_tells_the_url_and_the_answer_comes_from_there():
    with (
        ScriptedUpstream() as upstream,
        gateway("--upstream", upstream.base_url, "--log-level", "warning") as (process, url),
    ):
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", url)
        with post(url, QUESTION | {"stream": False}) as response:
            answer = json.load(response)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=END)
    assert answer["choices"][0]["message"]["content"] == DEFAULT_TEXT
    assert (process.returncode, out, error) == (0, b"", b"")


def test_the_host_is_shown_as_a_url_has_it():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    with gateway("--host", "::1", "--upstream", NO_UPSTREAM) as (_, url):
        assert re.fullmatch(r"http://\[::1\]:\d+", url)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_readers_are_told_when_the_server_stops(number, tmp_path):
    """The reader gets an error rather than an end, the upstream is left, and the log says nothing twice."""
    file = tmp_path / "everytoken.toml"
    file.write_text("drain = 0.1", encoding="utf-8")
    with (
        ScriptedUpstream(Answer(delay=0.001), faults=STALLED) as upstream,
        gateway("--upstream", upstream.base_url, "--config", str(file)) as (process, url),
        post(url, QUESTION) as response,
    ):
        read = response.read1(65536)
        process.send_signal(number)
        read += response.read()
        out, error = process.communicate(timeout=END)
        wait_for(upstream.attempts[0].closed.is_set, END)
    *_, last = [line for line in read.decode().splitlines() if line.startswith("data: ")]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "cancelled"
    assert (process.returncode, out) == (0, b"")
    lines = error.decode().splitlines()
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_with_a_durable_journal_a_response_goes_on_after_the_next_start(number, tmp_path):
    """The reader is broken off, with neither an error nor an end, and gets exactly the rest afterwards."""
    arguments = [
        "--journal",
        f"sqlite:///{tmp_path}/journal.sqlite",
        "--drain",
        "0",
        "--log-level",
        "warning",
    ]
    with ScriptedUpstream(faults=[(0, "silent", "middle")]) as upstream:
        arguments += ["--upstream", upstream.base_url]
        with gateway(*arguments) as (process, url), post(url, QUESTION) as response:
            stream = url + response.headers["location"]
            read = b""
            while not text_of(events(read)):
                read += response.read1(65536)
            process.send_signal(number)
            with pytest.raises(http.client.IncompleteRead) as broken:
                response.read()
            before = events(read + broken.value.partial)
            out, error = process.communicate(timeout=END)
        assert (process.returncode, out, error) == (0, b"", b"")
        assert 0 < len(text_of(before)) < len(DEFAULT_TEXT)
        with gateway(*arguments, "--port", str(urlsplit(url).port)):
            request = urllib.request.Request(f"{stream}/events", headers={"last-event-id": before[-1].id})
            with urllib.request.urlopen(request, timeout=END) as response:
                *rest, done = events(response.read())
    assert done.data == "[DONE]"
    assert text_of(before) + text_of(rest) == DEFAULT_TEXT
    numbers = [int(event.id) for event in before + rest]
    assert numbers == list(range(1, len(numbers) + 1))


def events(data):
    return SSEDecoder().receive_data(data)


def text_of(chunks):
    """Return the text of events that are chunks, each of them: no error, no `[DONE]`."""
    deltas = [json.loads(event.data)["choices"][0]["delta"] for event in chunks]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("journal", ["memory", "sqlite:///{}/journal.sqlite"])
def test_the_last_responses_of_a_server_that_stops_reach_their_ends(tmp_path, journal):
    """They end together, and the server with them: none may be cut before its end has been stored and sent."""
    answer = Answer(content=["One ", "two"], delay=0.3)
    place = ("--journal", journal.format(tmp_path))
    with (
        ScriptedUpstream(answer) as upstream,
        gateway("--upstream", upstream.base_url, *place) as (process, url),
    ):
        responses = [post(url, QUESTION) for _ in range(12)]
        process.send_signal(signal.SIGTERM)
        for response in responses:
            *chunks, done = events(response.read())
            assert (text_of(chunks), done.data) == (answer.text, "[DONE]")
            response.close()
        assert process.wait(END) == 0


def test_the_key_goes_upstream_and_nowhere_else():
    with (
        ScriptedUpstream(faults=[("always", "status-401", "start")]) as upstream,
        gateway("--upstream", upstream.base_url, "--log-level", "debug", OPENAI_API_KEY="geheim") as (
            process,
            url,
        ),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(url, QUESTION)
        told = caught.value.read()
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=END)
    assert upstream.attempts[0].headers["authorization"] == "Bearer geheim"
    assert caught.value.code == 401
    assert b"geheim" not in told + out + error


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--journal", "memory", "--port", str(port), "--upstream", NO_UPSTREAM)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        f"everytoken: cannot listen on 127.0.0.1:{port}: Address already in use; --port 0 takes a free one\n"
    )


CONFIGURATIONS = [
    ("it is no TOML", "port = ", ":1:1: not TOML: invalid value; write a value behind port ="),
    ("an unknown field", "prot = 1", ":1:1: unknown setting 'prot'; did you mean 'port'?"),
    (
        "an unknown field, with its path",
        '[[upstream]]\nurl = "http://a"\nkee = "geheim"',
        ":3:1: unknown setting 'kee' in [[upstream]]; did you mean 'key'?",
    ),
    ("a wrong type", 'port = "geheim"', ":1:1: port must be a whole number; such as port = 8000"),
    ("a value that cannot be", "port = 70000", ":1:1: port must be from 0 to 65535"),
    (
        "a key that is not there",
        '[[upstream]]\nurl = "http://a"\nkey_env = "NOT_SET"',
        ":3:1: upstream 'upstream-1': the environment variable NOT_SET is not set; set it, or use key_file: export NOT_SET=…",
    ),
    (
        "a URL that is none",
        '[[upstream]]\nurl = "localhost:1"\nname = "a"',
        ":2:1: upstream 'a': 'localhost:1' is not an http:// or https:// URL; write http://localhost:1… or https://localhost:1…",
    ),
]


@pytest.mark.parametrize(
    ("text", "message"), [pytest.param(*case, id=name) for name, *case in CONFIGURATIONS]
)
def test_a_bad_configuration(text, message, tmp_path):
    file = tmp_path / "everytoken.toml"
    file.write_text(text, encoding="utf-8")
    done = run("serve", "--journal", "memory", "--port", "0", "--config", str(file))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"everytoken: the configuration has 1 error:\n  {file}{message}\n"


def test_no_configuration(tmp_path):
    done = run("serve", "--config", str(tmp_path / "none.toml"))
    assert done.returncode == 1
    assert (
        done.stderr.decode() == f"everytoken: cannot read {tmp_path}/none.toml: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--jurnal", "memory"], "No such option '--jurnal'", id="an unknown option"),
        pytest.param(["--port", "70000"], "70000 is not in the range 0<=x<=65535", id="no port"),
        pytest.param(["--connect", "soon"], "'soon' is not a valid float", id="no number"),
        pytest.param(["--connect", "-1"], "connect", id="a negative limit"),
    ],
)
def test_a_wrong_command_line(arguments, message):
    done = run("serve", "--upstream", NO_UPSTREAM, *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert "Try 'everytoken serve --help' for help." in done.stderr.decode()


def test_an_unknown_command():
    done = run("serv")
    assert done.returncode == 2
    assert "No such command 'serv'" in done.stderr.decode()


# The embedded model, where its weights are installed


def children_of(pid):
    """Return the process ids of a process's children."""
    return [
        int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    ]


def is_there(pid):
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False


@pytest.fixture
def _weights():
    pytest.importorskip("everytoken_model_smollm2")
    pytest.importorskip("xllamacpp")
    if not Path("/proc/self/task").exists():
        pytest.skip("there is no /proc here")


@pytest.mark.usefixtures("_weights")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_embedded_models_process_ends_with_the_server(number):
    with gateway() as (process, _):
        [child] = children_of(process.pid)
        process.send_signal(number)
        assert process.wait(END) == (0 if number != signal.SIGKILL else -signal.SIGKILL)
        wait_for(lambda: not is_there(child), END)


@pytest.mark.usefixtures("_weights")
def test_a_server_that_is_not_ready_yet_can_be_stopped():
    with started("serve", "--port", "0", "--journal", "memory") as process:
        wait_for(lambda: bool(children_of(process.pid)))
        [child] = children_of(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(END) == 0
        wait_for(lambda: not is_there(child), END)


def test_without_the_weights_one_line_says_how_to_get_them(tmp_path):
    """A package of their name that is none stands in for their absence."""
    hidden = tmp_path / "everytoken_model_smollm2.py"
    hidden.write_text("raise ImportError", encoding="utf-8")
    path = os.pathsep.join(part for part in (str(tmp_path), os.environ.get("PYTHONPATH")) if part)
    done = run("serve", "--port", "0", "--journal", "memory", PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        "everytoken: the embedded model's weights are not installed; "
        "in a checkout run `make setup`, or: pip install ./weights 'everytoken[embedded]'\n"
    )
