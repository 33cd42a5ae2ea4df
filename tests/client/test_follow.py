"""The guide's loops through a gateway: cut anywhere, killed and restarted, and never asked twice."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import threading
from contextlib import asynccontextmanager

import httpx2
import openai
import pytest

import everytoken
from command_line import gateway, wait_for
from everytoken.errors import ErrorEventError, StatusError
from everytoken.testing import (
    Answer,
    CleanEnd,
    Head,
    Reset,
    ScriptedUpstream,
    Send,
    Stall,
    Status,
)
from gateway_serving import serving
from guide_loops import CONTEXT, MESSAGES, ask, ask_async, client_for, read
from messages_streams import STREAMS as MESSAGE_STREAMS
from messages_streams import encoded
from responses_streams import STREAMS as RESPONSE_STREAMS
from responses_streams import wire
from sampling import sampled

TEXT = "Hé👍"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, no time


def event(data, offset=None):
    told = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"data: {told}\n".encode() + (b"" if offset is None else b"id: %016d\n" % offset) + b"\n"


def chunk(content="", offset=None, **choice):
    return event({"choices": [{"delta": {"content": content} if content else {}, **choice}]}, offset)


BYTES = [chunk("Hé"), chunk("👍"), chunk(finish_reason="stop"), event("[DONE]")]


@asynccontextmanager
async def cut_once(port):
    """Put a proxy in front of `port` that cuts the next answer after `left[0]` bytes, by turns properly and by a reset."""
    left = [None]
    tasks = set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            back.write(await reader.readuntil(b"\r\n\r\n"))
            forward = asyncio.ensure_future(pipe(reader, back))
            limit, left[0] = left[0], None
            reset = limit is not None and limit % 2 == 0
            while data := await there.read(65536):
                if limit is not None and len(data) >= limit:
                    writer.write(data[:limit])
                    await writer.drain()
                    if reset:
                        sock = writer.get_extra_info("socket")
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    break
                limit = None if limit is None else limit - len(data)
                writer.write(data)
            forward.cancel()
        finally:
            back.transport.abort()
            writer.close()
            tasks.discard(asyncio.current_task())

    async def pipe(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], left
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@pytest.mark.virtual_time
async def test_cut_at_every_byte_the_answer_is_exact_and_was_asked_for_once():
    upstream = ScriptedUpstream([*map(Send, BYTES), CleanEnd()])
    async with upstream, serving(upstream) as served, cut_once(served.port) as (port, left):
        whole = await served.ask(
            "POST", "/v1/chat/completions", {"model": "m", "stream": True, "messages": MESSAGES}
        )
        head = sum(len(f"{name}: {value}\r\n") for name, value in whole.headers.items())
        # A cut inside the head is one case, whichever its byte. The body has its framing beside it.
        offsets = [*range(1, head, 50), *sampled(range(head, head + len(whole.body) + 60), 7)]
        async with client_for(f"http://127.0.0.1:{port}/v1") as client:
            for offset in offsets:
                left[0] = offset
                asked = len(upstream.attempts)
                outcome = await read(client)
                assert (offset, outcome.text, outcome.error) == (offset, TEXT, None)
                assert len(upstream.attempts) == asked + 1, offset


@pytest.mark.parametrize("loop", ["sync", "async"])
def test_the_gateway_is_killed_and_restarted_in_the_middle(loop, tmp_path):
    answer = Answer.of_chunks(150)
    slow = Answer(answer.content, delay=0.01)
    journal = f"sqlite:///{tmp_path}/journal.db"
    with ScriptedUpstream(slow) as upstream:
        serve = ["--journal", journal, "--upstream", upstream.base_url]
        with gateway(*serve) as (process, url):
            port = url.rpartition(":")[2]
            outcomes, pieces = [], []

            def run():
                if loop == "async":
                    outcomes.append(asyncio.run(ask_async(f"{url}/v1", process=pieces.append)))
                else:
                    outcomes.append(ask(f"{url}/v1", process=pieces.append))

            reader = threading.Thread(target=run)
            reader.start()
            wait_for(lambda: len(pieces) > 40)
            process.kill()
            process.wait()
        with gateway("--port", port, *serve):
            reader.join(20)
        assert len(upstream.attempts) == 2
    assert [(outcome.text, outcome.error) for outcome in outcomes] == [(upstream.text, None)]


class OfMessages:
    """What Anthropic's SDK reads through a gateway; each cut also makes it resume."""

    path, asked = "/v1/messages", {"model": "m", "max_tokens": 9, "messages": MESSAGES}
    upstream = encoded(MESSAGE_STREAMS["tool"])
    truth = (["Okay, let me look.", ""], {"location": "San Francisco, CA", "days": 3}, "tool_use")

    def client(self, port):
        anthropic = pytest.importorskip("anthropic")  # this file also runs where only everytoken is installed
        http_client = everytoken.AsyncClient(verify=CONTEXT)
        return anthropic.AsyncAnthropic(
            api_key="secret", base_url=f"http://127.0.0.1:{port}", http_client=http_client, max_retries=0
        )

    async def read(self, client):
        async with client.messages.stream(**self.asked) as stream:
            message = await stream.get_final_message()
        return (
            [getattr(part, "text", "") for part in message.content],
            message.content[-1].input,
            message.stop_reason,
        )


