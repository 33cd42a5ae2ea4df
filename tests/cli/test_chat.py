"""`everytoken chat` as a program: in a pipe, on a terminal, at any server and at the gateway."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import click.testing
import pytest

from command_line import EVERYTOKEN, environment, gateway, run, started, wait_for
from everytoken.cli import address, commands
from everytoken.testing import DEFAULT_TEXT, Answer, Head, ScriptedUpstream, Send, Stall, Status
from gateway_serving import event
from terminal import Terminal

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
CURSOR = "▊"
BEGINNING = DEFAULT_TEXT[:20]
STALLED = [("always", "silent", "middle")]
MOMENT = 0.05
END = 30.0  # seconds that a test waits for what does not come
WITHIN = 1.0  # seconds in which a stopped answer must have ended at the model's server


def asked(upstream, attempt=0):
    """Return the messages of one request, short."""
    return [(message["role"], message["content"]) for message in upstream.attempts[attempt].json["messages"]]


# Into a pipe


def test_a_pipe_gets_the_answer_and_nothing_else():
    with ScriptedUpstream(Answer(reasoning="Hm.")) as upstream:
        done = run("chat", "hi", "--base-url", upstream.base_url)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, DEFAULT_TEXT, b"")


def test_each_piece_is_out_when_it_comes():
    """The upstream sends a piece when the reader has the one before, and stalls after half of the answer."""
    turns = threading.Semaphore(2)  # the chunk with the role, of which nothing is seen, and the first piece

    async def until_read(_: float) -> None:
        await asyncio.to_thread(turns.acquire, timeout=END)

    with (
        ScriptedUpstream(Answer(delay=1), faults=STALLED, sleep=until_read) as upstream,
        started("chat", "hi", "--base-url", upstream.base_url) as process,
    ):
        expected = [token.encode() for token in upstream.answer.tokens[: len(upstream.answer.tokens) // 2]]
        arrivals = []
        while len(arrivals) < len(expected):
            arrivals.append(os.read(process.stdout.fileno(), 65536))
            turns.release()
        assert arrivals == expected


@pytest.mark.parametrize(
    ("arguments", "stdin", "question"),
    [
        pytest.param(["hi there"], b"", "hi there", id="the argument"),
        pytest.param([], "über\nalles\n", "über\nalles", id="standard input"),
        pytest.param(
            ["Explain:"], b"\xef\xbb\xbfa\r\nb\xff\n", "Explain:\n\na\r\nb\ufffd", id="both, of any bytes"
        ),
    ],
)
def test_what_is_asked(arguments, stdin, question):
    with ScriptedUpstream("ok") as upstream:
        assert run("chat", *arguments, stdin=stdin, EVERYTOKEN_BASE_URL=upstream.base_url).returncode == 0
    assert asked(upstream) == [("user", question)]
    assert upstream.attempts[0].json == {
        "model": "scripted",
        "messages": [{"role": "user", "content": question}],
        "stream": True,
    }


def test_files_go_with_the_question(tmp_path):
    (tmp_path / "a.txt").write_text("alpha\n")
    (tmp_path / "dot.png").write_bytes(PNG)
    files = ["-f", str(tmp_path / "a.txt"), "-f", "-", "-f", str(tmp_path / "dot.png")]
    with ScriptedUpstream("ok") as upstream:
        done = run("chat", "look", *files, stdin="beta", EVERYTOKEN_BASE_URL=upstream.base_url)
    assert (done.returncode, done.stderr) == (0, b"")
    [(_, [text, image])] = asked(upstream)
    assert text["text"] == (f"look\n\n{tmp_path}/a.txt:\n```\nalpha\n```\n\nstandard input:\n```\nbeta\n```")
    assert image["image_url"]["url"].startswith("data:image/png;base64,iVBORw0KGgo")


def test_a_file_that_cannot_be_sent(tmp_path):
    (tmp_path / "x").write_bytes(b"\0\1")
    for name, why in (("nothing", "No such file or directory"), ("x", "neither UTF-8 text nor")):
        done = run("chat", "look", "-f", str(tmp_path / name))
        assert done.returncode == 2
        assert why in done.stderr.decode()


def test_an_answer_of_a_shape():
    with ScriptedUpstream('{"name": "x"}') as upstream:
        url = upstream.base_url
        done = run("chat", "who", "--schema", "name, age int", "--base-url", url)
        assert (done.returncode, done.stdout, done.stderr) == (0, b'{"name": "x"}', b"")
        told = upstream.attempts[0].json["response_format"]
    assert told["type"] == "json_schema"
    assert told["json_schema"]["schema"]["properties"]["age"] == {"type": "integer"}
    with ScriptedUpstream("no") as upstream:
        done = run("chat", "who", "--schema", '{"type": "object"}', "--base-url", upstream.base_url)
    assert b"the answer is not JSON" in done.stderr


def test_usage_is_told_on_standard_error():
    with ScriptedUpstream("one two three") as upstream:
        done = run("chat", "hi", "--usage", "--base-url", upstream.base_url)
        assert upstream.attempts[0].json["stream_options"] == {"include_usage": True}
    assert done.stdout == b"one two three"
    assert re.fullmatch(r"\d+ tokens in, \d+ out · first token after .* s\n", done.stderr.decode())


@pytest.mark.parametrize(
    ("faults", "status", "outcome", "code"),
    [
        ([], 0, "completed", None),
        ([("always", "clean-end", "middle")], 1, "interrupted", "upstream-truncated"),
        ([("always", "status-401", "start")], 1, "failed", "upstream-status"),
    ],
)
def test_everything_about_an_answer_is_one_json_object(faults, status, outcome, code):
    with ScriptedUpstream(Answer("one two", reasoning="Hm."), faults=faults) as upstream:
        done = run("chat", "hi", "--json", "-m", "m", "--base-url", upstream.base_url)
    told = json.loads(done.stdout)
    assert (done.returncode, told["outcome"], (told["error"] or {}).get("code")) == (status, outcome, code)
    if outcome == "completed":
        assert (told["answer"], told["reasoning"], told["finish_reason"]) == ("one two", "Hm.", "stop")
        assert told["usage"]["completion_tokens"] > 0
        assert told["recovery"] == {"resumed": 0}
        assert told["times"]["first_token"] <= told["times"]["total"]


def test_what_is_asked_is_kept_and_continued(tmp_path):
    with ScriptedUpstream("ok") as upstream:
        env = {"XDG_DATA_HOME": str(tmp_path), "EVERYTOKEN_BASE_URL": upstream.base_url}
        assert (
            run("chat", "-c", "x", **env).stderr == b"everytoken: there is no conversation to continue yet\n"
        )
        run("chat", "one", "-s", "Be brief.", "-m", "m", **env)
        run("chat", "not kept", "--no-save", **env)
        assert run("chat", "-c", "two", **env).returncode == 0
        assert asked(upstream) == [("system", "Be brief."), ("user", "one")]
        assert asked(upstream, -1) == [*asked(upstream), ("assistant", "ok"), ("user", "two")]
        assert upstream.attempts[-1].json["model"] == "m"
        done = run("chat", "--conversation", "work", "three", **env)
        assert done.stderr == b"note: a new conversation, 'work'\n"
        assert run("chat", "--conversation", "work", "four", **env).stderr == b""
        assert [text for _, text in asked(upstream, -1)] == ["three", "ok", "four"]
        done = run("chat", "--conversation", "20200101-000000-abcdef", "x", **env)
        assert done.returncode == 1
        assert b"there is no conversation 20200101" in done.stderr


def test_a_conversation_that_cannot_be_kept_costs_no_answer(tmp_path):
    (tmp_path / "everytoken").write_text("in the way")
    with ScriptedUpstream("ok") as upstream:
        done = run("chat", "hi", XDG_DATA_HOME=str(tmp_path), EVERYTOKEN_BASE_URL=upstream.base_url)
    assert (done.returncode, done.stdout) == (0, b"ok")
    assert done.stderr.startswith(b"note: this conversation is not kept: ")
    assert done.stderr.count(b"\n") == 1


def test_options_reach_the_server():
    with ScriptedUpstream("ok") as upstream:
        options = [
            "--model",
            "m",
            "--system",
            "Be brief.",
            "--seed",
            "7",
            "--temperature",
            "0.5",
            "--max-tokens",
            "9",
        ]
        base = upstream.base_url.removesuffix("/v1")
        assert run("chat", "hi", *options, OPENAI_BASE_URL=base, OPENAI_API_KEY="geheim").returncode == 0
    [request] = upstream.requests
    assert asked(upstream) == [("system", "Be brief."), ("user", "hi")]
    body = {name: value for name, value in request.json.items() if name not in {"messages", "stream"}}
    assert body == {"model": "m", "seed": 7, "temperature": 0.5, "max_tokens": 9}
    assert request.headers["authorization"] == "Bearer geheim"


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("clean-end", "interrupted: the stream ended without a finish_reason (upstream-truncated)\n"),
        ("error-object", "interrupted: "),
    ],
)
def test_an_interrupted_answer_is_told(fault, line):
    with ScriptedUpstream(faults=[("always", fault, "middle")]) as upstream:
        done = run("chat", "hi", "--base-url", upstream.base_url)
    assert done.returncode == 1
    assert BEGINNING.encode() in done.stdout
    assert DEFAULT_TEXT.encode().startswith(done.stdout)
    assert done.stderr.decode().startswith(line)
    assert done.stderr.count(b"\n") == 1


def test_a_refused_key_is_not_told():
    refusal = Status(401, body=b'{"error":{"message":"Incorrect\\u001b[2J API key provided: gehe***"}}')
    with ScriptedUpstream([refusal]) as upstream:
        done = run("chat", "hi", "--model", "m", "--base-url", upstream.base_url, EVERYTOKEN_API_KEY="geheim")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        "everytoken: the server answered 401 Unauthorized: Incorrect␛[2J API key provided: gehe***; "
        "the key is taken from EVERYTOKEN_API_KEY or OPENAI_API_KEY\n"
    )


def test_an_answer_cut_by_its_limit_is_noted():
    with ScriptedUpstream() as upstream:
        done = run("chat", "hi", "--max-tokens", "3", "--base-url", upstream.base_url)
    assert (done.returncode, done.stderr) == (0, b"note: the answer has reached its length limit\n")
    assert done.stdout.decode() == "".join(Answer().tokens[:3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "no question: PROMPT and standard input are empty", id="no question"),
        pytest.param(
            ["hi", "--base-url", "localhost:8000"], "'localhost:8000' is not an http:// or", id="no URL"
        ),
        pytest.param(["hi", "--seed", "x"], "'x' is not a valid integer", id="no number"),
        pytest.param(["hi", "--sede", "1"], "No such option '--sede'", id="an unknown option"),
    ],
)
def test_a_wrong_command_line(arguments, message):
    done = run("chat", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert "Try 'everytoken chat --help' for help." in done.stderr.decode()


@pytest.fixture
def closed_port():
    """A port at which nobody listens, and nobody else can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_nobody_there(closed_port):
    url = f"http://127.0.0.1:{closed_port}/v1"
    done = run("chat", "hi", "--base-url", url)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"everytoken: cannot connect to {url}: Connection refused\n"


