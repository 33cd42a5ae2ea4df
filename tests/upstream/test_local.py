"""The embedded model: what it answers, and how it lives and dies. The real model runs here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import platform
import signal
import socket
import subprocess
import sys

import everytoken_model_smollm2
import httpx2
import pytest
import pytest_asyncio

from everytoken.errors import ConfigurationError
from everytoken.upstream import local
from everytoken.upstream.http import HttpUpstream
from everytoken.upstream.local import MODEL, LocalModel

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAUSE = 0.02  # seconds between two looks at a process that is not ours to wait for


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model():
    async with LocalModel(context_tokens=512, parallel=3) as model:
        yield model


@pytest_asyncio.fixture(loop_scope="module")
async def client(model):
    async with connect(model.endpoint) as client:
        yield client


def connect(endpoint):
    """
    Return a client that opens a connection for each request.

    llama.cpp closes a connection behind a stream, although its head says `Keep-Alive`, and this client does not
    send a request again that went out on a connection which was just being closed. `HttpUpstream` does.
    """
    return httpx2.AsyncClient(
        base_url=endpoint.base_url,
        headers={"Authorization": f"Bearer {endpoint.api_key}"},
        limits=httpx2.Limits(max_keepalive_connections=0),
        timeout=60,
        trust_env=False,
    )


def request(prompt="Name three rivers.", *, seed=7, tokens=24, **rest):
    messages = [{"role": "user", "content": prompt}]
    return {"messages": messages, "seed": seed, "temperature": 0.8, "max_tokens": tokens, **rest}


async def until(condition):
    """Wait for something that happens in another process; the test's time limit bounds it."""
    while not condition():  # noqa: ASYNC110  # another process has no event of ours
        await asyncio.sleep(PAUSE)


async def ask(client, **body):
    response = await client.post("/chat/completions", json=request(**body))
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


async def stream(client, **body):
    """Return the contents as they arrived."""
    contents = []
    async with client.stream("POST", "/chat/completions", json=request(stream=True, **body)) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line.removeprefix("data: "))
                contents.append(chunk["choices"][0]["delta"].get("content") or "")
    return contents


async def test_the_same_seed_gives_the_same_text_streamed_and_not(client):
    contents = await stream(client)
    assert len([content for content in contents if content]) > 10
    assert "".join(contents) == await ask(client)
    assert "".join(contents) != await ask(client, seed=8)


class Whole:
    """A sink that starts the next request as soon as it may, and before the loop has read from the socket again."""

    def __init__(self, ended):
        self.ended, self.data = ended, b""

    def on_connected(self): ...

    def on_accepted(self): ...

    def on_data(self, data):
        self.data += data

    def on_non_streaming(self, body):
        self.data = body
        self.on_eof()

    def on_eof(self):
        asyncio.get_running_loop().call_soon(self.ended.set_result, self.data)

    def on_error(self, error):
        self.ended.set_exception(error)


async def test_a_request_is_not_lost_on_a_connection_that_closes_behind_a_stream(model):
    """The head of a stream says `Keep-Alive`, and the connection closes behind it: the next request goes out on it."""
    upstream = HttpUpstream("embedded", model.endpoint.base_url, api_key=model.endpoint.api_key)
    for _ in range(5):
        for streamed in (True, False):
            ended = asyncio.get_running_loop().create_future()
            upstream.connect(request(stream=streamed, tokens=2), Whole(ended), streamed=streamed)
            data = await ended
            assert b"[DONE]" in data if streamed else json.loads(data)["choices"]
    await upstream.stop()


async def test_neighbours_do_not_change_a_text(client):
    prompts = ["Name three rivers.", "river " * 130, "写一首诗"]  # the second takes more than one batch
    alone = [await ask(client, prompt=prompt, tokens=5) for prompt in prompts]
    together = await asyncio.gather(*(ask(client, prompt=prompt, tokens=5) for prompt in prompts))
    assert together == alone


async def test_the_models_file_is_nowhere_to_be_seen(client):
    listed = (await client.get("/models")).text
    answered = (await client.post("/chat/completions", json=request(stream=True, tokens=2))).text
    assert f'"{MODEL}"' in listed
    assert f'"{MODEL}"' in answered
    assert "gguf" not in answered
    assert str(everytoken_model_smollm2.path().parent) not in listed + answered


async def test_without_the_key_there_is_no_answer(client):
    response = await client.post(
        "/chat/completions", json=request(), headers={"Authorization": "Bearer wrong"}
    )
    assert response.status_code == 401


async def test_more_requests_than_engines_take_turns(model, client):
    texts = await asyncio.gather(*(ask(client, tokens=2) for _ in range(model._settings["parallel"] + 2)))
    assert len(set(texts)) == 1


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_prompt_too_long_is_refused_and_hurts_nobody(client, streamed):
    response = await client.post("/chat/completions", json=request("word " * 600, stream=streamed))
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "exceed_context_size_error"
    assert await ask(client, tokens=2)


async def test_ctrl_c_in_the_terminal_is_not_for_the_child(model, client):
    assert os.getsid(model.pid) == model.pid
    os.kill(model.pid, signal.SIGINT)
    assert await ask(client, tokens=2)


