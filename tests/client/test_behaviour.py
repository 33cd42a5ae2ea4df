"""What a drop-in client owes its caller besides the text: closed connections, untouched requests, no hidden retries."""

from __future__ import annotations

import asyncio
import gc
import gzip
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import httpx2
import openai
import pytest

import everytoken
from command_line import wait_for
from everytoken.errors import EverytokenError, RecoveryExhaustedError
from everytoken.testing import Answer, CleanEnd, Head, ScriptedUpstream, Send, Status, Wait
from guide_loops import CONTEXT, MESSAGES, PROMPT, ask, ask_async, client_for, read, shortened

LONG = Answer(Answer.of_chunks(2000).content, delay=0.01)
GUIDE = Path(__file__).parents[2] / "spec" / "guide"
CLIENT = str(Path(everytoken.client.__file__).parent)
ASKED = {"model": "m", "messages": MESSAGES, "stream": True}


def sync_client(upstream, **options):
    http_client = everytoken.Client(verify=CONTEXT, **options)
    return openai.OpenAI(base_url=upstream.base_url, api_key="secret", http_client=http_client)


def start(client):
    return client.chat.completions.create(**ASKED)


def interrupt_a_read():
    """Do what Ctrl-C does once the main thread waits in our client: a moment before, it would end the test instead."""
    main = threading.main_thread().ident

    def is_in_ours():
        frames = [sys._current_frames()[main]]
        while frames[-1].f_back is not None:
            frames.append(frames[-1].f_back)
        return any(frame.f_code.co_filename.startswith(CLIENT) for frame in frames)

    wait_for(is_in_ours)
    signal.pthread_kill(main, signal.SIGINT)


class TestLeavingEarly:
    def test_closing_the_stream_closes_the_connection_at_once(self):
        with ScriptedUpstream(LONG) as upstream, sync_client(upstream) as client:
            stream = start(client)
            next(stream)
            assert len(upstream.open_connections) == 1
            stream.close()
            wait_for(lambda: not upstream.open_connections, 1)
            assert len(upstream.attempts) == 1

    def test_leaving_the_block_of_a_stream_does_too(self):
        with ScriptedUpstream(LONG) as upstream, sync_client(upstream) as client:
            with start(client) as stream:
                for _ in stream:
                    break
            wait_for(lambda: not upstream.open_connections, 1)

    def test_dropping_the_stream_does_too(self):
        with ScriptedUpstream(LONG) as upstream, sync_client(upstream) as client:
            for _ in start(client):
                break
            gc.collect()
            wait_for(lambda: not upstream.open_connections, 1)

    def test_what_another_thread_closes_does_not_end_as_if_it_were_whole(self):
        faults = [("always", "only-comments", "one")]
        with ScriptedUpstream(faults=faults, sleep=shortened) as upstream, sync_client(upstream) as client:
            stream = start(client)
            next(stream)
            timer = threading.Timer(0.05, stream.close)
            timer.start()
            with pytest.raises((openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError)):
                list(stream)
            timer.join()

    def test_ctrl_c_does_too(self):
        with (
            ScriptedUpstream(faults=[("always", "silent", "one")]) as upstream,
            sync_client(upstream) as client,
        ):
            stream = start(client)
            next(stream)
            interrupt = threading.Thread(target=interrupt_a_read)
            interrupt.start()
            with pytest.raises(KeyboardInterrupt):
                list(stream)
            wait_for(lambda: not upstream.open_connections, 1)
            interrupt.join()

    async def test_closing_an_async_stream_does_too(self, scripted_upstream):
        upstream = await scripted_upstream(LONG)
        async with client_for(upstream.base_url) as client:
            async with await start(client) as stream:
                async for _ in stream:
                    break
            async with asyncio.timeout(1):
                await upstream.attempts[0].closed.wait()

    @pytest.mark.parametrize("where", ["waiting for the head", "waiting for content", "backing off"])
    async def test_a_cancelled_task_does_too(self, where, scripted_upstream):
        faults = {
            "waiting for the head": [("always", "silent-after-accept", "start")],
            "waiting for content": [("always", "silent", "one")],
            "backing off": [("always", "status-503", "start")],
        }
        upstream = await scripted_upstream(faults=faults[where])
        policy = everytoken.Policy(backoff=60, backoff_max=60)
        async with client_for(upstream.base_url, policy) as client:
            task = asyncio.ensure_future(read(client))
            request = await upstream.wait_for_attempt()
            if where == "backing off":
                await request.answered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with asyncio.timeout(1):
            await request.closed.wait()
        assert len(upstream.attempts) == 1


