"""Every way to be refused: OpenAI's shape, the right status, nothing in the log that is not news."""

from __future__ import annotations

import json
import logging

import openai
import pytest

from everytoken.errors import JournalUnavailableError
from everytoken.gateway import UpstreamConfig
from everytoken.journal.memory import MemoryJournal
from everytoken.recovery import Policy
from everytoken.testing import Status
from gateway_serving import HELLO, ManualUpstream, Wire, over, served, serving

CHAT = "/v1/chat/completions"
KEY = "sk-upstream-0123456789"
ONCE = Policy(attempts=1)


def chat(**changes) -> bytes:
    return json.dumps({**HELLO, **changes}).encode()


NEVER_JSON = {
    "no body": b"",
    "not JSON": b"hello",
    "cut JSON": b'{"messages": [',
    "invalid UTF-8": b'{"messages": "\xff\xfe"}',
    "NaN": b'{"messages": [], "temperature": NaN}',
    "deep nesting": b'{"messages": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "a BOM": b"\xef\xbb\xbf" + json.dumps(HELLO).encode(),
    "half a surrogate pair as a model": b'{"model": "\\ud83d", "messages": [{"role": "user", "content": "x"}]}',
    "half a surrogate pair in cut JSON": b'{"messages": [{"role": "user", "content": "\\ud83d',
    "a number out of range": b'{"messages": [], "temperature": 1e999}',
    "an array": b"[]",
    "a string": b'"messages"',
    "null": b"null",
}
BAD_FIELDS = {
    "no messages": ("messages", b"{}"),
    "messages of another type": ("messages", chat(messages="Hello")),
    "messages null": ("messages", chat(messages=None)),
    "no message": ("messages", chat(messages=[])),
    "a message that is no object": ("messages[0]", chat(messages=["Hello"])),
    "a message without a role": ("messages[0].role", chat(messages=[{"content": "Hello"}])),
    "a role of another type": ("messages[0].role", chat(messages=[{"role": 1, "content": "Hello"}])),
    "a model of another type": ("model", chat(model=["m"])),
    "a stream of another type": ("stream", chat(stream="yes")),
    "an n of another type": ("n", chat(n="two")),
    "an n of nought": ("n", chat(n=0)),
    "a huge n": ("n", chat(n=10**30)),
    "stream_options of another type": ("stream_options", chat(stream_options=True)),
}
BAD_PROMPTS = {
    "neither prompt nor messages": ("prompt", b"{}"),
    "a prompt of another type": ("prompt", b'{"prompt": 5}'),
    "an empty prompt": ("prompt", b'{"prompt": ""}'),
    "messages of another type beside a prompt": ("messages", b'{"prompt": "Hi", "messages": "Ho"}'),
    "no message": ("messages", b'{"messages": []}'),
}


def assert_openai_shape(answer, status: int, code: str) -> None:
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert answer.error["code"] == code
    assert answer.error["message"]


@pytest.mark.parametrize("path", [CHAT, "/api/chat"])
async def test_a_body_that_is_no_json_object_is_a_400(path, caplog):
    async with serving(ManualUpstream()) as gateway:
        for name, body in NEVER_JSON.items():
            answer = await gateway.ask("POST", path, body)
            assert_openai_shape(answer, 400, "invalid-request")
            assert answer.error["type"] == "invalid_request_error", name
    assert caplog.records == []


