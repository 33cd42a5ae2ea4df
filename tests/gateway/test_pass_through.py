"""What the gateway does not recover passes through: whole or visibly broken, with our keys and limits."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from everytoken.errors import ConfigurationError, RateLimitedError
from everytoken.gateway import UpstreamConfig
from everytoken.gateway.config import parse
from everytoken.observer import PassedOn
from everytoken.upstream.local import MODEL
from gateway_serving import ManualUpstream, Wire, limit, over, served, serving
from scraped import scrape

KEY = "a key of the caller's own"
UP_KEY = "the-upstreams-own-key"
MIB = 1024 * 1024
BIG = 8 * MIB
NARROW = 64 * 1024  # bytes that the kernel holds of a connection, where that can be said
# What may be on the way of a body that nobody takes: Linux lets 4 MiB be written to a connection that we open (tcp_wmem),
# and the rest is narrow.
IN_BETWEEN = 6 * MIB


@asynccontextmanager
async def narrow(port: int):
    """Connect a client whose kernel takes little."""
    sock = socket.socket()
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, NARROW)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


@dataclass
class Asked:
    """A request that has come to the upstream; its body is read by the test's own script."""

    first: str
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def path(self) -> str:
        return self.first.split(" ")[1]

    async def body(self) -> bytes:
        if "content-length" in self.headers:
            return await self.reader.readexactly(int(self.headers["content-length"]))
        if "transfer-encoding" not in self.headers:
            return b""
        parts = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            parts.append((await self.reader.readexactly(size + 2))[:-2])
        await self.reader.readexactly(2)
        return b"".join(parts)

    def answer(self, body: bytes, media: str = "application/json", status: int = 200, more: str = "") -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {media}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
        self.writer.write(head.encode() + body)

    def begin(self, media: str = "text/event-stream", framing: str = "transfer-encoding: chunked") -> None:
        lines = f"{framing}\r\n" if framing else ""
        self.writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {media}\r\n{lines}\r\n".encode())

    def chunk(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))


@asynccontextmanager
async def upstream(script: Any, name: str = "up", **settings: Any):
    """Serve `script`, a coroutine function that is given each request; yield the upstream's configuration."""
    asked: list[Asked] = []
    under_way: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")[:-2]
                if "/models" in first:
                    writer.write(b"HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n")
                    continue
                pairs = [line.partition(": ") for line in lines]
                one = Asked(first, {k.lower(): v for k, _, v in pairs}, reader, writer)
                asked.append(one)
                await script(one)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = socket.create_server(("127.0.0.1", 0))
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # so that little is in between
        listening.setsockopt(socket.SOL_SOCKET, option, 64 * 1024)
    server = await asyncio.start_server(serve, sock=listening)
    port = server.sockets[0].getsockname()[1]
    config = UpstreamConfig(name=name, url=f"http://127.0.0.1:{port}/v1", key=UP_KEY, **settings)
    try:
        yield config, asked
    except BaseException:
        for task in under_way:  # what a test that has failed will never let go on
            task.cancel()
        raise
    finally:
        server.close()


def says(value: Any, **more: Any):
    """Return a script that reads the body and answers with `value`."""

    async def script(asked: Asked) -> None:
        asked.read = await asked.body()  # type: ignore[attr-defined]
        asked.answer(value if isinstance(value, bytes) else json.dumps(value).encode(), **more)

    return script


def client(gateway: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0)


# The official SDK