class TestConnections:
    def test_one_connection_serves_answer_after_answer(self):
        with ScriptedUpstream() as upstream, sync_client(upstream) as client:
            for _ in range(5):
                assert "".join(c.choices[0].delta.content or "" for c in start(client)) == upstream.text
            assert upstream.connection_count == 1

    async def test_an_async_one_too(self, scripted_upstream):
        upstream = await scripted_upstream()
        async with client_for(upstream.base_url) as client:
            for _ in range(5):
                assert (await read(client)).text == upstream.text
        assert upstream.connection_count == 1

    def test_several_threads_share_a_client(self):
        with ScriptedUpstream(faults=[(1, "reset", "middle")]) as upstream, sync_client(upstream) as client:
            texts = []

            def run():
                texts.append("".join(c.choices[0].delta.content or "" for c in start(client)))

            threads = [threading.Thread(target=run) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert texts == [upstream.text] * 4

    def test_nothing_is_left_behind_that_warns(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with ScriptedUpstream(faults=[(0, "reset", "middle")]) as upstream:
                assert ask(upstream.base_url).text == upstream.text
                assert asyncio.run(ask_async(upstream.base_url)).text == upstream.text


class TestGivingUp:
    def test_the_sdks_retries_do_not_multiply_ours(self):
        with ScriptedUpstream(faults=[("always", "close-before-head", "start")]) as upstream:
            outcome = ask(upstream.base_url, PROMPT, max_retries=1)
            assert isinstance(outcome.error, openai.APIConnectionError)
            assert isinstance(outcome.cause, RecoveryExhaustedError)
            assert len(outcome.cause.attempts) == len(upstream.attempts) == 3

    def test_what_is_asked_for_anew_is_tried_anew(self):
        faults = [(attempt, "close-before-head", "start") for attempt in range(3)]
        with ScriptedUpstream(faults=faults) as upstream, sync_client(upstream, policy=PROMPT) as client:
            with pytest.raises(openai.APIConnectionError):
                start(client.with_options(max_retries=0))
            assert "".join(c.choices[0].delta.content or "" for c in start(client)) == upstream.text

    def test_a_refusal_that_stays_one_is_the_upstreams_own_answer(self):
        body = b'{"error": {"message": "too fast", "code": "rate_limit"}}'
        with ScriptedUpstream([Status(429, body=body)]) as upstream:
            outcome = ask(upstream.base_url, PROMPT)
            assert isinstance(outcome.error, openai.RateLimitError)
            assert outcome.error.body == {"message": "too fast", "code": "rate_limit"}
            assert outcome.error.response.headers["x-should-retry"] == "false"
            assert isinstance(outcome.error.response.extensions["everytoken_error"], EverytokenError)
            assert len(upstream.attempts) == 3

    @pytest.mark.parametrize(
        ("when", "fault", "attempts"),
        [
            pytest.param("always", "clean-end", 4, id="interrupted for good"),
            pytest.param(0, "clean-end", 2, id="healed by a retry"),
            pytest.param("always", "error-object", 4, id="healed by the non-streaming fallback"),
        ],
    )
    def test_the_guides_error_handling_does_what_it_says(self, when, fault, attempts, capsys):
        block = (GUIDE / "interrupted.txt").read_text(encoding="utf-8")
        pieces = []
        with (
            ScriptedUpstream(faults=[(when, fault, "middle")]) as upstream,
            sync_client(upstream, policy=PROMPT) as client,
        ):
            exec(block, {"stream": start(client), "process": pieces.append})
            assert [request.json.get("stream", False) for request in upstream.attempts] == [
                True,
                True,
                True,
                False,
            ][:attempts]
            if (when, fault) == ("always", "clean-end"):
                assert upstream.text.startswith("".join(pieces))
                assert 0 < len("".join(pieces)) < len(upstream.text)
                assert capsys.readouterr().out == "Stream interrupted: Connection error.\n"
            else:
                assert ("".join(pieces), capsys.readouterr().out) == (upstream.text, "")

    @pytest.mark.parametrize(
        ("fault", "raised"),
        [
            ("connection-refused", httpx2.ConnectError),
            ("silent-after-accept", httpx2.ReadTimeout),
            ("reset", httpx2.ReadError),
            ("close", httpx2.RemoteProtocolError),
            ("done-without-finish", httpx2.RemoteProtocolError),
        ],
    )
    def test_what_is_raised_is_what_the_http_client_raises(self, fault, raised):
        at = "middle" if fault in {"reset", "close", "done-without-finish"} else "start"
        policy = everytoken.Policy(attempts=1)
        if fault == "silent-after-accept":
            policy = everytoken.Policy(first_content=0.1, give_up=0.1, attempts=1)
        with ScriptedUpstream(faults=[("always", fault, at)]) as upstream:
            with everytoken.Client(policy=policy, verify=CONTEXT) as client, pytest.raises(raised) as caught:
                client.post(f"{upstream.base_url}/chat/completions", json=ASKED)
            assert isinstance(caught.value.__cause__, EverytokenError)
            assert caught.value.request.method == "POST"

    def test_a_url_that_cannot_be_asked_is_not_tried_again(self):
        with everytoken.Client(verify=CONTEXT) as client, pytest.raises(httpx2.UnsupportedProtocol) as caught:
            client.post("ftp://127.0.0.1/chat/completions", json=ASKED)
        assert caught.value.__cause__ is None or not isinstance(caught.value.__cause__, EverytokenError)


class TestTime:
    @pytest.mark.virtual_time
    async def test_a_slow_caller_is_not_a_stalled_upstream(self, scripted_upstream):
        upstream = await scripted_upstream()
        text = ""
        async with client_for(upstream.base_url) as client:
            async for chunk in await start(client):
                text += chunk.choices[0].delta.content or ""
                await asyncio.sleep(1000)
        assert text == upstream.text
        assert len(upstream.attempts) == 1

    @pytest.mark.virtual_time
    @pytest.mark.parametrize(
        ("fault", "at", "seconds"),
        [("only-comments", "start", 600), ("only-empty-deltas", "one", 600), ("silent", "one", 600)],
    )
    async def test_the_only_attempt_is_given_up_after_ten_minutes_to_the_second(
        self, fault, at, seconds, scripted_upstream
    ):
        upstream = await scripted_upstream(faults=[("always", fault, at)])
        started = asyncio.get_running_loop().time()
        outcome = await ask_async(upstream.base_url, everytoken.Policy(attempts=1), max_retries=0)
        assert isinstance(outcome.error, openai.APITimeoutError)
        assert outcome.cause.code.startswith("upstream-stalled")
        assert asyncio.get_running_loop().time() - started == pytest.approx(seconds, abs=0.1)

    @pytest.mark.virtual_time
    async def test_a_stall_is_noticed_after_thirty_seconds_to_the_second(self, scripted_upstream):
        upstream = await scripted_upstream(faults=[(0, "silent", "one")])
        started = asyncio.get_running_loop().time()
        outcome = await ask_async(upstream.base_url, everytoken.Policy(), max_retries=0)
        assert (outcome.text, outcome.error) == (upstream.text, None)
        assert asyncio.get_running_loop().time() - started == pytest.approx(30, abs=1.0)

    @pytest.mark.virtual_time
    @pytest.mark.parametrize("at", [0, 5])
    async def test_seventy_five_seconds_of_processing_are_one_request(self, at, scripted_upstream):
        """Before the answer, and in the middle of it: models that think send comments, and so do their gateways."""
        steps = ScriptedUpstream().script_for
        pause = [step for _ in range(75) for step in (Send(b": processing\n\n"), Wait(1.0))]

        def script(request):
            told = list(steps(request))
            where = [number for number, step in enumerate(told) if isinstance(step, Send)][at]
            return [*told[:where], *pause, *told[where:]]

        upstream = await scripted_upstream(script)
        outcome = await ask_async(upstream.base_url, everytoken.Policy(), max_retries=0)
        assert (outcome.error, len(upstream.requests)) == (None, 1)
        assert outcome.text

    def test_comments_do_not_put_off_the_end_of_a_blocking_read(self):
        steps = [Head(), *[step for _ in range(2000) for step in (Send(b": ping\n"), Wait(0.01))]]  # 20 s
        with ScriptedUpstream(steps) as upstream:
            started = time.monotonic()
            outcome = ask(
                upstream.base_url,
                everytoken.Policy(first_content=0.1, thinking=0.1, give_up=0.1, attempts=1),
                max_retries=0,
            )
            assert outcome.cause.code == "upstream-stalled-first-content"
            assert 0.1 <= time.monotonic() - started < 10


class TestPassingThrough:
    def test_what_is_no_streamed_completion_is_not_touched(self):
        with ScriptedUpstream(faults=[(0, "status-503", "start")]) as upstream:
            with everytoken.Client(verify=CONTEXT) as client:
                url = f"{upstream.base_url}/chat/completions"
                asked = {"model": "m", "messages": MESSAGES}
                assert client.post(url, json=asked).status_code == 503
                whole = client.post(url, json=asked, headers={"x-mine": "1"})
                assert whole.json()["choices"][0]["message"]["content"] == upstream.text
                assert client.get(f"{upstream.base_url}/models").status_code == 200
            sent = upstream.requests[1]
            assert sent.json == asked
            assert "idempotency-key" not in sent.headers
            assert sent.headers["x-mine"] == "1"
            assert len(upstream.attempts) == 2

    def test_a_body_that_is_no_request_is_the_servers_to_refuse(self):
        with ScriptedUpstream([Status(400)]) as upstream, everytoken.Client(verify=CONTEXT) as client:
            url = f"{upstream.base_url}/chat/completions"
            for body in (b'{"stream": true', b'{"stream": true}', b'["stream"]', iter([b'{"stream": true}'])):
                assert client.post(url, content=body).status_code == 400
            assert len(upstream.attempts) == 4

    def test_the_callers_headers_go_along_and_the_request_is_his_but_for_a_seed(self):
        with ScriptedUpstream() as upstream, everytoken.Client(verify=CONTEXT) as client:
            headers = {"authorization": "Bearer k", "x-mine": "1", "idempotency-key": "mine"}
            url = f"{upstream.base_url}/chat/completions?api-version=1"
            response = client.post(url, json={**ASKED, "custom": {"a": 1.0}}, headers=headers)
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            sent = upstream.requests[0]
            assert isinstance(sent.json.pop("seed"), int)
            assert sent.json == {**ASKED, "custom": {"a": 1.0}}
            assert headers.items() <= sent.headers.items()
            assert sent.headers["accept-encoding"] == "identity"
            assert sent.path.endswith("?api-version=1")

    def test_the_same_request_under_the_callers_key_is_the_same_to_the_byte(self):
        with ScriptedUpstream() as upstream, everytoken.Client(verify=CONTEXT) as client:
            for key in ("a", "a", None):
                headers = {} if key is None else {"idempotency-key": key}
                client.post(f"{upstream.base_url}/chat/completions", json=ASKED, headers=headers)
            first, again, other = (request.body for request in upstream.requests)
            assert first == again != other

    def test_further_attempts_have_keys_of_their_own(self):
        with ScriptedUpstream(faults=[(0, "close-before-head", "start"), (1, "reset", "middle")]) as upstream:
            assert ask(upstream.base_url, PROMPT).text == upstream.text
            bodies = [request.body for request in upstream.attempts]
            keys = [request.headers["idempotency-key"] for request in upstream.attempts]
            assert len(bodies) == 3
            assert [bodies[0] == body for body in bodies] == [keys[0] == key for key in keys]

    def test_redirects_are_not_followed_with_our_credentials(self):
        elsewhere = Status(308, headers=(("Location", "/elsewhere/chat/completions"),))
        with ScriptedUpstream([elsewhere]) as upstream:
            with everytoken.Client(verify=CONTEXT, follow_redirects=True) as client:
                response = client.post(f"{upstream.base_url}/chat/completions", json=ASKED)
            assert response.status_code == 308
            assert len(upstream.requests) == 1

    @pytest.mark.parametrize("kind", ["read already", "read already and packed", "to be read"])
    async def test_a_transport_of_the_callers_own_is_used(self, kind):
        end = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}\n\n'
        calls = []

        def answer(request):
            calls.append(request)
            body = end if len(calls) % 2 == 0 else b""
            headers = {"content-type": "text/event-stream"}
            if kind == "read already and packed":
                return httpx2.Response(
                    200, headers={**headers, "content-encoding": "gzip"}, content=gzip.compress(body)
                )
            if kind == "read already":
                return httpx2.Response(200, headers=headers, content=body)
            return httpx2.Response(200, headers=headers, stream=Stream(body))

        class Stream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
            def __init__(self, body):
                self.body = body

            def __iter__(self):
                yield self.body

            async def __aiter__(self):
                yield self.body

        url, transport = "http://model/v1/chat/completions", httpx2.MockTransport(answer)
        with everytoken.Client(transport=transport, policy=PROMPT) as client:
            response = await asyncio.to_thread(client.post, url, json=ASKED)
            assert response.text == end.decode() + "data: [DONE]\n\n"
        async with everytoken.AsyncClient(transport=transport, policy=PROMPT) as client:
            assert (await client.post(url, json=ASKED)).text == end.decode() + "data: [DONE]\n\n"
        assert len(calls) == 4


def test_an_event_of_several_lines_is_handed_on_as_one_line():
    lines = (
        b'data: {"choices":\ndata: [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}\n\n'
    )
    with ScriptedUpstream([Send(lines), Send(b"data: [DONE]\n\n"), CleanEnd()]) as upstream:
        assert ask(upstream.base_url).text == "Hi"