@pytest.mark.blocking_allowed("the command runs in this process")
def test_nobody_there_by_default(closed_port, monkeypatch):
    for name in ("EVERYTOKEN_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(address, "DEFAULT_URL", f"http://127.0.0.1:{closed_port}/v1")
    done = click.testing.CliRunner().invoke(commands, ["chat", "hi"])
    assert done.exit_code == 1
    assert done.stderr == (
        f"everytoken: no server at http://127.0.0.1:{closed_port}/v1; start one with: everytoken serve\n"
    )


def test_a_full_disk_is_told():
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("there is no /dev/full here")
    with ScriptedUpstream() as upstream, device.open("wb") as full:
        done = subprocess.run(
            [EVERYTOKEN, "chat", "hi", "--base-url", upstream.base_url],
            env=environment(), stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == b"everytoken: cannot write the answer: No space left on device\n"


# Stopping


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_answer_upstream(number, status):
    with (
        ScriptedUpstream(faults=STALLED) as upstream,
        started("chat", "hi", "--base-url", upstream.base_url) as process,
    ):
        begun = process.stdout.read(len(BEGINNING))
        process.send_signal(number)
        out, error = process.communicate(timeout=WITHIN * 5)
        wait_for(upstream.attempts[0].closed.is_set, WITHIN)
    assert (process.returncode, error) == (status, b"")
    assert DEFAULT_TEXT.encode().startswith(begun + out)


def test_a_signal_before_the_answer_begins():
    with (
        ScriptedUpstream(faults=[("always", "silent-after-accept", "start")]) as upstream,
        started("chat", "hi", "--model", "m", "--base-url", upstream.base_url) as process,
    ):
        wait_for(lambda: bool(upstream.attempts))
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=WITHIN * 5) == (b"", b"")
        wait_for(upstream.attempts[0].closed.is_set, WITHIN)
    assert process.returncode == 130


def test_a_signal_while_nobody_reads():
    """The pipe is full, so the program waits in the middle of a write."""
    with (
        ScriptedUpstream(Answer.of_chunks(25_000)) as upstream,
        started("chat", "hi", "--base-url", upstream.base_url) as process,
    ):
        before = -1
        process.stdout.read(1)

        def stuck():
            nonlocal before
            before, now = now_written(process), before
            return before == now

        wait_for(stuck)
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN * 5) == 130