async def test_embeddings():
    vector = {"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}
    told = {
        "object": "list",
        "data": [vector],
        "model": "e",
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
    async with (
        limit(),
        upstream(says(told)) as (up, asked),
        serving(up, api_keys=[KEY]) as gateway,
        client(gateway) as sdk,
    ):
        got = await sdk.embeddings.create(model="e", input="Hello", encoding_format="float")
    assert got.data[0].embedding == [0.5, 1.0]
    assert asked[0].path == "/v1/embeddings"
    assert json.loads(asked[0].read)["model"] == "e"
    assert asked[0].headers["authorization"] == f"Bearer {UP_KEY}"
    assert KEY not in str(asked[0].headers)


async def test_moderations_and_images_keep_the_model_of_their_api_where_none_is_named():
    told = {"id": "m", "model": "omni", "results": [], "created": 1, "data": [{"b64_json": "QUJD"}]}
    async with (
        limit(),
        upstream(says(told), models=["chat"]) as (up, asked),
        serving(up) as gateway,
        client(gateway) as sdk,
    ):
        assert (await sdk.moderations.create(input="Hello")).id == "m"
        assert (await sdk.images.generate(prompt="A cat")).data[0].b64_json == "QUJD"
    assert [one.path for one in asked] == ["/v1/moderations", "/v1/images/generations"]
    assert all("model" not in json.loads(one.read) for one in asked)


async def test_a_transcription_goes_to_the_upstream_that_serves_its_model():
    told = {"text": "Hello"}
    async with (
        limit(),
        upstream(says(told), "chat", models=["chat"]) as (chat, not_asked),
        upstream(says(told), "whisper", models={"voice": "whisper-large"}) as (whisper, asked),
        serving(chat, whisper) as gateway,
        client(gateway) as sdk,
    ):
        got = await sdk.audio.transcriptions.create(model="voice", file=("a.wav", b"RIFF" * 1000))
    assert got.text == "Hello"
    assert not not_asked
    assert asked[0].headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="model"\r\n\r\nwhisper-large\r\n' in asked[0].read, "as the upstream calls it"
    assert b"RIFF" * 1000 in asked[0].read


async def test_speech_is_streamed():
    first = asyncio.Event()

    async def script(asked: Asked) -> None:
        await asked.body()
        asked.begin("audio/mpeg")
        asked.chunk(b"\xff\xfb" * 100)
        await first.wait()
        asked.chunk(b"\0" * 100)
        asked.chunk(b"")

    async with limit(), upstream(script) as (up, _), serving(up) as gateway, client(gateway) as sdk:
        speech = sdk.audio.speech.with_streaming_response.create(model="tts", voice="alloy", input="Hello")
        async with speech as answer:
            got = []
            async for part in answer.iter_bytes():
                got.append(part)
                first.set()
    assert b"".join(got) == b"\xff\xfb" * 100 + b"\0" * 100
    assert answer.headers["content-type"] == "audio/mpeg"


def completion(text: str) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": None}
    told = {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(told).encode()


async def test_completions_are_streamed():
    async def script(asked: Asked) -> None:
        await asked.body()
        asked.begin()
        for part in (
            completion("Hel"),
            completion("lo")[:20],
            completion("lo")[20:],
            b"data: [DONE]\n\n",
            b"",
        ):
            asked.chunk(part)

    async with limit(), upstream(script) as (up, _), serving(up) as gateway, client(gateway) as sdk:
        stream = await sdk.completions.create(model="m", prompt="Say hello", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == "Hello"


# Ends


async def cut_connection(asked: Asked) -> None:
    asked.writer.transport.abort()


async def close_properly(asked: Asked) -> None:
    asked.chunk(b"")


async def close(asked: Asked) -> None:
    asked.writer.close()


@pytest.mark.parametrize(
    ("framing", "end"),
    [
        ("transfer-encoding: chunked", close),
        ("transfer-encoding: chunked", close_properly),
        ("", close),
        ("content-length: 100000", close),
    ],
)
async def test_a_cut_stream_of_completions_is_aborted(framing, end):
    async def script(asked: Asked) -> None:
        await asked.body()
        asked.begin(framing=framing)
        part = completion("Hel") + completion("lo")[:30]
        (asked.chunk if "chunked" in framing else asked.writer.write)(part)
        await asked.writer.drain()
        await end(asked)

    async with limit(), upstream(script) as (up, _), serving(up) as gateway:
        asked = {"model": "m", "prompt": "x", "echo": True, "stream": True}  # more than can be recovered
        answer = await gateway.ask("POST", "/v1/completions", asked)
    if answer.status != 200:  # the cut came before anything was passed on
        assert (answer.status, answer.error["code"]) == (502, "upstream-truncated")
        return
    assert not answer.complete
    assert answer.body == completion("Hel"), "whole events only"


@pytest.mark.parametrize(
    ("last", "framing", "whole"),
    [
        (b'data: {"type": "transcript.text.done", "text": "Hi"}\n\n', "chunked", True),
        (b'data: {"type": "transcript.text.done", "text": "Hi"}\r\n\r\n', "close", True),
        (b'data: {"type": "transcript.text.delta", "delta": "Hi"}\n\n', "close", False),
        (b'data: {"type": "transcript.text.delta", "delta": "Hi"}\n', "chunked", False),
        (b'data: {"error": {"message": "no"}}\n\n', "close", True),
    ],
)
async def test_other_event_streams_end_where_they_have_ended(last, framing, whole):
    async def script(asked: Asked) -> None:
        await asked.body()
        asked.begin(framing="transfer-encoding: chunked" if framing == "chunked" else "")
        if framing == "chunked":
            asked.chunk(last)
            asked.chunk(b"")
        else:
            asked.writer.write(last)
            asked.writer.close()

    async with limit(), upstream(script) as (up, _), serving(up) as gateway:
        answer = await gateway.ask("POST", "/v1/audio/speech", {"model": "m", "input": "x"})
    assert answer.complete is whole or answer.status == 502


@pytest.mark.parametrize("framing", ["transfer-encoding: chunked", "content-length: 2000"])
async def test_a_body_that_is_cut_is_aborted(framing):
    async def script(asked: Asked) -> None:
        await asked.body()
        asked.begin("audio/mpeg", framing)
        (asked.chunk if "chunked" in framing else asked.writer.write)(b"x" * 1000)
        await asked.writer.drain()
        asked.writer.close()

    async with limit(), upstream(script) as (up, _), serving(up) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/audio/speech", {"model": "m", "input": "x"})
        answer = await wire.head()
        assert answer.status == 200
        got = b""
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):  # noqa: PT012
            if "content-length" in answer.headers:
                await wire.reader.readexactly(int(answer.headers["content-length"]))
            while (frame := await wire.frame()) is not None:
                got += frame
    assert got in {b"", b"x" * 1000}


@pytest.mark.every_loop
async def test_the_upstream_is_left_when_the_caller_leaves():
    left = asyncio.Event()

    async def script(asked: Asked) -> None:
        await asked.body()
        asked.begin("audio/mpeg")
        asked.chunk(b"x")
        await asked.writer.drain()
        await asked.reader.read()
        left.set()

    async with limit(), upstream(script) as (up, _), serving(up) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", "/v1/audio/speech", {"model": "m", "input": "x"})
            await wire.head()
            assert await wire.frame() == b"x"
        await left.wait()


@pytest.mark.every_loop
async def test_the_upstream_is_left_when_the_caller_leaves_in_the_middle_of_an_upload():
    arrived, left = asyncio.Event(), asyncio.Event()

    async def script(asked: Asked) -> None:
        await asked.reader.readexactly(1000)
        arrived.set()
        await asked.reader.read()
        left.set()

    async with limit(), upstream(script) as (up, _), serving(up) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send(
                "POST",
                "/v1/audio/transcriptions",
                FORM + b"x" * 2000,
                {**FORM_TYPE, "Content-Length": "90000"},
            )
            await arrived.wait()
        await left.wait()


@pytest.mark.every_loop
async def test_the_upstream_is_left_when_the_caller_leaves_and_nothing_is_taken():
    arrived, go, left = asyncio.Event(), asyncio.Event(), asyncio.Event()
    seen: list[bytes] = []

    async def script(asked: Asked) -> None:
        arrived.set()
        await go.wait()
        while part := await asked.reader.read(65536):
            seen.append(part)
        left.set()

    async with limit(), upstream(script) as (up, _), serving(up) as gateway:
        async with narrow(gateway.port) as wire:
            wire.send("POST", AUDIO, FORM + b"x" * BIG, {**FORM_TYPE, "Content-Length": str(2 * BIG)})
            await arrived.wait()
            written = wire.writer.transport.get_write_buffer_size
            while written() > BIG - 128 * 1024:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
        go.set()
        await left.wait()
    assert len(b"".join(seen)) < BIG


# Large bodies

AUDIO = "/v1/audio/transcriptions"

FORM_TYPE = {"Content-Type": "multipart/form-data; boundary=xyz"}
FORM = (
    b'--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
)
END = b"\r\n--xyz--\r\n"


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.every_loop
async def test_an_upload_goes_no_faster_than_the_upstream_takes_it(chunked):
    go = asyncio.Event()
    whole = FORM + b"x" * BIG + END

    async def script(asked: Asked) -> None:
        await go.wait()
        asked.read = await asked.body()
        asked.answer(b'{"text": "Hi"}')

    async with (
        limit(),
        upstream(script) as (up, asked),
        serving(up, buffers=NARROW) as gateway,
        narrow(gateway.port) as wire,
    ):
        framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(whole))}
        wire.send("POST", "/v1/audio/transcriptions", None, {**FORM_TYPE, **framing})
        sent = 0
        stuck = 0
        while stuck < 200 and sent < len(whole):  # it takes no more
            if wire.writer.transport.get_write_buffer_size() == 0:
                part, stuck = whole[sent : sent + 65536], 0
                wire.writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
                sent += len(part)
            else:
                stuck += 1
            await asyncio.sleep(0)
        assert sent < IN_BETWEEN
        go.set()
        rest = whole[sent:]
        wire.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest) if chunked else rest)
        answer = await wire.answer()
    assert answer.json == {"text": "Hi"}
    assert asked[0].read == whole


