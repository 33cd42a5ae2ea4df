"""Anthropic's Messages and OpenAI's Responses over the clients: whole at their end mark only, else the SDK raises.

A request that we understand is recovered; `STREAMED` is none, so its stream is watched.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import openai
import pytest

import everytoken
from command_line import wait_for
from everytoken.client import effects
from everytoken.client.effects import Deliver, Open, Opened, Read
from everytoken.client.guard import Ending, Guard
from everytoken.errors import (
    ErrorEventError,
    EventTooLargeError,
    RecoveryExhaustedError,
    StalledError,
    TruncatedError,
)
from everytoken.testing import (
    CleanEnd,
    Head,
    ManualClock,
    Repeat,
    Reset,
    ScriptedUpstream,
    Send,
    Stall,
    Status,
    Wait,
)
from everytoken.testing import split_everywhere as splits
from guide_loops import CONTEXT
from responses_streams import Script, output_text, wire
from sampling import sampled

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = "Hé👍"
USAGE = {"input_tokens": 1, "output_tokens": 1}


QUICK = everytoken.Policy(backoff=0.0, retry_after_max=0.0)


def responses_of(text: str) -> list[dict[str, Any]]:
    script = Script("a")
    script.message((output_text(), tuple(text)))
    return script.end()


def event(kind: str, **more: Any) -> bytes:
    data = json.dumps({"type": kind, **more}, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def nameless(kind: str, **more: Any) -> bytes:
    return event(kind, **more).partition(b"\n")[2]


PING = event("ping")
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "any", "content": [], "usage": USAGE}
MESSAGES = [
    event("message_start", message=MESSAGE),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    PING,
    *(event("content_block_delta", index=0, delta={"type": "text_delta", "text": letter}) for letter in TEXT),
    event("content_block_stop", index=0),
    event("message_delta", delta={"stop_reason": "end_turn"}, usage=USAGE),
    event("message_stop"),
]
OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
RESPONSE = {"id": "r", "object": "response", "created_at": 0, "model": "any", "output": [], "tools": []}
RESPONSES = wire(responses_of(TEXT))
FAILED = event("error", code="server_error", message="Sorry", param=None, sequence_number=3)

CASES = [
    ("messages are whole at message_stop", "/messages", b"".join(MESSAGES), True),
    ("messages without their last event are not", "/messages", b"".join(MESSAGES[:-1]), False),
    ("an error is an end of messages", "/messages", MESSAGES[0] + OVERLOADED, True),
    ("a name that is missing stands in the data", "/messages", nameless("message_stop"), True),
    (
        "the name counts where both are there",
        "/messages",
        b'event: x\ndata: {"type":"message_stop"}\n\n',
        False,
    ),
    ("a name without data is no event", "/messages", b"event: message_stop\n\n", False),
    ("an event is one with its blank line", "/messages", event("message_stop")[:-1], False),
    ("line ends are of any kind", "/messages", event("message_stop").replace(b"\n", b"\r"), True),
    ("a BOM is no part of the name", "/messages", b"\xef\xbb\xbf" + event("message_stop"), True),
    ("what is no JSON has no type", "/messages", b"data: message_stop\n\n", False),
    ("nor has a number", "/messages", b"data: 1\n\n", False),
    ("nor what is nested without end", "/messages", b"data: {" + b'"a":[' * 2000 + b"\n\n", False),
    ("the text may name the mark", "/messages", event("content_block_delta", text="message_stop"), False),
    ("nothing is not whole", "/messages", b"", False),
    ("comments are nothing", "/messages", b": ping\n\n", False),
    ("a response is whole when completed", "/responses", b"".join(RESPONSES), True),
    ("a response without its last event is not", "/responses", b"".join(RESPONSES[:-1]), False),
    ("a response may have failed", "/responses", event("response.failed", response=RESPONSE), True),
    ("a response may be incomplete", "/responses", event("response.incomplete", response=RESPONSE), True),
    ("an error is an end of a response", "/responses", FAILED, True),
    ("a response's name may be missing", "/responses", nameless("response.completed"), True),
    ("the end of a part is not the whole's", "/responses", event("response.output_text.done"), False),
    ("each has its own marks", "/responses", event("message_stop"), False),
]


@pytest.mark.parametrize(("path", "data", "whole"), [pytest.param(*case, id=name) for name, *case in CASES])
def test_what_is_whole(path, data, whole):
    # Long inputs are split less: the number of splits grows with the length.
    for reads in splits(data) if len(data) < 1000 else ([data], [data[i : i + 1] for i in range(len(data))]):
        ending = Ending.of(path)
        for read in reads:
            ending.receive_data(read)
        assert ending.complete == whole
        if whole:
            ending.receive_eof()
        else:
            with pytest.raises(TruncatedError):
                ending.receive_eof()


def test_it_is_whole_with_the_last_byte_of_its_mark_and_no_sooner():
    data = b"".join(MESSAGES)
    ending = Ending.of("/messages")
    seen = []
    for i in range(len(data)):
        ending.receive_data(data[i : i + 1])
        seen.append(ending.complete)
    assert seen == [False] * (len(data) - 1) + [True]


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (PING, False),
        (nameless("ping"), False),
        (b": comment\n\n", False),
        (MESSAGES[3][:-1], False),
        (MESSAGES[3], True),
        (PING + MESSAGES[3] + PING, True),
        (event("keepalive", sequence_number=1), True),  # of the server that thinks, not of what is in between
    ],
)
def test_what_is_content(data, content):
    assert Ending.of("/messages").receive_data(data) is content


def test_what_is_kept_is_limited():
    ending = Ending.of("/messages")
    for _ in range(16):
        ending.receive_data(b"x" * 2**20)
    with pytest.raises(EventTooLargeError):
        ending.receive_data(b"x")


def test_behind_the_end_nothing_is_looked_at():
    ending = Ending.of("/messages")
    ending.receive_data(event("message_stop"))
    for _ in range(17):
        assert ending.receive_data(b"x" * 2**20) is False
    ending.receive_eof()


@pytest.mark.parametrize("whole", [False, True])
def test_pings_without_a_pause_do_not_hold_up_time(whole):
    """Also where the network is not watched: nobody says then that the request has been sent, and no read times out."""
    clock = ManualClock()
    limits = {"timeout": {"connect": 10, "read": 20}}
    request = httpx2.Request("POST", URL, json=STREAMED, extensions=limits)
    guard = Guard.over(request, everytoken.Policy(linger=2), clock.now)
    steps = guard.run()
    assert isinstance(next(steps), Open)
    clock.advance(9)
    assert isinstance(steps.send(Opened(200, [(b"content-type", b"text/event-stream")], {})), effects.Head)
    assert isinstance(next(steps), Read)
    if whole:
        assert steps.send(event("message_stop")) == Deliver(event("message_stop"))
        assert isinstance(next(steps), Read)
    clock.advance(1.5 if whole else 19.5)
    assert steps.send(PING) == Deliver(PING)
    clock.advance(1000)  # the caller's
    assert isinstance(next(steps), Read)
    clock.advance(1)
    with pytest.raises(StopIteration if whole else httpx2.ReadTimeout):
        steps.send(PING)


class Elsewhere(ScriptedUpstream):
    """A server whose script is for the paths of others too."""

    def __init__(self, *steps, **options):
        super().__init__(**options)
        self.steps = steps
        self.arrived = asyncio.Event()

    def script_for(self, request):
        self.arrived.set()
        self.requests.append(request)
        return self.steps


class CutOnce(Elsewhere):
    """Answers every other request with `first`."""

    first: Any = ()

    def script_for(self, request):
        steps = super().script_for(request)
        return self.first if len(self.requests) % 2 else steps


ASKED: Any = {
    "messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"model": "m", "input": "Hi"},
}


def piece(event: Any) -> str:
    """Return the text in an event of either SDK."""
    if event.type == "content_block_delta":
        return event.delta.text
    return event.delta if event.type == "response.output_text.delta" else ""


def ask(api: str, upstream, got: list[str], policy: everytoken.Policy | None = None) -> None:
    http_client = everytoken.Client(policy=policy, verify=CONTEXT)
    options: Any = {"api_key": "any", "http_client": http_client, "max_retries": 0}
    client: Any
    if api == "messages":
        client = anthropic.Anthropic(base_url=upstream.base_url.removesuffix("/v1"), **options)
    else:
        client = openai.OpenAI(base_url=upstream.base_url, **options)
    with client:
        got.extend(piece(event) for event in getattr(client, api).create(**ASKED[api], stream=True))


async def ask_async(api: str, upstream, got: list[str], policy: everytoken.Policy | None = None) -> None:
    http_client = everytoken.AsyncClient(policy=policy, verify=CONTEXT)
    options: Any = {"api_key": "any", "http_client": http_client, "max_retries": 0}
    client: Any
    if api == "messages":
        client = anthropic.AsyncAnthropic(base_url=upstream.base_url.removesuffix("/v1"), **options)
    else:
        client = openai.AsyncOpenAI(base_url=upstream.base_url, **options)
    async with client:
        async for event in await getattr(client, api).create(**ASKED[api], stream=True):
            got += [piece(event)]


def asks(upstream, api: str, got: list[str], policy: everytoken.Policy | None = None) -> None:
    """Ask as a program without an event loop does, and as one with; both must see the same."""
    got_async: list[str] = []
    first = failure(lambda: ask(api, upstream, got, policy))
    second = failure(lambda: asyncio.run(ask_async(api, upstream, got_async, policy)))
    assert (got, type(first)) == (got_async, type(second))
    if first is not None:
        raise first


def failure(call: Callable[[], None]) -> Exception | None:
    try:
        call()
    except Exception as error:  # noqa: BLE001  # the test says of which type it is
        return error
    return None


ONCE = everytoken.Policy(attempts=1, first_content=20, content_gap=20, thinking=20, give_up=20)
EVENTS = {"messages": MESSAGES, "responses": RESPONSES}
RAISED = {
    "messages": (
        httpx2.RemoteProtocolError,
        httpx2.ReadError,
    ),  # its SDK raises the HTTP client's as they are
    "responses": (openai.APIConnectionError,),
}


def ours(error: BaseException) -> BaseException | None:
    """Return what is behind the HTTP client's error."""
    if isinstance(error, openai.APIConnectionError):
        assert error.__cause__ is not None
        error = error.__cause__
    return error.__cause__


