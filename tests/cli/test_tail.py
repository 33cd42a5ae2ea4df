"""`everytoken tail` as a program, at the gateway: from any offset, live, through its death, to every kind of end."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import urllib.request
from contextlib import ExitStack
from itertools import pairwise
from urllib.parse import urljoin, urlsplit

import pytest

from command_line import EVERYTOKEN, environment, gateway, run, started, wait_for
from everytoken.cli import main
from everytoken.sse import SSEDecoder
from everytoken.testing import DEFAULT_TEXT, Answer, ScriptedUpstream
from terminal import Terminal

pytestmark = pytest.mark.blocking_allowed(
    "the command runs in this process, and blocks its own event loop only"
)

CURSOR = "▊"
WHOLE = DEFAULT_TEXT.encode()
BEGINNING = WHOLE[:20]
STALLED = [("always", "silent", "middle")]
END = 10.0  # seconds until something that was told to end has ended at the latest


# Of each model: what breaks.
MODELS = {"whole": [], "stalled": STALLED, "cut": [("always", "clean-end", "middle")],
          "two": [("always", "several-choices", "start")]}  # fmt: skip


def post(url, body, **headers):
    request = urllib.request.Request(url, body, {"content-type": "application/json", **headers})
    return urllib.request.urlopen(request, timeout=END)


def send(method, url, body=None, **headers):
    request = urllib.request.Request(url, body, headers, method=method)
    urllib.request.urlopen(request, timeout=END).close()


def asked(url, model="whole", **settings):
    """Ask at the gateway and leave; return the response's URL. It goes on."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}], **settings}
    with post(f"{url}/v1/chat/completions", json.dumps(body).encode()) as response:
        return url + response.headers["location"]


def events_of(stream):
    """Return the offset behind each record of a response, once it has ended, and the text up to there."""
    with urllib.request.urlopen(f"{stream}/events", timeout=END) as response:
        events = SSEDecoder().receive_data(response.read())
    texts, text = [], ""
    for event in events[:-1]:
        for choice in json.loads(event.data)["choices"]:
            text += choice["delta"].get("content") or ""
        texts.append((event.id, text))
    return texts