@pytest.mark.every_loop
async def test_a_download_goes_no_faster_than_the_caller_takes_it():
    sent = 0

    async def script(asked: Asked) -> None:
        nonlocal sent
        await asked.body()
        asked.begin("audio/mpeg")
        while sent < BIG:
            asked.chunk(b"x" * 65536)
            sent += 65536
            await asked.writer.drain()
        asked.chunk(b"")

    async with (
        limit(),
        upstream(script) as (up, _),
        serving(up, buffers=NARROW) as gateway,
        narrow(gateway.port) as wire,
    ):
        wire.send("POST", "/v1/audio/speech", {"model": "m", "input": "x"})
        answer = await wire.head()
        before, still = -1, 0
        while still < 200:
            still = still + 1 if sent == before else 0
            before = sent
            await asyncio.sleep(0)
        assert sent < IN_BETWEEN
        await wire.rest(answer)
    assert answer.complete
    assert len(answer.body) == BIG


async def test_a_model_behind_the_file_is_found():
    form = (
        b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a; name=model"\r\n\r\n'
        + b"--x" * 50_000
    )
    form += b"\r\n--xyz\r\ncontent-disposition: form-data; name=model\r\n\r\nvoice" + END
    async with (
        limit(),
        upstream(says({"text": "no"}), "chat", models=["chat"]) as (chat, _),
        upstream(says({"text": "yes"}), "voice", models=["voice"]) as (voice, asked),
        serving(chat, voice) as gateway,
    ):
        answer = await gateway.ask("POST", "/v1/audio/transcriptions", form, FORM_TYPE)
    assert answer.json == {"text": "yes"}
    assert asked[0].read == form


