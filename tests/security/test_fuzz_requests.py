"""Random odd requests and odd upstreams against a gateway process, over each journal: it answers, and goes on.

An example sends one request. It must be answered in time, and never with a 5xx other than the few that `REFUSED_FOR_NOW`
names. After every `CHECKED` examples an honest caller must get the exact answer, and a stream must be kept. With
`EVERYTOKEN_SOAK=1` there are fifty times as many examples, of other seeds.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from command_line import EVERYTOKEN, LIMIT, environment
from gateway_serving import FINISH, event
from journal_backends import shared_redis
from odd_upstream import HONEST, Upstream
from odd_values import chat_bodies, odd, table, ui_bodies, upstream_events

if TYPE_CHECKING:
    from collections.abc import Iterator

SOAK = os.environ.get("EVERYTOKEN_SOAK") == "1"
pytestmark = pytest.mark.timeout(3600 if SOAK else 120)
BOUND = 10.0  # seconds in which anything must be answered
CHECKED = 20  # examples between two looks whether honest requests are served
REFUSED_FOR_NOW = {"overloaded", "journal-unavailable", "journal-full"}  # the codes a 503 may have
CONFIG = """
drain = 0.5
long_poll = 0.05
default_model = "m"

[policy]
attempts = 2
backoff = 0.001
backoff_max = 0.001
first_content = 2
content_gap = 2
linger = 0.5

[[upstream]]
name = "honest"
url = "{url}/honest/v1"
models = ["m"]

[[upstream]]
name = "odd"
url = "{url}/odd/v1"
models = ["odd"]
"""


def fuzzed(examples: int) -> settings:
    """Return how many examples a test has; a failing one is shown as it is, for a hang takes too long to shrink."""
    return settings(
        max_examples=examples * 50 if SOAK else examples // 2,
        derandomize=not SOAK,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


class Answer(NamedTuple):
    status: int
    head: str
    body: bytes
    complete: bool

    @property
    def code(self) -> str:
        """The code of the error that the answer is, or ends in; empty: it is none."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return str(json.loads(self.body)["error"]["code"])
        found = re.findall(rb'^data: (\{"error".*)$', self.body, re.MULTILINE)
        return str(json.loads(found[-1])["error"]["code"]) if found else ""