@pytest.fixture
def tail(monkeypatch, capfdbinary):
    """Run `everytoken tail` in this process, which is quicker than to start it; see the status, the output, the errors."""

    def run_here(*arguments):
        monkeypatch.setattr("sys.argv", ["everytoken", "tail", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        out, error = capfdbinary.readouterr()
        return caught.value.code, out, error.decode()

    return run_here


@pytest.fixture(scope="module")
def upstreams():
    with ExitStack() as stack:
        yield {name: stack.enter_context(ScriptedUpstream(faults=faults)) for name, faults in MODELS.items()}


@pytest.fixture(scope="module")
def url(upstreams, tmp_path_factory):
    """The URL of a gateway that asks each upstream once."""
    file = tmp_path_factory.mktemp("gateway") / "everytoken.toml"
    table = '[[upstream]]\nurl = "{}"\nmodels = ["{}"]\npolicy = {{attempts = 1}}\n'
    file.write_text(
        "".join(table.format(upstream.base_url, name) for name, upstream in upstreams.items()),
        encoding="utf-8",
    )
    with gateway("--config", str(file), "--log-level", "error") as (_, url):
        yield url


@pytest.fixture(scope="module")
def finished(url):
    """The URL of a response that has ended; its last record has no more than the usage."""
    stream = asked(url, stream_options={"include_usage": True})
    assert events_of(stream)[-1][1] == DEFAULT_TEXT
    return stream


# What is meant, and from where


@pytest.mark.parametrize(
    ("form", "base"),
    [
        pytest.param("{server}{path}", "http://127.0.0.1:9", id="the URL, whatever the base URL is"),
        pytest.param("{server}{path}/events", "http://127.0.0.1:9", id="the URL of its events"),
        pytest.param("{path}", "{server}/v1", id="the path, as Location gives it"),
        pytest.param("{id}", "{server}", id="the ID"),
    ],
)
def test_a_response_is_its_text(form, base, finished, tail):
    parts = urlsplit(finished)
    server, path = f"http://{parts.netloc}", parts.path
    names = {"server": server, "path": path, "id": path.removeprefix("/v1/stream/")}
    assert tail(form.format(**names), "--base-url", base.format(**names)) == (0, WHOLE, "")


@pytest.mark.parametrize("which", [0.5, 1], ids=["the middle", "the last word"])
def test_an_offset_leads_to_exactly_the_rest(which, finished, tail):
    events = events_of(finished)
    words = [event for event, (_, text) in pairwise(events) if text != event[1]]
    offset, before = words[int(which * (len(words) - 1))]
    status, out, error = tail(finished, "--offset", offset)
    assert (status, before.encode() + out, error) == (0, WHOLE, "")
    assert before
    assert out


def test_an_offset_behind_the_finish_reason(finished, tail):
    """What ended the answer is not read, and it is complete."""
    offset, _ = events_of(finished)[-2]
    assert tail(finished, "--offset", offset) == (0, b"", "")


@pytest.mark.parametrize("offset", ["now", "the last"])
def test_nothing_is_left(offset, finished, tail):
    note = "note: the stream has ended; there is nothing after this offset\n"
    assert tail(finished, "--offset", events_of(finished)[-1][0] if offset != "now" else offset) == (
        0,
        b"",
        note,
    )


@pytest.mark.parametrize(
    ("path", "offset", "line"),
    [
        ("/v1/stream/none", "-1", "the server answered 404 Not Found: there is no such stream"),
        ("", "x", "the server answered 400 Bad Request: not a valid offset"),
        ("/", "-1", "the response has no Stream-Next-Offset: this is not a stream"),
    ],
    ids=["no such stream", "no offset", "not a stream"],
)
def test_what_cannot_be_read(path, offset, line, finished, tail):
    stream = urljoin(finished, path)
    assert tail(stream, "--offset", offset) == (1, b"", f"everytoken: {line}\n")


@pytest.mark.parametrize("stream", ["localhost:8000/v1/stream/x", "", "ftp://host/v1/stream/x"])
def test_a_wrong_command_line(stream, tail):
    status, out, error = tail(stream)
    assert (status, out) == (2, b"")
    assert f"{stream!r} is neither the URL nor the ID of a stream" in error


# Live


def test_two_readers_while_it_is_written():
    """One has read it from the start, the other comes in the middle and asks for what is yet to come."""
    go_on = threading.Event()
    chunks = iter(range(10))

    async def pause(_):
        if next(chunks, None) is None:
            await asyncio.to_thread(go_on.wait, END)

    with (
        ScriptedUpstream(Answer(delay=1), sleep=pause) as upstream,
        gateway("--upstream", upstream.base_url) as (_, url),
    ):
        stream = asked(url)
        with started("tail", stream) as whole, on_terminal(stream, "--offset", "now") as rest:
            begun = read(whole, BEGINNING)
            rest.read_until(lambda: CURSOR in rest.screen.text)
            go_on.set()
            assert rest.read_to_end() == 0
            out, error = whole.communicate(timeout=END)
    assert (whole.returncode, begun + out, error) == (0, WHOLE, b"")
    assert rest.screen.text.endswith("Done. 👍🏽")
    assert BEGINNING.decode() not in rest.screen.text


def test_of_several_choices_the_first_is_shown(url, tail):
    assert tail(asked(url, "two", n=2)) == (0, WHOLE, "")


def test_through_the_death_of_the_gateway(tmp_path):
    """The reader of a response and that of another stream come back to the gateway's next life."""
    arguments = ["--journal", f"sqlite:///{tmp_path}/journal.sqlite", "--log-level", "error"]
    with ScriptedUpstream(faults=[(0, "silent", "middle")]) as upstream, ExitStack() as stack:
        arguments += ["--upstream", upstream.base_url]
        process, url = stack.enter_context(gateway(*arguments))
        send("PUT", f"{url}/v1/stream/notes", b"[1, 2]", **{"content-type": "application/json"})
        response = stack.enter_context(started("tail", asked(url)))
        notes = stack.enter_context(started("tail", f"{url}/v1/stream/notes"))
        text, lines = read(response, BEGINNING), read(notes, b"1\n2\n")
        process.kill()
        process.wait()
        stack.enter_context(gateway(*arguments, "--port", str(urlsplit(url).port)))
        post(f"{url}/v1/stream/notes", b'{"three": 3}', **{"stream-closed": "true"}).close()
        rest, error = response.communicate(timeout=END)
        assert (response.returncode, text + rest, error) == (0, WHOLE, b"")
        rest, error = notes.communicate(timeout=END)
        assert (notes.returncode, lines + rest, error) == (0, b'1\n2\n{"three": 3}\n', b"")
    assert len(upstream.attempts) == 2


def read(process, expected):
    """Read so many bytes of the output, which come in pieces."""
    data = b""
    while len(data) < len(expected):
        piece = process.stdout.read(len(expected) - len(data))
        assert piece, process.stderr.read()
        data += piece
    assert data == expected
    return data


def test_a_stream_that_is_deleted_is_interrupted(url):
    stream = f"{url}/v1/stream/deleted"
    send("PUT", stream, b"1", **{"content-type": "application/json"})
    with started("tail", stream) as reader:
        read(reader, b"1\n")
        send("DELETE", stream)
        out, error = reader.communicate(timeout=END)
    assert (reader.returncode, out) == (1, b"")
    assert error.startswith(b"interrupted: the server answered 404 Not Found: ")
    assert error.count(b"\n") == 1


def test_a_response_that_is_no_longer_kept(tmp_path):
    """One byte is room for the response that ended last only."""
    config = tmp_path / "everytoken.toml"
    with ScriptedUpstream() as upstream:
        config.write_text(f'max_journal = 1\n[[upstream]]\nurl = "{upstream.base_url}"\n', encoding="utf-8")
        with gateway("--config", str(config), "--log-level", "error") as (_, url):
            first = asked(url)
            events_of(first)  # has ended before the second one does
            assert events_of(asked(url))[-1][1] == DEFAULT_TEXT
            gone = run("tail", first)
    assert (gone.returncode, gone.stdout) == (1, b"")
    assert gone.stderr.decode() == (
        "everytoken: the server answered 410 Gone: a response of that age is no longer kept\n"
    )


# Its end


def test_an_interrupted_response(url, tail):
    status, out, error = tail(asked(url, "cut"))
    assert (status, error.count("\n")) == (1, 1)
    assert out.startswith(BEGINNING)
    assert WHOLE.startswith(out)
    assert error.startswith("interrupted: ")


def test_a_response_that_is_stopped(url):
    stream = asked(url, "stalled")
    with started("tail", stream) as reader:
        begun = read(reader, BEGINNING)
        post(f"{stream}/cancel", b"").close()
        out, error = reader.communicate(timeout=END)
    assert (reader.returncode, error) == (1, b"cancelled: the response was stopped\n")
    assert WHOLE.startswith(begun + out)


def test_ctrl_c_ends_the_reading_and_not_the_response(url, upstreams):
    attempts = upstreams["stalled"].attempts
    stream = asked(url, "stalled")
    with started("tail", stream) as reader:
        read(reader, BEGINNING)
        reader.send_signal(signal.SIGINT)
        _, error = reader.communicate(timeout=END)
    assert (reader.returncode, error) == (130, b"")
    attempt = upstreams["stalled"].attempts[len(attempts)]
    assert not attempt.closed.is_set()
    post(f"{stream}/cancel", b"").close()
    wait_for(attempt.closed.is_set, END)


# Other streams


@pytest.mark.parametrize(
    ("content_type", "first", "second", "shown"),
    [
        pytest.param("application/json", b'[{"a": 1.0},\n {"b":\n2}]', b'"\xc3\xa9"',
                     b'{"a": 1.0}\n{"b":2}\n"\xc3\xa9"\n', id="JSON, a message a line"),
        pytest.param("text/plain", b"one\r\nt\xc3", b"\xa9\r", b"one\r\nt\xc3\xa9\r", id="text, as it is"),
        pytest.param("application/octet-stream", b"\x00\xff", b"\x1b\n", b"\x00\xff\x1b\n", id="bytes"),
    ],
)  # fmt: skip
def test_another_stream_is_as_it_was_written(content_type, first, second, shown, url, tail):
    stream = f"{url}/v1/stream/{content_type.replace('/', '-')}"
    send("PUT", stream, first, **{"content-type": content_type})
    send("POST", stream, second, **{"content-type": content_type, "stream-closed": "true"})
    assert tail(stream) == (0, shown, "")


# On a terminal


def on_terminal(*arguments):
    return Terminal([EVERYTOKEN, "tail", *arguments], environment(TERM="xterm-256color"))


def test_a_terminal_shows_markdown_and_a_cursor(url):
    stream = asked(url, "stalled")
    with on_terminal(stream) as terminal:
        screen = terminal.screen
        terminal.read_until(lambda: CURSOR in screen.text and BEGINNING.decode() in screen.text)
        assert screen.cursor_hidden
        post(f"{stream}/cancel", b"").close()
        assert terminal.read_to_end() == 1
        assert screen.text.endswith("cancelled: the response was stopped")
        assert CURSOR not in screen.text
        assert not screen.cursor_hidden


def test_a_terminal_is_not_commanded_by_other_streams(url):
    stream, kind = f"{url}/v1/stream/controls", {"content-type": "text/plain"}
    send("PUT", stream, b"a\x1b[2Jb\n\xc3", **kind)
    with on_terminal(stream) as terminal:
        terminal.read_until(lambda: "␛[2Jb" in terminal.screen.text)
        send("POST", stream, b"\xa9\n", **kind, **{"stream-closed": "true"})
        assert terminal.read_to_end() == 0
        assert terminal.raw.decode() == "a␛[2Jb\r\né\r\n"