def now_written(process):
    """Return how many bytes wait in the pipe of standard output, after a moment."""
    time.sleep(MOMENT)
    return struct.unpack("i", fcntl.ioctl(process.stdout, termios.FIONREAD, b"\0" * 4))[0]


def test_a_reader_that_goes_away_ends_the_answer_quietly():
    with (
        ScriptedUpstream(Answer(delay=0.01)) as upstream,
        started("chat", "hi", "--base-url", upstream.base_url) as process,
    ):
        process.stdout.read(5)
        process.stdout.close()
        assert process.wait(WITHIN * 5) == 128 + signal.SIGPIPE
        wait_for(upstream.attempts[0].closed.is_set, WITHIN)
        assert not upstream.attempts[0].answered.is_set()
        assert process.stderr.read() == b""


# At the gateway


@pytest.fixture(scope="module")
def slow_gateway():
    """A gateway before an upstream that takes its time."""
    with (
        ScriptedUpstream(Answer(delay=0.01)) as upstream,
        gateway("--upstream", upstream.base_url) as (_, url),
    ):
        yield upstream, url


def test_the_gateways_answer_is_the_same(slow_gateway):
    _, url = slow_gateway
    done = run("chat", "hi", "--base-url", f"{url}/v1")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, DEFAULT_TEXT, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_answer_behind_the_gateway(number):
    """Leaving would not: the gateway goes on for who comes back."""
    unending = [Head(), Send(b"".join(map(event, ["Hello", " you", " there."]))), Stall()]
    with (
        ScriptedUpstream(unending) as upstream,
        gateway("--upstream", upstream.base_url) as (_, url),
        started("chat", "hi", "--base-url", url) as process,
    ):
        process.stdout.read(5)
        process.send_signal(number)
        process.communicate(timeout=WITHIN * 5)
        [attempt] = upstream.attempts
        wait_for(attempt.closed.is_set, WITHIN)
    assert process.returncode == 128 + number