async def test_a_form_without_a_model_gets_the_default():
    form = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx' + END
    async with limit(), upstream(says({})) as (up, asked), serving(up, default_model="w") as gateway:
        assert (await gateway.ask("POST", "/v1/audio/transcriptions", form, FORM_TYPE)).status == 200
    assert asked[0].read == b'--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\nw\r\n' + form


# Refusals and limits


async def test_an_upstreams_error_keeps_its_status_and_loses_its_secrets():
    told = {"error": {"message": f"no such key: {UP_KEY}", "type": "x", "code": "odd"}}
    for status in (400, 503):
        script = says(told, status=status, more="retry-after: 7\r\nx-request-id: theirs\r\n")
        async with limit(), upstream(script) as (up, asked), serving(up) as gateway:
            answer = await gateway.ask("POST", "/v1/embeddings", {"model": "m", "input": "x"})
        assert answer.status == status
        assert answer.error == {"message": "no such key: ***", "type": "x", "code": "odd"}
        assert answer.headers["retry-after"] == "7"
        assert len(asked) == 1


async def test_what_is_passed_on_is_told_and_counted_for_each_upstream():
    events: list[Any] = []
    refusing = says({"error": {"message": "busy"}}, status=503)
    asked = {"model": "m", "input": "Hello"}
    async with (
        limit(),
        upstream(refusing, "busy") as (busy, _),
        upstream(says({"data": []}), "free") as (free, _),
        serving(busy, free, metrics="open") as gateway,
    ):
        gateway.gateway.observers.add(events.append)
        answer = await gateway.ask("POST", "/v1/embeddings", asked, {"x-request-id": "one"})
        assert answer.status == 200
        scraped = await scrape(gateway)
    failed, passed = [event for event in events if isinstance(event, PassedOn)]
    assert (failed.upstream, failed.outcome, failed.error, failed.status) == (
        "busy",
        "failed",
        "upstream-status",
        0,
    )
    assert (passed.upstream, passed.outcome, passed.error, passed.status) == ("free", "completed", None, 200)
    assert {(one.request_id, one.model, one.api) for one in (failed, passed)} == {("one", "m", "embeddings")}
    assert (passed.up, passed.down) == (len(json.dumps(asked).encode()), len(b'{"data": []}'))
    for name, outcome in (("busy", "failed"), ("free", "completed")):
        labels = {"upstream": name, "api": "embeddings", "outcome": outcome}
        assert scraped.of("everytoken_passed_seconds_count", **labels) == 1
    assert scraped.of("everytoken_passed_seconds_count") == 2