@pytest.mark.parametrize(
    ("path", "param", "body"),
    [
        *(pytest.param(CHAT, *case, id=name) for name, case in BAD_FIELDS.items()),
        *(pytest.param("/api/chat", *case, id=f"page: {name}") for name, case in BAD_PROMPTS.items()),
    ],
)
async def test_a_bad_field_is_a_400_that_names_it(path, param, body, caplog):
    async with serving(ManualUpstream()) as gateway:
        answer = await gateway.ask("POST", path, body)
    assert_openai_shape(answer, 400, "invalid-request")
    assert answer.error["param"] == param
    assert caplog.records == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(chat(seed=2**64 - 1, metadata={"huge": -(2**63)}), id="numbers of 64 bits"),
        pytest.param(b'{"messages":[],"messages":[{"role":"user","content":"x"}]}', id="a key twice"),
        pytest.param(chat(x={"a" * 70_000: "b" * 70_000}), id="long keys and strings"),
        pytest.param(chat(x=json.loads("[" * 500 + "]" * 500)), id="nesting within reason"),
        pytest.param(chat(**{"": 0, "\x00": "\x00\u2028"}), id="odd names"),
    ],
)
async def test_odd_but_valid_json_is_passed_on(body, scripted_upstream):
    upstream = await scripted_upstream("fine")
    async with serving(upstream) as gateway:
        answer = await gateway.ask("POST", CHAT, body)
    assert answer.status == 200
    sent = json.loads(body)
    assert {name: upstream.attempts[0].json[name] for name in sent if name != "stream_options"} == sent


async def test_a_body_over_the_limit_is_a_413_whether_it_is_announced_or_not():
    async with serving(ManualUpstream(), max_body=1000) as gateway:
        announced = await gateway.ask("POST", CHAT, chat(x="y" * 1000))
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", CHAT, None, {"Transfer-Encoding": "chunked"})
            for _ in range(20):
                wire.writer.write(b"64\r\n" + b" " * 100 + b"\r\n")
            wire.writer.write(b"0\r\n\r\n")
            chunked = await wire.answer()
        exactly = await gateway.ask("POST", CHAT, b" " * 1000)
    assert_openai_shape(announced, 413, "request-too-large")
    assert_openai_shape(chunked, 413, "request-too-large")
    assert exactly.status == 400, "it is read, and found to be no JSON"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", CHAT, "POST"),
        ("HEAD", CHAT, "POST"),
        ("OPTIONS", CHAT, "POST"),
        ("PUT", "/api/chat", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/healthz", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("POST", "/v1/stream/x/events", "GET"),
        ("GET", "/v1/stream/x/cancel", "POST"),
    ],
)
async def test_a_wrong_method_is_a_405_that_names_the_right_ones(method, path, allow):
    async with serving(ManualUpstream()) as gateway:
        answer = await gateway.ask(method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == allow
    if method != "HEAD":
        assert_openai_shape(answer, 405, "method-not-allowed")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completion",
        "/%00",
        "/%ff%fe",
        "/..%2f..%2fetc/passwd",
        "/assets/../../pyproject.toml",
        "/v1/stream/" + "x" * 129 + "/events",
        "/v1/stream/a%0d%0aSet-Cookie:%20x/events",
        "/v1/stream/%C3%A9/events",
        "/" + "x" * 5000,
    ],
)
async def test_an_unknown_path_is_a_404(path):
    async with serving(ManualUpstream()) as gateway:
        answer = await gateway.ask("GET", path)
    assert_openai_shape(answer, 404, "route-not-found")
    assert len(answer.error["message"]) < 300
    assert "set-cookie" not in answer.headers


UPSTREAM_ERRORS = [
    (400, openai.BadRequestError),
    (401, openai.AuthenticationError),
    (403, openai.PermissionDeniedError),
    (404, openai.NotFoundError),
    (409, openai.ConflictError),
    (422, openai.UnprocessableEntityError),
    (429, openai.RateLimitError),
]