class OfResponses:
    """The same of openai's SDK."""

    path, asked = "/v1/responses", {"model": "m", "input": "Hi"}
    upstream = wire(RESPONSE_STREAMS["function_call"]("a"))
    truth = ("Let me look.", '{"city":"Paris"}', "completed")

    def client(self, port):
        http_client = everytoken.AsyncClient(verify=CONTEXT)
        return openai.AsyncOpenAI(
            api_key="secret", base_url=f"http://127.0.0.1:{port}/v1", http_client=http_client, max_retries=0
        )

    async def read(self, client):
        async with client.responses.stream(**self.asked) as stream:
            response = await stream.get_final_response()
        return response.output_text, response.output[-1].arguments, response.status


@pytest.mark.virtual_time
@pytest.mark.parametrize("api", [OfMessages(), OfResponses()], ids=["messages", "responses"])
async def test_other_apis_are_followed_and_asked_for_once(api):
    upstream = EveryPath([*map(Send, api.upstream), CleanEnd()])
    async with (
        upstream,
        serving(upstream) as served,
        cut_once(served.port) as (port, left),
        api.client(port) as client,
    ):
        whole = await served.ask("POST", api.path, {**api.asked, "stream": True})
        size = sum(len(f"{name}: {value}\r\n") for name, value in whole.headers.items()) + len(whole.body)
        for cut in [None, *range(1, size, 151), *range(size - 300, size, 30)]:
            left[0] = cut
            asked = len(upstream.requests)
            assert (cut, *await api.read(client)) == (cut, *api.truth)
            assert len(upstream.requests) == asked + 1, cut


class EveryPath(ScriptedUpstream):
    """A server that answers the paths of all APIs by one script."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def script_for(self, request):
        if request.method == "GET":
            return [Status(404)]
        self.requests.append(request)
        return self.steps


async def test_an_error_that_the_gateway_tells_is_the_sdks_own():
    """The gateway has tried all it may: the client asks for nothing again, and Anthropic's SDK raises its own error."""
    upstream = EveryPath([Send(b"".join(OfMessages.upstream[:5])), CleanEnd()])
    policy = everytoken.Policy(attempts=1)
    anthropic = pytest.importorskip("anthropic")
    async with (
        upstream,
        serving(upstream, policy=policy) as served,
        OfMessages().client(served.port) as client,
    ):
        with pytest.raises(anthropic.APIStatusError) as caught:
            await OfMessages().read(client)
    assert caught.value.body["error"]["code"] == "upstream-truncated"
    assert len(upstream.requests) == 1


# A gateway of a few lines, which does what a script says.

STREAM = Head(200, headers=(("Location", "/v1/stream/s1"), ("Stream-Next-Offset", "0" * 16)))
FIRST = [STREAM, Send(chunk("Hé", 1)), Reset()]
REST = [STREAM, Send(chunk("👍", 2) + chunk(offset=3, finish_reason="stop") + event("[DONE]")), CleanEnd()]


def scripted_gateway(*answers):
    """Answer the first request with the first script, and so on; the last one goes on for ever."""
    seen = []

    class Gateway(ScriptedUpstream):
        def script_for(self, request):
            self.requests.append(request)
            seen.append(request)
            return answers[min(len(seen), len(answers)) - 1]

    return Gateway()