@pytest.mark.parametrize("api", EVENTS)
class TestTheSdks:
    def test_a_whole_answer(self, api):
        got: list[str] = []
        with Elsewhere(*map(Send, EVENTS[api]), CleanEnd()) as upstream:
            asks(upstream, api, got)
        assert "".join(got) == TEXT
        assert len(upstream.requests) == 2
        for request in upstream.requests:
            assert request.headers["accept-encoding"] == "identity"
            # A seed makes an answer repeatable; Messages has none.
            asked = {name: value for name, value in request.json.items() if name != "seed"}
            assert asked == {**ASKED[api], "stream": True}
            assert ("seed" in request.json) == (api == "responses")

    @pytest.mark.parametrize("end", [CleanEnd(), Reset()], ids=lambda end: type(end).__name__)
    def test_an_answer_that_is_cut_anywhere(self, api, end):
        data = b"".join(EVENTS[api])
        bounds = [len(b"".join(EVENTS[api][:count])) for count in range(len(EVENTS[api]))]
        cuts = sampled([*bounds, *(bound + 20 for bound in bounds), len(data) - 1], 3)
        # The client has read what came before the end, or a reset could overtake it.
        wait = () if isinstance(end, CleanEnd) else (Wait(0.01),)
        with Elsewhere() as upstream:
            for cut in cuts:
                upstream.steps = (Send(data[:cut]), *wait, end) if cut else (Head(), *wait, end)
                got: list[str] = []
                before = len(upstream.requests)
                with pytest.raises(RAISED[api]) as caught:
                    asks(upstream, api, got, QUICK)
                error = ours(caught.value)
                assert isinstance(error, RecoveryExhaustedError), cut
                assert isinstance(error.attempts[0], TruncatedError), cut
                assert TEXT.startswith("".join(got)), cut
                assert len(upstream.requests) - before <= 2 * 4, cut

    @pytest.mark.parametrize("end", [CleanEnd(), Reset()], ids=lambda end: type(end).__name__)
    def test_an_answer_that_is_cut_once_anywhere(self, api, end):
        data = b"".join(EVENTS[api])
        wait = () if isinstance(end, CleanEnd) else (Wait(0.01),)
        with CutOnce() as upstream:
            cuts = sampled(range(0, len(data), 37), 3)
            for cut in cuts:
                upstream.first = (Send(data[:cut]), *wait, end) if cut else (Head(), *wait, end)
                upstream.steps = (Send(data), CleanEnd())
                got: list[str] = []
                asks(upstream, api, got, QUICK)
                assert "".join(got) == TEXT, cut
            assert len(upstream.requests) == 4 * len(cuts)

    def test_an_error_event_is_the_sdks_to_tell(self, api):
        got: list[str] = []
        said = OVERLOADED if api == "messages" else FAILED
        with Elsewhere(Send(EVENTS[api][0] + said), CleanEnd()) as upstream:
            if api == "messages":
                with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
                    asks(upstream, api, got, QUICK)
            else:
                with pytest.raises(openai.APIConnectionError) as caught:
                    asks(upstream, api, got, QUICK)
                error = ours(caught.value)
                assert isinstance(error, RecoveryExhaustedError)
                assert isinstance(error.attempts[0], ErrorEventError)
                assert "Sorry" in error.message
            assert len(upstream.requests) > 2

    @pytest.mark.parametrize("step", [Reset(), Stall()], ids=lambda step: type(step).__name__)
    def test_what_comes_behind_the_end_does_not_matter(self, api, step):
        got: list[str] = []
        with Elsewhere(Send(b"".join(EVENTS[api])), Wait(0.01), step) as upstream:
            asks(upstream, api, got, everytoken.Policy(linger=0.01))
        assert "".join(got) == TEXT

    @pytest.mark.virtual_time
    @pytest.mark.parametrize("begun", [False, True])
    @pytest.mark.parametrize("sign", [PING, b": alive\n"])
    async def test_pings_for_ever_are_a_stall(self, api, begun, sign):
        told = b"".join(EVENTS[api][: 6 if api == "responses" else 5])  # with a piece of the text
        first = [Head(), *([Wait(5), Send(told)] if begun else [])]
        async with Elsewhere(*first, Repeat((Wait(1), Send(sign)))) as upstream:
            started = asyncio.get_running_loop().time()
            with pytest.raises((httpx2.ReadTimeout, openai.APITimeoutError)) as caught:
                await ask_async(api, upstream, [], ONCE)
            cause = ours(caught.value)
            assert isinstance(cause, StalledError)
            assert cause.phase == ("gap" if begun else "first-content")
            taken = asyncio.get_running_loop().time() - started
            assert taken == pytest.approx(25 if begun else 20, abs=0.1)
            async with asyncio.timeout(1):
                await upstream.requests[0].closed.wait()

    def test_pings_do_not_put_off_the_end_of_a_blocking_read(self, api):
        steps = [Head(), *[step for _ in range(200) for step in (Send(PING), Wait(0.01))]]
        with Elsewhere(*steps) as upstream:
            with pytest.raises((httpx2.ReadTimeout, openai.APITimeoutError)) as caught:
                ask(
                    api,
                    upstream,
                    [],
                    everytoken.Policy(attempts=1, first_content=0.3, thinking=0.3, give_up=0.3),
                )
            assert isinstance(ours(caught.value), StalledError)

    @pytest.mark.virtual_time
    async def test_a_server_that_says_nothing_at_all(self, api):
        async with Elsewhere(Stall()) as upstream:
            with pytest.raises((anthropic.APITimeoutError, openai.APITimeoutError)) as caught:
                await ask_async(api, upstream, [])
            assert caught.value.__cause__ is not None
            error = caught.value.__cause__.__cause__
            assert isinstance(error, RecoveryExhaustedError)
            assert all(isinstance(cause, StalledError) for cause in error.attempts)

    @pytest.mark.virtual_time
    async def test_a_slow_caller_is_no_stall(self, api):
        texts = []
        async with (
            Elsewhere(*map(Send, EVENTS[api]), CleanEnd()) as upstream,
            everytoken.AsyncClient(verify=CONTEXT) as client,
            client.stream("POST", f"{upstream.base_url}/{api}", json=STREAMED) as response,
        ):
            async for text in response.aiter_raw():
                texts.append(text)
                await asyncio.sleep(1000)
        assert b"".join(texts) == b"".join(EVENTS[api])