def test_a_connection_that_breaks_is_resumed(slow_gateway):
    upstream, url = slow_gateway
    count = len(upstream.attempts)
    with cutting_proxy(url, cut_after=10_000) as (proxied, connections):
        done = run("chat", "hi", "--model", "m", "--base-url", proxied)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, DEFAULT_TEXT, b"")
    assert len(connections) > 1
    assert len(upstream.attempts) == count + 1


@contextmanager
def cutting_proxy(url, *, cut_after):
    """Stand before `url` and break every connection after so many bytes of the answer."""
    host, port = url.removeprefix("http://").split(":")
    connections = []

    def serve(client):
        with suppress(OSError), client, socket.create_connection((host, int(port))) as server:
            left = cut_after
            while left > 0:
                ready, _, _ = select.select([client, server], [], [])
                for side in ready:
                    data = side.recv(500)
                    if not data:
                        return
                    (server if side is client else client).sendall(data)
                    left -= len(data) if side is server else 0

    def accept():
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            connections.append(threading.Thread(target=serve, args=(client,)))
            connections[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", connections
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()
    for connection in connections:
        connection.join()


# On a terminal

MARKDOWN = "Some **bold** text.\n\n- one\n- two\n"


def on_terminal(upstream, *arguments, **env):
    command = [EVERYTOKEN, "chat", "--base-url", upstream.base_url, *arguments]
    return Terminal(command, environment(**{"TERM": "xterm-256color", **env}))


def test_a_terminal_shows_markdown_and_a_cursor():
    seen, chunks = threading.Event(), itertools.count()

    async def until_seen(_: float) -> None:
        if next(chunks) > 5:  # some of the text has been sent
            await asyncio.to_thread(seen.wait, WITHIN)

    with (
        ScriptedUpstream(Answer(MARKDOWN, reasoning="Hm.", delay=0.01), sleep=until_seen) as upstream,
        on_terminal(upstream, "hi") as terminal,
    ):
        terminal.read_until(lambda: "Some" in terminal.screen.text and CURSOR in terminal.screen.text)
        assert terminal.screen.cursor_hidden
        seen.set()
        assert terminal.read_to_end() == 0
        assert terminal.screen.text == "Hm.\n\nSome bold text.\n\n • one\n • two"
        assert not terminal.screen.cursor_hidden
        assert b"\x1b[1mbold\x1b[0m" in terminal.raw
        assert b"\x1b[2mHm." in terminal.raw
        assert terminal.screen.column == 0, "what comes next begins a line"


def test_a_terminal_says_what_is_waited_for():
    with (
        ScriptedUpstream(faults=[("always", "silent-after-head", "start")]) as upstream,
        on_terminal(upstream, "hi") as terminal,
    ):

        def waited() -> int:
            found = re.search(r"waiting for the first token · (\d+) s", terminal.screen.text)
            return int(found[1]) if found else 0

        terminal.read_until(waited)
        first = waited()  # a busy machine may skip a second
        terminal.read_until(lambda: waited() > first)
        terminal.type("not\r shown\x03")
        assert terminal.read_to_end() == 130
        assert terminal.screen.text == ""


def test_thinking_in_tags_is_dim_and_stands_above_the_answer():
    answer = "<think>\nHm.\n</think>\n\nYes."
    with ScriptedUpstream(answer) as upstream, on_terminal(upstream, "hi") as terminal:
        assert terminal.read_to_end() == 0
        assert terminal.screen.text == "Hm.\n\nYes."
        assert b"\x1b[2mHm." in terminal.raw


def test_a_terminal_without_colours():
    with ScriptedUpstream("Some `code`.") as upstream, on_terminal(upstream, "hi", NO_COLOR="1") as terminal:
        assert terminal.read_to_end() == 0
        assert b"\x1b[1mcode\x1b[0m" in terminal.raw


def test_a_terminal_that_cannot_move_its_cursor():
    with ScriptedUpstream("**a**\x1b[2J") as upstream, on_terminal(upstream, "hi", TERM="dumb") as terminal:
        assert terminal.read_to_end() == 0
        assert terminal.raw.decode() == "**a**␛[2J\r\n"


def test_ctrl_c_keeps_what_has_come():
    with (
        ScriptedUpstream(Answer(MARKDOWN), faults=STALLED) as upstream,
        on_terminal(upstream, "hi") as terminal,
    ):
        terminal.read_until(lambda: "Some bold" in terminal.screen.text)
        terminal.type("\x03")
        assert terminal.read_to_end() == 130
        wait_for(upstream.attempts[0].closed.is_set, WITHIN)
        assert terminal.screen.text.startswith("Some bold")
        assert CURSOR not in terminal.screen.text
        assert not terminal.screen.cursor_hidden


@pytest.mark.parametrize("without", ["cursor", "prompt_toolkit"])
def test_a_conversation_where_there_is_no_prompt_to_edit(without, tmp_path):
    env = {"TERM": "dumb"}
    if without == "prompt_toolkit":
        (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['prompt_toolkit'] = None")
        env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    with (
        ScriptedUpstream("Yes, of course.") as upstream,
        on_terminal(upstream, "--no-save", **env) as terminal,
    ):
        screen = terminal.screen
        terminal.read_until(lambda: screen.text.endswith("ends the conversation.\n>"))
        terminal.type("one\r")
        terminal.read_until(lambda: screen.text.endswith("Yes, of course.\n>"))
        terminal.type("/modle\r")
        terminal.read_until(lambda: screen.text.endswith("did you mean /model?\n>"))
        terminal.type("\x04")
        assert terminal.read_to_end() == 0
    assert asked(upstream) == [("user", "one")]


def test_chat_does_not_load_a_server():
    code = "import sys, everytoken.cli, everytoken.cli.chat; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"uvicorn", "uvloop", "rich", "everytoken.gateway", "budoux", "prompt_toolkit"} & set(loaded)
    assert "everytoken.cli.asking" in loaded