@pytest.mark.parametrize(
    ("status", "kind"), UPSTREAM_ERRORS, ids=[str(status) for status, _ in UPSTREAM_ERRORS]
)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "not streamed"])
async def test_the_upstreams_own_refusal_is_passed_on_without_our_key(
    scripted_upstream, status, kind, stream
):
    body = {
        "error": {"message": f"no: {KEY} \u26a0", "type": "its_type", "code": "its_code", "param": "model"}
    }
    retry_after = 7 if status == 429 else None
    upstream = await scripted_upstream(
        [Status(status, body=json.dumps(body).encode(), retry_after=retry_after)]
    )
    configured = UpstreamConfig(name="it", url=upstream.base_url, key=KEY)
    async with (
        serving(configured, policy=ONCE) as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-caller", max_retries=0) as client,
    ):
        with pytest.raises(kind) as raised:
            await client.chat.completions.create(model="m", messages=HELLO["messages"], stream=stream)
    assert upstream.attempts[0].headers["authorization"] == f"Bearer {KEY}"
    assert raised.value.code == "its_code"
    assert raised.value.type == "its_type"
    assert raised.value.response.headers.get("retry-after") == (retry_after and str(retry_after))
    assert KEY not in raised.value.response.text
    assert "no: *** ⚠" in str(raised.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "status 400", id="an empty body"),
        pytest.param(b"<html>Bad Request</html>", "status 400", id="HTML"),
        pytest.param(b'{"detail": "too long"}', "too long", id="FastAPI's form"),
        pytest.param(b'{"error": "too long"}', "too long", id="an error that is a text"),
        pytest.param(b'{"error": {"message": "\\ud800 too long"}}', "", id="half a surrogate pair"),
        pytest.param(b'{"error": {"message": "x", "n": ' + b"9" * 400 + b"}}", "x", id="a huge number"),
        pytest.param(b"[" * 100_000, "status 400", id="deep nesting"),
        pytest.param(b"\xff\xfe", "status 400", id="no UTF-8"),
    ],
)
async def test_a_refusal_in_any_form_has_openais_shape(scripted_upstream, body, message, caplog):
    upstream = await scripted_upstream([Status(400, body=body)])
    async with serving(upstream) as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO)
    assert answer.status == 400
    assert message in answer.error["message"]
    assert all(record.exc_info is None for record in caplog.records)


async def test_a_5xx_of_the_upstream_is_a_502(scripted_upstream):
    upstream = await scripted_upstream([Status(500, body=b'{"error": {"message": "out of memory"}}')])
    async with (
        serving(upstream, policy=ONCE) as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError, match="out of memory") as raised:
            await client.chat.completions.create(model="m", messages=HELLO["messages"], stream=True)
    assert raised.value.status_code == 502
    assert raised.value.code == "upstream-status"


async def test_an_upstream_that_cannot_be_reached_is_a_502(scripted_upstream):
    upstream = await scripted_upstream("never", faults=[("always", "connection-refused", "start")])
    async with serving(upstream, policy=ONCE) as gateway:
        for stream in (True, False):
            answer = await gateway.ask("POST", CHAT, {**HELLO, "stream": stream})
            assert_openai_shape(answer, 502, "upstream-connect")
        assert_openai_shape(await gateway.ask("GET", "/v1/models"), 502, "upstream-connect")


async def test_an_error_inside_the_stream_reaches_the_sdk(scripted_upstream):
    upstream = await scripted_upstream("One two three four", faults=[("always", "clean-end", "middle")])
    read = ""
    async with (
        serving(upstream, policy=ONCE) as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x") as client,
    ):
        stream = await client.chat.completions.create(model="m", messages=HELLO["messages"], stream=True)
        with pytest.raises(openai.APIError) as raised:  # noqa: PT012  # what comes before it counts
            async for chunk in stream:
                read += chunk.choices[0].delta.content or ""
        again = await gateway.ask("POST", CHAT, HELLO)
    assert "One two three four".startswith(read)
    assert read
    assert raised.value.code == "upstream-truncated"
    assert "[DONE]" not in again.body.decode()


async def test_an_error_event_with_half_a_surrogate_pair_ends_the_response():
    upstream = ManualUpstream()
    async with serving(upstream, policy=ONCE) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("text")
        attempt.sink.on_data(b'data: {"error": {"message": "\\ud800 broke"}}\n\n')
        answer = await wire.answer()
    assert "broke" in json.loads(answer.events[-1][0])["error"]["message"]
    assert len(gateway.gateway.relays) == 0