class Client:
    """A gateway process as seen by its callers, good and bad."""

    def __init__(self, url: str, upstream: Upstream) -> None:
        self.upstream = upstream
        self._port = urlsplit(url).port
        self._numbers = itertools.count()

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request and read everything that is answered; fails when that takes longer than `BOUND`."""
        fields = {
            "Host": f"127.0.0.1:{self._port}",
            "Connection": "close",
            "Content-Type": "application/json",
        }
        fields |= headers or {}
        if body is not None:
            fields["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        deadline, received = time.monotonic() + BOUND, b""
        with socket.create_connection(("127.0.0.1", self._port), BOUND) as connection:
            with contextlib.suppress(
                BrokenPipeError, ConnectionResetError
            ):  # it may refuse before it has read all
                connection.sendall(
                    f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b"")
                )
            with contextlib.suppress(ConnectionResetError):
                while some := connection.recv(1 << 20):
                    received += some
                    connection.settimeout(max(0.01, deadline - time.monotonic()))
        first, _, rest = received.partition(b"\r\n\r\n")
        assert first, f"no answer to {method} {path}"
        text = first.decode("latin-1").lower()
        if "transfer-encoding: chunked" in text and method != "HEAD":
            return Answer(int(first.split()[1]), text, *unchunked(rest))
        return Answer(int(first.split()[1]), text, rest, complete=True)

    def send_odd(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str] | None = None
    ) -> None:
        """Send an example; it must not be a fault of the server."""
        answer = self.ask(method, path, body, headers)
        if answer.status >= 500:
            assert answer.status == 503, answer
            assert answer.code in REFUSED_FOR_NOW, answer
        assert answer.code != "internal-error"
        self.checked()

    def checked(self, *, now: bool = False) -> None:
        """Every now and then be an honest caller, of each kind."""
        number = next(self._numbers)
        if not now and number % CHECKED:
            return
        asked = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
        streamed = self.ask("POST", "/v1/chat/completions", json.dumps({**asked, "stream": True}).encode())
        texts = re.findall(rb'"content": ?"([^"]+)"', streamed.body)
        assert (streamed.status, b"".join(texts).decode()) == (200, "".join(HONEST))
        assert streamed.body.endswith(b"data: [DONE]\n\n")
        assert streamed.complete
        whole = self.ask("POST", "/v1/chat/completions", json.dumps(asked).encode())
        assert json.loads(whole.body)["choices"][0]["message"]["content"] == "".join(HONEST)
        path, kept = f"/v1/stream/honest-{number}-{now:d}", b'[{"n": %d}]' % number
        assert self.ask("PUT", path, kept).status == 201
        assert json.loads(self.ask("GET", path).body) == json.loads(kept)
        assert self.ask("DELETE", path).status == 204
        assert self.ask("GET", "/healthz").status == 200


def unchunked(data: bytes) -> tuple[bytes, bool]:
    """Return a chunked body without its chunks, and whether it has its end."""
    pieces, at = [], 0
    while (end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:end], 16)
        if not size:
            return b"".join(pieces), True
        pieces.append(data[end + 2 : end + 2 + size])
        at = end + 4 + size
    return b"".join(pieces), False


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("fuzz")
    journal = {"memory": "memory", "sqlite": f"sqlite:///{directory}/journal.sqlite"}.get(request.param)
    journal = journal or shared_redis().url
    upstream = Upstream()
    serving = threading.Thread(target=upstream.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    config = directory / "everytoken.toml"
    config.write_text(CONFIG.format(url=upstream.url), encoding="utf-8")
    log = directory / "log"
    command = [EVERYTOKEN, "serve", "--port", "0", "--config", str(config), "--journal", journal]
    try:
        with (
            log.open("wb") as errors,
            subprocess.Popen(
                command, env=environment(), stdout=subprocess.PIPE, stderr=errors, bufsize=0
            ) as process,
        ):
            try:
                said = process.stdout.readline().decode()
                assert said, log.read_text(encoding="utf-8")
                client = Client(said.rsplit(maxsplit=1)[-1], upstream)
                yield client
                client.checked(now=True)
                process.send_signal(signal.SIGTERM)
                assert process.wait(LIMIT) == 0
            finally:
                process.kill()
    finally:
        upstream.stop()
        serving.join()
    assert "Traceback" not in log.read_text(encoding="utf-8")


def asked(**more: str) -> str:
    """Return a body for `/v1/chat/completions` with some fields as JSON text."""
    hello = '[{"role": "user", "content": "Hello"}]'
    return table({"model": '"m"', "stream": "true", "messages": hello, **more})


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@fuzzed(120)
@given(body=chat_bodies())
@example(body=asked(max_tokens="1180591620717411303424"))
@example(body=asked(metadata="18446744073709551616"))
@example(body=asked(metadata="[" * 981 + "]" * 981))
def test_chat_bodies(client, body):
    client.send_odd("POST", "/v1/chat/completions", utf8(body))


@fuzzed(80)
@given(body=ui_bodies())
@example(
    body='{"messages": [{"id": "m", "role": "user", "parts":'
    ' [{"type": "tool-a", "toolCallId": "c", "input": {}, "state": {}}]}]}'
)
def test_bodies_for_the_chat_route(client, body):
    client.send_odd("POST", "/api/chat", utf8(body))


JSON_LIKE = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b":",
    b",",
    b"\\",
    b"\\u",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
]
JSON_LIKE += [b"\x00", b"1", b"-", b"e", b"null", b'"messages"', b'"model"', b'"prompt"', b" ", b"\r\n"]


@fuzzed(60)
@given(
    path=st.sampled_from(
        ["/v1/chat/completions", "/api/chat", "/v1/stream/bytes/cancel", "/api/chat/x/stop"]
    ),
    body=st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(JSON_LIKE), max_size=40).map(b"".join)),
    kind=st.sampled_from(["application/json", "text/plain", "application/json; charset=utf-16", "x", ""]),
)
def test_bytes_that_may_be_json(client, path, body, kind):
    client.send_odd("POST", path, body, {"Content-Type": kind})


NUMBERS = [
    "0",
    "1",
    "-1",
    "007",
    "1e3",
    "١",
    "1_0",
    "",
    " ",
    "9" * 20,
    "9" * 400,
    "9" * 5000,
    "nan",
    "1.5",
    "0x10",
]
DATES = [
    "2030-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
]
ODD_HEADERS = {
    "Stream-TTL": NUMBERS,
    "Stream-Expires-At": [*DATES, "2030-02-30T00:00:00Z", "tomorrow", *NUMBERS],
    "Stream-Seq": [*NUMBERS, "a", "~" * 1000],
    "Stream-Closed": ["true", "false", "TRUE", ""],
    "Producer-Id": ["p", "", "é", "x" * 1000],
    "Producer-Epoch": NUMBERS,
    "Producer-Seq": NUMBERS,
    "Content-Type": ["application/json", "text/plain", "text/html", "", ";", "a/b; c=\xff", "x" * 1000],
    "If-None-Match": ["*", '"', 'W/"x"', '"0:0:1"'],
    "Last-Event-ID": [*NUMBERS, "-1", "now"],
    "Range": ["bytes=0-", "x"],
    "Accept": ["text/event-stream", "", "\xff"],
    "Idempotency-Key": ["k", "", "x" * 1000, "\xff"],
    "Everytoken-Disconnect": ["cancel", "continue", *NUMBERS],
    "X-Request-Id": ["x", "", "\xff", "x" * 1000],
    "Origin": ["null", "x", "http://[", "http://127.0.0.1:99999"],
}
# Not `latin-1`, such as the Arabic digit: as its UTF-8, which is how it would come.
as_field = st.sampled_from(sorted(ODD_HEADERS)).flatmap(
    lambda name: st.tuples(
        st.just(name), st.sampled_from(ODD_HEADERS[name]).map(lambda v: v.encode().decode("latin-1"))
    )
)
odd_headers = st.lists(as_field, max_size=4).map(dict)
IDS = [
    "odd-1",
    "odd-2",
    "odd-3",
    "idempotency-x",
    "resp_x",
    "..",
    ".",
    "%00",
    "%2F",
    "%FF",
    "a" * 300,
    "%25",
    "é",
]


@fuzzed(160)
@given(
    method=st.sampled_from(["PUT", "PUT", "POST", "POST", "GET", "HEAD", "DELETE"]),
    name=st.one_of(st.sampled_from(IDS[:3]), st.sampled_from(IDS)),
    query=st.one_of(
        st.just(""),
        st.sampled_from([*NUMBERS, "-1", "now", "0_0", "\x00"]).map(lambda value: f"?offset={quote(value)}"),
        st.just("?offset=now&live=long-poll&cursor=" + "9" * 30),
    ),
    body=st.one_of(
        odd.map(utf8),
        st.binary(max_size=100),
        st.lists(odd, max_size=3).map(lambda v: utf8(f"[{','.join(v)}]")),
    ),
    headers=odd_headers,
)
def test_streams(client, method, name, query, body, headers):
    path = f"/v1/stream/{quote(name, safe='%')}{query}"
    client.send_odd(method, path, body if method in {"PUT", "POST"} else None, headers)


@fuzzed(60)
@given(headers=odd_headers, path=st.sampled_from(["/v1/chat/completions", "/api/chat", "/v1/models", "/x"]))
def test_headers(client, headers, path):
    body = b'{"model": "m", "stream": true, "prompt": "Hello", "messages": [{"role": "user", "content": "Hello"}]}'
    client.send_odd("POST", path, body, headers)


numbers_of_scripts = itertools.count()
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 99999999999999999999}}\n\n'
HALVED = b'{"a":' * 500 + b'"\\ud83d"' + b"}" * 500
HALF = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi", "role": %b}}]}\n\n' % HALVED
DEEP = b'data: {"choices": [], "usage": %b%b}\n\n' % (b"[" * 5000, b"]" * 5000)


@fuzzed(60)
@given(
    events=st.lists(
        st.one_of(upstream_events().map(lambda data: utf8(f"data: {data}\n\n")), st.just(event("Hi"))),
        max_size=4,
    ),
    end=st.sampled_from([FINISH, FINISH, b"", b"data: [DONE]\n\n", b"\xff\xfe", b"data: {"]),
    streamed=st.booleans(),
)
@example(events=[event("Hi"), USAGE], end=FINISH, streamed=True)
@example(events=[event("Hi"), DEEP], end=FINISH, streamed=True)
@example(events=[event("Hi"), HALF], end=FINISH, streamed=False)
def test_an_odd_upstream(client, events, end, streamed):
    """The caller gets an answer or an explicit error, and other responses do not notice."""
    number = next(numbers_of_scripts)
    client.upstream.scripts[number] = b"".join(events) + end
    asked = {"model": "odd", "stream": streamed, "messages": [{"role": "user", "content": f"odd-{number}"}]}
    answer = client.ask("POST", "/v1/chat/completions", json.dumps(asked).encode())
    assert answer.code != "internal-error", answer
    if answer.status != 200:
        assert answer.code, answer
    elif streamed:
        assert answer.complete
        assert answer.code or answer.body.endswith(b"data: [DONE]\n\n"), answer
    else:
        assert "choices" in json.loads(answer.body)
    client.checked()