async def test_a_small_body_is_tried_at_the_next_upstream():
    async def breaks(asked: Asked) -> None:
        await asked.body()
        asked.begin("application/json", "content-length: 100")
        asked.writer.close()

    for first in (says({}, status=500), says({}, status=404), breaks):
        async with (
            limit(),
            upstream(first, "one") as (one, _),
            upstream(says({"data": []}), "two") as (two, _),
            serving(one, two) as gateway,
        ):
            answer = await gateway.ask("POST", "/v1/embeddings", {"model": "m", "input": "x"})
        assert answer.json == {"data": []}


async def test_a_request_that_is_wrong_everywhere_is_asked_once():
    async with (
        limit(),
        upstream(says({}, status=400), "one") as (one, _),
        upstream(says({}), "two") as (two, not_asked),
        serving(one, two) as gateway,
    ):
        assert (await gateway.ask("POST", "/v1/embeddings", {"model": "m"})).status == 400
    assert not not_asked


async def test_keys_are_needed_and_bodies_have_a_limit():
    async with (
        limit(),
        upstream(says({})) as (up, asked),
        serving(up, api_keys=[KEY], max_body=1000) as gateway,
    ):
        body = {"model": "m", "input": "x"}
        assert (await gateway.ask("POST", "/v1/embeddings", body)).status == 401
        key = {"Authorization": f"Bearer {KEY}"}
        assert (await gateway.ask("POST", "/v1/embeddings", {**body, "input": "x" * 1000}, key)).status == 413
        too_long = FORM + b"x" * 2000 + END
        assert (
            await gateway.ask("POST", "/v1/audio/transcriptions", too_long, {**key, **FORM_TYPE})
        ).status == 413
        async with Wire.to(gateway.port) as wire:
            wire.send(
                "POST", "/v1/audio/transcriptions", None, {**key, **FORM_TYPE, "Transfer-Encoding": "chunked"}
            )
            wire.writer.write(b"%x\r\n%b\r\n" % (len(too_long), too_long))
            assert (await wire.answer()).status == 413
    assert KEY not in str([one.headers for one in asked])


async def test_responses_have_limits():
    async def endless(asked: Asked) -> None:
        await asked.body()
        asked.begin("audio/mpeg")
        while True:
            asked.chunk(b"x" * 10_000)
            await asked.writer.drain()

    async def silent(asked: Asked) -> None:
        await asked.body()
        await asked.reader.read()

    body = {"model": "m", "input": "x"}
    async with limit(), upstream(endless) as (up, _), serving(up, max_response=100_000) as gateway:
        answer = await gateway.ask("POST", "/v1/audio/speech", body)
        assert not answer.complete or answer.error["code"] == "response-too-large"
    async with limit(), upstream(silent) as (up, _), serving(up, max_duration=0.05) as gateway:
        answer = await gateway.ask("POST", "/v1/audio/speech", body)
        assert answer.error["code"] == "response-too-long"