class Reads(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that comes in these reads."""

    def __init__(self, *reads: bytes) -> None:
        self.reads = reads

    def __iter__(self):
        yield from self.reads

    async def __aiter__(self):
        for read in self.reads:
            yield read


URL = "http://model/v1/messages"
STREAMED = {"model": "m", "stream": True}  # without a message or an input: for the server to judge
EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8"}


def post(response: httpx2.Response, url: str = URL, asked: Any = STREAMED, **options: Any) -> httpx2.Response:
    """Post with the synchronous client, which is given `response`."""
    with everytoken.Client(transport=httpx2.MockTransport(lambda _: response)) as client:
        return client.post(url, json=asked, **options)


async def post_async(response: httpx2.Response, url: str = URL, asked: Any = STREAMED) -> httpx2.Response:
    async with everytoken.AsyncClient(transport=httpx2.MockTransport(lambda _: response)) as client:
        return await client.post(url, json=asked)


class TestPassingThrough:
    def test_bytes_come_as_they_are_read(self):
        reads = (
            b"\xef\xbb\xbf: hi\r",
            b"",
            b"\n\r\n",
            b"".join(MESSAGES)[:-3],
            b"}\n",
            b"\n",
            b"and more \xff",
        )
        response = httpx2.Response(200, headers=EVENT_STREAM, stream=Reads(*reads))
        with everytoken.Client(transport=httpx2.MockTransport(lambda _: response)) as client:
            with client.stream("POST", URL, json=STREAMED) as got:
                assert list(got.iter_raw()) == [read for read in reads if read]
            assert got is response

    async def test_bytes_come_as_they_are_read_async(self):
        reads = (b": hi\r", b"", b"\n\r\n", *MESSAGES, b"and more \xff")
        response = httpx2.Response(200, headers=EVENT_STREAM, stream=Reads(*reads))
        async with everytoken.AsyncClient(transport=httpx2.MockTransport(lambda _: response)) as client:
            async with client.stream("POST", URL, json=STREAMED) as got:
                assert [read async for read in got.aiter_raw()] == [read for read in reads if read]
            assert got is response

    async def test_a_stream_that_is_read_in_one_go_is_looked_at_too(self):
        for body in ({"stream": Reads(*MESSAGES[:-1])}, {"content": b"".join(MESSAGES[:-1])}):
            with pytest.raises(httpx2.RemoteProtocolError):
                post(httpx2.Response(200, headers=EVENT_STREAM, **body))
            with pytest.raises(httpx2.RemoteProtocolError) as caught:
                await post_async(httpx2.Response(200, headers=EVENT_STREAM, **body))
            assert isinstance(caught.value.__cause__, TruncatedError)
            assert caught.value.request.url == URL
        for body in ({"stream": Reads(*MESSAGES)}, {"content": b"".join(MESSAGES)}):
            assert post(httpx2.Response(200, headers=EVENT_STREAM, **body)).content == b"".join(MESSAGES)
            whole = await post_async(httpx2.Response(200, headers=EVENT_STREAM, **body))
            assert whole.content == b"".join(MESSAGES)

    def test_an_event_without_end_is_the_end(self):
        response = httpx2.Response(200, headers=EVENT_STREAM, stream=Reads(*[b"x" * 2**20] * 17))
        with pytest.raises(httpx2.RemoteProtocolError) as caught:
            post(response)
        assert isinstance(caught.value.__cause__, EventTooLargeError)

    @pytest.mark.parametrize(
        ("status", "headers", "content"),
        [
            (200, {"content-type": "application/json"}, b"{}"),
            (429, EVENT_STREAM, b"data: {}\n\n"),
            (200, {**EVENT_STREAM, "content-encoding": "gzip"}, gzip.compress(b"data: {}\n\n")),
            (307, {"location": "http://model/v1/elsewhere"}, b""),
        ],
        ids=["no event stream", "a refusal", "compressed all the same", "a redirection"],
    )
    async def test_what_is_no_plain_event_stream_is_not_touched(self, status, headers, content):
        kinds: list[dict[str, Any]] = [{"stream": Reads(content)}]
        if "content-encoding" not in headers:  # one that has been read is not packed any more
            kinds.append({"content": content})
        for kind in kinds:
            response = httpx2.Response(status, headers=headers, **kind)
            before = response.stream
            assert post(response) is response
            assert response.stream is before or response.stream._stream is before  # the HTTP client's own
            assert (await post_async(httpx2.Response(status, headers=headers, **kind))).status_code == status

    @pytest.mark.parametrize(
        ("path", "asked"),
        [
            ("/v1/messages", {"model": "m"}),
            ("/v1/messages", {"model": "m", "stream": False}),
            ("/v1/messages", {"model": "m", "stream": 1}),
            ("/v1/messages", ["stream"]),
            ("/v1/messages/count_tokens", STREAMED),
            ("/v1/completions", STREAMED),
        ],
    )
    def test_what_asks_for_no_such_stream_is_not_touched(self, path, asked):
        seen = []

        def answer(request):
            seen.append(request)
            return httpx2.Response(200, headers=EVENT_STREAM, stream=Reads(b"data: {}\n\n"))

        with everytoken.Client(transport=httpx2.MockTransport(answer)) as client:
            assert client.post(f"http://model{path}", json=asked).content == b"data: {}\n\n"
        assert seen[0].headers["accept-encoding"] != "identity"

    def test_a_refusal_is_the_sdks_to_tell(self):
        body = b'{"type": "error", "error": {"type": "rate_limit_error", "message": "too fast"}}'
        with (
            Elsewhere(Status(429, body=body)) as upstream,
            pytest.raises(anthropic.RateLimitError, match="too fast"),
        ):
            ask("messages", upstream, [])

    def test_no_server_is_the_http_clients_own_error_with_ours_behind(self):
        with everytoken.Client(verify=CONTEXT) as client, pytest.raises(httpx2.ConnectError) as caught:
            client.post("http://127.0.0.1:1/v1/messages", json=STREAMED)
        assert isinstance(caught.value.__cause__, everytoken.EverytokenError)

    def test_a_url_that_cannot_be_asked(self):
        with everytoken.Client(verify=CONTEXT) as client, pytest.raises(httpx2.UnsupportedProtocol):
            client.post("ftp://127.0.0.1/v1/messages", json=STREAMED)

    def test_where_a_redirection_leads_is_watched(self):
        there = Status(307, headers=(("Location", "/there"),))
        with Elsewhere() as upstream, everytoken.Client(verify=CONTEXT, follow_redirects=True) as client:
            upstream.script_for = lambda request: (  # type: ignore[method-assign]
                [Send(MESSAGES[0]), CleanEnd()] if request.path == "/there" else [there]
            )
            with pytest.raises(httpx2.RemoteProtocolError, match="message_stop"):
                client.post(f"{upstream.base_url}/messages", json=STREAMED)


class TestConnections:
    def test_one_connection_serves_answer_after_answer(self):
        with (
            Elsewhere(*map(Send, MESSAGES), CleanEnd()) as upstream,
            everytoken.Client(verify=CONTEXT) as client,
        ):
            for _ in range(3):
                response = client.post(f"{upstream.base_url}/messages", json=STREAMED)
                assert response.content == b"".join(MESSAGES)
                assert response.elapsed.total_seconds() > 0
            assert upstream.connection_count == 1

    def test_leaving_early_closes_the_connection_at_once(self):
        with (
            Elsewhere(Send(MESSAGES[0]), Stall()) as upstream,
            everytoken.Client(verify=CONTEXT) as client,
        ):
            with client.stream("POST", f"{upstream.base_url}/messages", json=STREAMED) as response:
                reads = response.iter_raw()
                assert next(reads) == MESSAGES[0]
                assert len(upstream.open_connections) == 1
            wait_for(lambda: not upstream.open_connections, 1)

    @pytest.mark.parametrize("steps", [(Stall(),), (Send(MESSAGES[0]), Stall())], ids=["head", "content"])
    async def test_a_cancelled_task_closes_it_too(self, steps):
        read = asyncio.Event()

        async def reads():
            async with (
                everytoken.AsyncClient(verify=CONTEXT) as client,
                client.stream("POST", f"{upstream.base_url}/messages", json=STREAMED) as response,
            ):
                async for _ in response.aiter_raw():
                    read.set()

        async with Elsewhere(*steps) as upstream:
            task = asyncio.ensure_future(reads())
            await (read if len(steps) > 1 else upstream.arrived).wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(1):
                await upstream.requests[0].closed.wait()