@pytest.mark.virtual_time
class TestResumption:
    async def resumed(self, *answers):
        async with scripted_gateway(*answers) as served:
            return served, await ask_async(served.base_url)

    async def test_it_asks_for_what_comes_after_the_last_offset(self):
        served, outcome = await self.resumed(FIRST, REST)
        assert (outcome.text, outcome.error) == (TEXT, None)
        first, second = served.requests
        assert (first.method, second.method, second.path) == ("POST", "GET", "/v1/stream/s1/events")
        assert second.headers["last-event-id"] == f"{1:016d}"
        assert second.headers["authorization"] == "Bearer secret"
        assert re.fullmatch(r"[0-9a-f]{32}", first.headers["idempotency-key"])
        assert not second.body
        assert "idempotency-key" not in second.headers

    async def test_half_an_event_is_as_if_it_had_not_come(self):
        half = [STREAM, Send(chunk("Hé", 1) + chunk("👍", 2)[:-1]), CleanEnd()]
        served, outcome = await self.resumed(half, REST)
        assert (outcome.text, outcome.error) == (TEXT, None)
        assert served.requests[1].headers["last-event-id"] == f"{1:016d}"

    async def test_before_the_first_offset_it_reads_from_the_start(self):
        everything = [STREAM, *map(Send, BYTES), CleanEnd()]
        served, outcome = await self.resumed([STREAM, CleanEnd()], everything)
        assert (outcome.text, outcome.error) == (TEXT, None)
        assert "last-event-id" not in served.requests[1].headers

    async def test_a_gateway_that_is_away_is_asked_again(self):
        away = [Status(503)]
        served, outcome = await self.resumed(FIRST, away, [Reset()], away, REST)
        assert (outcome.text, outcome.error) == (TEXT, None)
        assert [request.method for request in served.requests] == ["POST", *["GET"] * 4]

    async def test_a_gateway_that_stays_away_is_given_up(self):
        served, outcome = await self.resumed(FIRST, [Status(503)])
        assert outcome.text == "Hé"
        assert isinstance(outcome.error, openai.APIConnectionError)
        assert outcome.cause.code == "upstream-truncated"
        assert 5 < len(served.requests) < 20

    @pytest.mark.parametrize("status", [401, 404, 410])
    async def test_a_response_that_is_gone_is_not_asked_for_twice(self, status):
        served, outcome = await self.resumed(FIRST, [Status(status)])
        assert outcome.text == "Hé"
        assert isinstance(outcome.cause, StatusError)
        assert outcome.cause.upstream_status == status
        assert ("no longer keeps" in outcome.cause.message) == (status == 410)
        assert len(served.requests) == 2

    async def test_all_read_and_nothing_more_is_an_end_behind_the_finish_reason(self):
        cut = [STREAM, Send(chunk("Hé👍", 1) + chunk(offset=2, finish_reason="stop")), CleanEnd()]
        _, outcome = await self.resumed(cut, [Status(204)])
        assert (outcome.text, outcome.error) == (TEXT, None)

    async def test_all_read_and_nothing_more_is_no_end_before_it(self):
        _, outcome = await self.resumed(FIRST, [Status(204)])
        assert outcome.text == "Hé"
        assert outcome.cause.code == "upstream-truncated"

    async def test_the_gateway_s_own_error_ends_it(self):
        error = {"error": {"message": "it stalled", "code": "upstream-stalled-gap", "type": "upstream_error"}}
        served, outcome = await self.resumed([STREAM, Send(chunk("Hé", 1) + event(error, 2)), CleanEnd()])
        assert outcome.text == "Hé"
        assert isinstance(outcome.cause, ErrorEventError)
        assert outcome.cause.error["code"] == outcome.cause.code == "upstream-stalled-gap"
        assert len(served.requests) == 1

    @pytest.mark.parametrize("code", [429, None, "none-of-ours", ["cancelled"]])
    async def test_a_code_that_is_none_of_ours_is_not_taken_over(self, code):
        error = {"error": {"message": "?", "code": code}}
        _, outcome = await self.resumed([STREAM, Send(chunk("Hé", 1) + event(error, 2)), CleanEnd()])
        assert outcome.cause.code == "upstream-error-event"

    async def test_silence_without_keep_alives_is_a_break(self):
        served, outcome = await self.resumed([STREAM, Send(chunk("Hé", 1)), Stall()], REST)
        assert (outcome.text, outcome.error) == (TEXT, None)
        assert len(served.requests) == 2

    async def test_an_event_that_is_no_chunk_is_read_again(self):
        broken = [STREAM, Send(chunk("Hé", 1) + event("{", 2)), Stall()]
        served, outcome = await self.resumed(broken, REST)
        assert (outcome.text, outcome.error) == (TEXT, None)
        assert served.requests[1].headers["last-event-id"] == f"{1:016d}"

    @pytest.mark.parametrize("location", ["http://elsewhere.invalid/v1/stream/s1", "/other/s1"])
    async def test_another_origin_never_sees_the_key(self, location):
        elsewhere = Head(200, headers=(("Location", location), ("Stream-Next-Offset", "0")))
        cut = [elsewhere, Send(BYTES[0]), CleanEnd()]
        whole = [elsewhere, *map(Send, BYTES), CleanEnd()]
        served, outcome = await self.resumed(cut, whole)
        assert (outcome.text, outcome.error) == (TEXT, None)
        assert [request.method for request in served.requests] == ["POST", "POST"]


@pytest.mark.virtual_time
async def test_what_is_handed_on_are_the_gateways_events():
    """Whoever reads the event stream himself sees the offsets, and no keep-alive."""
    body = b": keep-alive\n".join([chunk("Hé", 1), chunk(offset=2, finish_reason="stop"), event("[DONE]")])
    asked = {"model": "m", "messages": MESSAGES, "stream": True}
    async with (
        scripted_gateway([STREAM, Send(body), CleanEnd()]) as served,
        everytoken.AsyncClient(verify=CONTEXT) as client,
    ):
        response = await client.post(f"{served.base_url}/chat/completions", json=asked)
    assert response.content == body.replace(b": keep-alive\n", b"")
    assert response.headers["location"] == "/v1/stream/s1"
    assert isinstance(response, httpx2.Response)
    assert response.elapsed.total_seconds() >= 0