async def test_a_foreign_page_is_refused_and_a_form_is_taken_only_where_files_belong():
    async with limit(), upstream(says({})) as (up, asked), serving(up) as gateway:
        for path in ("/v1/embeddings", "/v1/completions", "/v1/images/edits", "/audio/transcriptions"):
            page = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", **FORM_TYPE}
            assert (await gateway.ask("POST", path, FORM + END, page)).status == 403
        for path in ("/v1/embeddings", "/v1/completions", "/v1/rerank", "/v1/moderations"):
            assert (await gateway.ask("POST", path, FORM + END, FORM_TYPE)).status == 415
        for path in ("/v1/images/edits", "/v1/audio/x"):
            assert (await gateway.ask("POST", path, b"x", {"Content-Type": "text/html"})).status == 415
        assert not asked
        assert (await gateway.ask("POST", "/v1/images/edits", FORM + END, FORM_TYPE)).status == 200


# Paths


@pytest.mark.parametrize(
    ("path", "up_path"),
    [
        ("/embeddings", "/v1/embeddings"),
        ("/v1/v1/embeddings/", "/v1/embeddings"),
        ("/openai/deployments/e/embeddings", "/v1/embeddings"),
        ("/openai/v1/audio/speech", "/v1/audio/speech"),
        ("/v1/rerank", "/v1/rerank"),
        ("/v1/images/a%20b%3Fc", "/v1/images/a%20b%3Fc"),
    ],
)
async def test_paths_are_those_of_every_base_url(path, up_path):
    async with limit(), upstream(says({})) as (up, asked), serving(up, default_model="d") as gateway:
        assert (await gateway.ask("POST", path, {"input": "x"})).status == 200
    assert asked[0].path == up_path
    if "deployments" in path:
        assert json.loads(asked[0].read)["model"] == "e"


async def test_other_paths_pass_by_setting():
    async with (
        limit(),
        upstream(says({"id": "b"}, more="x-request-id: theirs\r\nset-cookie: a=b\r\n")) as (up, asked),
        serving(up, pass_through=["/v1/batches", "/v1/files/*"]) as gateway,
    ):
        answer = await gateway.ask("GET", "/v1/batches?limit=2&after=a%26b", None, {"X-Request-Id": "mine"})
        assert answer.json == {"id": "b"}
        assert (answer.headers["x-request-id"], answer.headers["x-upstream-request-id"]) == ("mine", "theirs")
        assert "set-cookie" not in answer.headers
        assert answer.headers["content-security-policy"] == "sandbox"
        assert (await gateway.ask("DELETE", "/v1/files/f")).json == {"id": "b"}
        assert (await gateway.ask("POST", "/v1/files/f/cancel", b"")).json == {"id": "b"}
        raw = await gateway.ask("POST", "/v1/files/f", b"\0\1", {"Content-Type": "application/octet-stream"})
        assert raw.json == {"id": "b"}
        assert (await gateway.ask("PUT", "/v1/batches")).status == 405
        assert (await gateway.ask("GET", "/v1/files/../models")).status == 404
        assert (await gateway.ask("GET", "/v1/batches/b")).status == 404
    assert [one.first.rsplit(" ", 1)[0] for one in asked] == [
        "GET /v1/batches?limit=2&after=a%26b",
        "DELETE /v1/files/f",
        "POST /v1/files/f/cancel",
        "POST /v1/files/f",
    ]
    assert asked[3].read == b"\0\1"


async def test_head_has_no_body():
    async def script(asked: Asked) -> None:
        asked.writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\n")

    async with limit(), upstream(script) as (up, _), serving(up, pass_through=["/v1/files/*"]) as gateway:
        answer = await gateway.ask("HEAD", "/v1/files/f")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "5", b"")


async def test_unknown_paths_are_unknown():
    async with limit(), upstream(says({})) as (up, asked), serving(up) as gateway:
        for path in ("/v1/batches", "/v1/images", "/v1/audio/", "/v1/embeddings/x", "/v1/completions/x"):
            answer = await gateway.ask("POST", path, {"model": "m"})
            assert (answer.status, answer.error["message"]) == (404, f"Unknown path {path}")
        assert (await gateway.ask("GET", "/v1/embeddings")).status == 405
    assert not asked


@pytest.mark.parametrize("path", ["/batches", "/v2/x", "/v1/a*b", "/v1/../x"])
def test_a_path_that_cannot_pass_is_an_error(path):
    with pytest.raises(ConfigurationError, match="pass_through"):
        parse(f'pass_through = ["{path}"]', {}, where="test")