async def test_a_model_that_no_upstream_maps_is_a_404_and_any_other_is_asked_for_by_its_name(
    scripted_upstream,
):
    left, right = await scripted_upstream("left"), await scripted_upstream("right")
    upstreams = (
        UpstreamConfig(name="left", url=left.base_url, models={"small": "left-135m"}),
        UpstreamConfig(name="right", url=right.base_url, models=["large"]),
    )
    async with serving(*upstreams) as gateway:
        unknown = await gateway.ask("POST", CHAT, {**HELLO, "model": "huge"})
        small = await gateway.ask("POST", CHAT, {**HELLO, "model": "small"})
        large = await gateway.ask("POST", CHAT, {**HELLO, "model": "large"})
        none = await gateway.ask("POST", "/api/chat", {"prompt": "the guide's component names no model"})
    assert_openai_shape(unknown, 404, "model-not-found")
    assert unknown.error["param"] == "model"
    assert (small.text, large.text, none.body) == ("left", "right", b"left")
    assert left.attempts[0].json["model"] == "left-135m"
    assert right.attempts[0].json["model"] == "large"


async def test_one_upstream_too_is_asked_only_for_its_models(scripted_upstream):
    upstream = await scripted_upstream("x")
    configured = UpstreamConfig(name="it", url=upstream.base_url, models={"alias": "real"})
    async with serving(configured) as gateway:
        await gateway.ask("POST", CHAT, {**HELLO, "model": "alias"})
        assert (await gateway.ask("POST", CHAT, {**HELLO, "model": "something"})).status == 404
    assert [attempt.json["model"] for attempt in upstream.attempts] == ["real"]


class BrokenJournal(MemoryJournal):
    """A journal with a bug in it."""

    async def create(self, *args, **kwargs):
        raise RuntimeError("a bug")


class AwayJournal(MemoryJournal):
    """A journal that cannot be reached: at all, or once a reader follows."""

    async def create(self, *args, **kwargs):
        raise JournalUnavailableError("the journal cannot be reached")


async def test_a_bug_is_a_500_and_one_entry_in_the_log(caplog):
    gateway = over(ManualUpstream())
    gateway.relays.journal = BrokenJournal()
    async with gateway, served(gateway) as port, Wire.to(port) as wire:
        wire.send("POST", CHAT, HELLO)
        answer = await wire.answer()
        wire.send("GET", "/healthz")
        assert (await wire.answer()).status == 200, "the connection is still good"
    assert_openai_shape(answer, 500, "internal-error")
    assert "a bug" not in answer.error["message"]
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.levelno == logging.ERROR


async def test_a_journal_that_is_away_is_a_503():
    gateway = over(ManualUpstream())
    gateway.relays.journal = AwayJournal()
    async with gateway, served(gateway) as port, Wire.to(port) as wire:
        wire.send("POST", CHAT, HELLO)
        assert_openai_shape(await wire.answer(), 503, "journal-unavailable")


async def test_what_goes_wrong_in_the_middle_breaks_the_answer_off(caplog, monkeypatch):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/api/chat", {"prompt": "Hi"})
        attempt = await upstream.attempt()
        attempt.accept()
        head = await wire.head()
        monkeypatch.setattr("everytoken.formats.texts.decode_chunk", lambda record: 1 / 0)
        attempt.send("one ")
        answer = await wire.rest(head)
        attempt.finish()
    assert not answer.complete
    assert len([record for record in caplog.records if record.exc_info]) == 1
    assert all(not record.name.startswith("uvicorn") for record in caplog.records)


class StartsLater(ManualUpstream):
    """An upstream that cannot start at first."""

    starts = 0

    async def start(self) -> None:
        self.starts += 1
        if self.starts == 1:
            raise JournalUnavailableError("not yet")


async def test_what_could_not_start_is_started_again_by_the_next_request():
    gateway = over(StartsLater())
    async with served(gateway) as port, Wire.to(port) as wire:
        wire.send("GET", "/healthz")
        assert_openai_shape(await wire.answer(), 503, "journal-unavailable")
        wire.send("GET", "/healthz")
        assert (await wire.answer()).status == 200
    await gateway.stop()