async def test_a_crash_is_followed_by_a_new_start_at_the_same_place(caplog):
    async with LocalModel(context_tokens=256) as model, connect(model.endpoint) as client:
        endpoint, pid = model.endpoint, model.pid
        text = await ask(client, tokens=4)
        running = asyncio.create_task(stream(client, tokens=200))
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(httpx2.TransportError):
            await running
        await until(lambda: "is running again" in caplog.text)
        assert model.endpoint == endpoint
        assert model.pid != pid
        assert await ask(client, tokens=4) == text
    assert "the embedded model ended unexpectedly (SIGKILL): no output on standard error" in caplog.messages


async def test_the_child_ends_with_its_parent_however_that_ends():
    script = (
        "import asyncio\n"
        "from everytoken.upstream.local import LocalModel\n"
        "async def main():\n"
        "    async with LocalModel(context_tokens=64) as model:\n"
        "        print(model.endpoint.base_url, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
    url = httpx2.URL((await parent.stdout.readline()).decode().strip())
    assert accepts(url.port)
    parent.kill()
    await parent.wait()
    await until(lambda: not accepts(url.port))


def accepts(port):
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_nothing_is_left_after_stop_and_stopping_again_is_nothing():
    model = LocalModel(context_tokens=64)
    await model.stop()
    endpoint = await model.start()
    assert endpoint == await model.start()  # it runs already
    pid = model.pid
    await model.stop()
    await model.stop()
    assert (model.running, model.pid) == (False, None)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_child_that_does_not_listen_to_sigterm_is_killed(monkeypatch):
    monkeypatch.setattr(local, "STOP_TIMEOUT", 0.05)
    model = LocalModel(context_tokens=64)
    await model.start()
    os.kill(model.pid, signal.SIGSTOP)
    await model.stop()
    assert not model.running


async def test_a_cancelled_start_leaves_no_child():
    model = LocalModel(context_tokens=64)
    starting = asyncio.create_task(model.start())
    await until(lambda: model.pid is not None)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not model.running


async def test_a_child_that_cannot_load_its_model_says_why(tmp_path, monkeypatch):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF but not really")
    monkeypatch.setattr(local, "find_weights", lambda: broken)
    with pytest.raises(ConfigurationError, match=r"^the embedded model does not start: \w+Error: .+$"):
        await LocalModel().start()


async def test_a_child_that_is_too_slow_is_ended(monkeypatch):
    monkeypatch.setattr(local, "START_TIMEOUT", 0.001)
    model = LocalModel(context_tokens=64)
    with pytest.raises(ConfigurationError, match="not ready after"):
        await model.start()
    assert not model.running


async def test_there_is_no_endpoint_before_the_start():
    with pytest.raises(ConfigurationError, match="not been started"):
        _ = LocalModel().endpoint


@pytest.mark.parametrize("missing", ["everytoken_model_smollm2", "xllamacpp"])
async def test_what_is_missing_is_said_in_one_line_with_the_way_to_get_it(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(
        ConfigurationError, match=r"make setup.+pip install \./weights 'everytoken\[embedded\]'$"
    ) as raised:
        await LocalModel().start()
    assert "\n" not in raised.value.message


async def test_weights_without_their_file_are_missing_too(monkeypatch, tmp_path):
    monkeypatch.setattr(everytoken_model_smollm2, "path", lambda: tmp_path / "gone.gguf")
    with pytest.raises(ConfigurationError, match="missing from their package"):
        await LocalModel().start()


PLATFORMS = [
    ("a usual Linux", "linux", "x86_64", "glibc", None),
    ("a Linux on ARM", "linux", "aarch64", "glibc", None),
    ("a new Mac", "darwin", "arm64", "", None),
    ("Alpine", "linux", "x86_64", "", "a Linux without glibc (musl)"),
    ("Windows on ARM", "win32", "ARM64", "", "Windows on ARM"),
    ("a rare processor", "linux", "riscv64", "glibc", "a riscv64 processor"),
]


@pytest.mark.parametrize(
    ("system", "machine", "libc", "name"),
    [case[1:] for case in PLATFORMS],
    ids=[case[0] for case in PLATFORMS],
)
async def test_platforms_without_a_build_are_named(monkeypatch, system, machine, libc, name):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
    assert local.no_build() == name
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ConfigurationError, match="--upstream URL" if name else "make setup"):
        local.check_runtime()


async def test_the_pauses_between_starts_grow_to_a_limit():
    assert [local.restart_delay(failures) for failures in range(1, 9)] == [0, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("status", "words"), [(0, "exit status 0"), (3, "exit status 3"), (-11, "SIGSEGV"), (-99, "signal 99")]
)
async def test_an_end_is_told_in_words(status, words):
    assert local.describe_status(status) == words


async def test_what_the_child_says_is_for_who_debugs_and_its_end_is_kept(caplog):
    caplog.set_level(logging.DEBUG, "everytoken.upstream.local")
    model = LocalModel()
    said = asyncio.StreamReader()
    said.feed_data(b"".join(b"line %d\n" % number for number in range(100)))
    said.feed_eof()
    await model._read_log(said)
    assert model._last_words() == "line 99"
    assert len(model._last_lines) == local.KEPT_LINES
    assert {record.levelname for record in caplog.records} == {"DEBUG"}