async def test_an_upstream_that_passes_nothing_on_says_so():
    async with limit(), serving(ManualUpstream()) as gateway:
        answer = await gateway.ask("POST", "/v1/embeddings", {"model": "m", "input": "x"})
    assert (answer.status, answer.error["code"]) == (501, "not-implemented")
    assert re.search(r"'manual' answers no /v1/embeddings", answer.error["message"])


# Which upstream


async def test_an_upload_goes_to_the_next_upstream_while_nothing_of_it_is_sent():
    form = FORM + b"x" * MIB + END
    async with limit(), upstream(says({"text": "Hi"})) as (up, asked):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        gone = UpstreamConfig(name="gone", url=f"http://127.0.0.1:{port}/v1")
        async with serving(gone, up) as gateway:
            answer = await gateway.ask("POST", AUDIO, form, FORM_TYPE)
    assert answer.json == {"text": "Hi"}
    assert asked[0].read == form


async def test_an_upload_that_fails_is_not_sent_twice():
    async def fails(asked: Asked) -> None:
        await asked.reader.readexactly(MIB)
        asked.answer(b'{"error": {"message": "no"}}', status=503, more="connection: close\r\n")

    form = FORM + b"x" * 4 * MIB + END
    async with (
        limit(),
        upstream(fails, "one") as (one, _),
        upstream(says({}), "two") as (two, not_asked),
        serving(one, two) as gateway,
    ):
        answer = await gateway.ask("POST", AUDIO, form, FORM_TYPE)
    assert (answer.status, answer.error["message"]) == (503, "no")
    assert not not_asked


async def test_an_upstream_that_offers_only_messages_is_not_asked():
    async with (
        limit(),
        upstream(says({}), "claude", api="messages") as (claude, not_asked),
        upstream(says({"data": []}), "other") as (other, _),
        serving(claude, other) as gateway,
    ):
        answer = await gateway.ask("POST", "/v1/embeddings", {"model": "m", "input": "x"})
        assert answer.json == {"data": []}
    assert not not_asked


async def test_admission_decides_and_is_told_of_the_end():
    told = []

    def admit(asked):
        told.append((asked.request.model, asked.owner))
        if asked.request.model == "dear":
            raise RateLimitedError("too dear")
        return lambda: told.append("over")

    async with limit(), upstream(says({"data": []})) as (up, asked), serving(up) as gateway:
        gateway.gateway.admission = admit
        assert (await gateway.ask("POST", "/v1/embeddings", {"model": "m", "input": "x"})).status == 200
        assert (await gateway.ask("POST", "/v1/embeddings", {"model": "dear", "input": "x"})).status == 429
    assert told == [("m", ""), "over", ("dear", "")]
    assert len(asked) == 1


@pytest.mark.timeout(240)
async def test_the_embedded_model_completes_and_says_that_it_embeds_nothing():
    up = UpstreamConfig(name="embedded", url="embedded:")
    async with serving(up) as gateway, client(gateway) as sdk:
        stream = await sdk.completions.create(model=MODEL, prompt="One, two,", max_tokens=4, stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream])
        answer = await gateway.ask("POST", "/v1/embeddings", {"model": MODEL, "input": "x"})
        assert answer.status == 501
        assert answer.error["message"] == (
            "the embedded model does not answer /v1/embeddings; configure an upstream that does"
        )
        assert (await gateway.ask("POST", "/v1/completions", {"model": MODEL})).status == 400


async def test_any_server_passes_through_and_sees_the_caller_leave():
    left = asyncio.Event()

    async def script(asked: Asked) -> None:
        await asked.body()
        if asked.path.endswith("speech"):
            asked.begin("audio/mpeg")
            asked.chunk(b"x")
            await asked.reader.read()
            left.set()
        else:
            asked.answer(b'{"data": []}')

    async with (
        limit(),
        upstream(script) as (up, _),
        over(up) as gateway,
        served(gateway, http="httptools") as port,
    ):
        async with Wire.to(port) as wire:
            wire.send("POST", "/v1/embeddings", {"model": "m", "input": "x"})
            assert (await wire.answer()).json == {"data": []}
            wire.send("POST", "/v1/audio/speech", {"model": "m", "input": "x"})
            await wire.head()
            assert await wire.frame() == b"x"
        await left.wait()
