"""The official SDKs of Messages and Responses over the clients: cut anywhere they read one answer, or they raise."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import openai
import pytest

import everytoken
from everytoken.errors import EverytokenError
from everytoken.recovery import Policy
from everytoken.testing import (
    FAULTS,
    Answer,
    CleanEnd,
    Head,
    Kind,
    Reset,
    ScriptedUpstream,
    Send,
    Status,
    ToolCall,
    Wait,
)
from guide_loops import CONTEXT
from messages_play import message_of
from messages_streams import STREAMS as MESSAGES
from messages_streams import again, encoded
from responses_streams import STREAMS as RESPONSES
from responses_streams import check_one_stream, wire
from sampling import sampled

if TYPE_CHECKING:
    from collections.abc import Callable

POLICY = Policy(backoff=0.0, retry_after_max=0.0)
ASK_MESSAGES: Any = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]}
ASK_RESPONSES: Any = {"model": "m", "input": "Hi"}
SENT = {
    "authorization": "Bearer its own",  # as this version of the SDK sends what others send as `x-api-key`
    "x-api-key": "its key",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "some-beta",
}


class Cut(ScriptedUpstream):
    """Ends its first answer, or each, behind so many events."""

    def __init__(
        self, first: list[bytes], others: list[bytes], cut: int | None, end: Any, *, always: bool = False
    ) -> None:
        super().__init__()
        self.answers = (first, others)
        self.cut = cut
        self.end = end
        self.always = always

    def script_for(self, request):
        self.requests.append(request)
        later = len(self.requests) > 1
        if self.cut is None or (later and not self.always):
            return [Send(b"".join(self.answers[later])), CleanEnd()]
        # The client has read what came before the end, or a reset could overtake it.
        return [Head(), Send(b"".join(self.answers[later][: self.cut])), Wait(0.01), self.end]


def both(sync: Callable[[], Any], other: Callable[[], Any]) -> Any:
    """Ask as a program without an event loop does, and as one with; return what both saw."""

    def outcome(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # noqa: BLE001  # the test says of which type it is
            return error

    one, two = outcome(sync), outcome(lambda: asyncio.run(other()))
    assert type(one) is type(two), (one, two)
    if not isinstance(one, Exception):
        assert one == two
    return one


class Claude:
    """The SDK of Messages at a server; each call of a method makes a new one."""

    def __init__(self, upstream: Callable[[], ScriptedUpstream]) -> None:
        self.upstream = upstream
        self.seen: list[Any] = []
        self.requests: list[Any] = []

    def options(self, server: ScriptedUpstream) -> Any:
        base_url = server.base_url.removesuffix("/v1")
        headers = {name: value for name, value in SENT.items() if name != "authorization"}
        return {"api_key": "its own", "base_url": base_url, "max_retries": 0, "default_headers": headers}

    def stream(self) -> Any:
        self.seen = []
        with (
            self.upstream() as server,
            anthropic.Anthropic(
                http_client=everytoken.Client(policy=POLICY, verify=CONTEXT), **self.options(server)
            ) as client,
        ):
            self.requests = server.requests
            self.seen.extend(client.messages.create(**ASK_MESSAGES, stream=True))
        return self.whole()

    async def stream_async(self) -> Any:
        self.seen = []
        async with (
            self.upstream() as server,
            anthropic.AsyncAnthropic(
                http_client=everytoken.AsyncClient(policy=POLICY, verify=CONTEXT), **self.options(server)
            ) as client,
        ):
            self.requests = server.requests
            async for event in await client.messages.create(**ASK_MESSAGES, stream=True):
                self.seen += [event]
        return self.whole()

    def helper(self) -> Any:
        with (
            self.upstream() as server,
            anthropic.Anthropic(
                http_client=everytoken.Client(policy=POLICY, verify=CONTEXT), **self.options(server)
            ) as client,
        ):
            self.requests = server.requests
            with client.messages.stream(**ASK_MESSAGES) as stream:
                return content(stream.get_final_message().to_dict())

    async def helper_async(self) -> Any:
        async with (
            self.upstream() as server,
            anthropic.AsyncAnthropic(
                http_client=everytoken.AsyncClient(policy=POLICY, verify=CONTEXT), **self.options(server)
            ) as client,
        ):
            self.requests = server.requests
            async with client.messages.stream(**ASK_MESSAGES) as stream:
                return content((await stream.get_final_message()).to_dict())

    def whole(self) -> Any:
        kinds = [event.type for event in self.seen]
        assert (kinds.count("message_start"), kinds.index("message_stop")) == (1, len(kinds) - 1)
        return content(message_of([event.to_dict() for event in self.seen]))


def content(message: Any) -> Any:
    """Return what is the same for the SDK's message and for the events put together."""
    parts = [{name: part[name] for name in part if part[name] is not None} for part in message["content"]]
    return message["id"], message["stop_reason"], parts


STREAMED = ["text", "thinking", "tool", "two tools"]
ENDS = pytest.mark.parametrize("end", [CleanEnd(), Reset()], ids=lambda end: type(end).__name__)


def text_in(events: list[Any]) -> str:
    return "".join(
        getattr(event.delta, "text", "") for event in events if event.type == "content_block_delta"
    )


class TestMessages:
    @ENDS
    @pytest.mark.parametrize("name", STREAMED)
    def test_cut_once_behind_each_event_it_is_one_message(self, name, end):
        events = MESSAGES[name]
        truth = content(message_of(events))
        for cut in sampled(range(len(events)), 3):
            claude = Claude(
                lambda cut=cut: Cut(encoded(events), encoded(again(events)), cut, end)  # type: ignore[misc]
            )
            ways = [(claude.stream, claude.stream_async), (claude.helper, claude.helper_async)]
            for ways_of_one in ways[: 2 if cut % 4 == 1 else 1]:
                got = both(*ways_of_one)
                assert not isinstance(got, Exception), (cut, got)
                assert got[1:] == truth[1:] or same_but_ids(got, truth), cut
                assert len(claude.requests) == 2
                for request in claude.requests:
                    assert {key: request.headers[key] for key in SENT} == SENT

    @ENDS
    @pytest.mark.parametrize("name", ["text", "tool"])
    def test_cut_always_it_raises_behind_a_true_beginning(self, name, end):
        events = MESSAGES[name]
        whole = "".join(
            event["delta"].get("text", "") for event in events if "index" in event and "delta" in event
        )
        for cut in sampled(range(len(events)), 3):
            claude = Claude(
                lambda cut=cut: Cut(encoded(events), encoded(events), cut, end, always=True)  # type: ignore[misc]
            )
            got = both(claude.stream, claude.stream_async)
            assert isinstance(got, (httpx2.RemoteProtocolError, httpx2.ReadError)), (cut, got)
            assert isinstance(got.__cause__, EverytokenError)
            assert whole.startswith(text_in(claude.seen))
            assert "message_stop" not in [event.type for event in claude.seen]
            assert 1 < len(claude.requests) <= 4

    def test_an_answer_in_one_piece_is_passed_through(self):
        body = json.dumps(message_of(MESSAGES["tool"])).encode()
        with (
            ScriptedUpstream([Status(200, body=body)]) as server,
            anthropic.Anthropic(
                http_client=everytoken.Client(policy=POLICY, verify=CONTEXT), **Claude(Cut).options(server)
            ) as client,
        ):
            message = client.messages.create(**ASK_MESSAGES)
        assert content(message.to_dict()) == content(message_of(MESSAGES["tool"]))
        assert {key: server.requests[0].headers[key] for key in SENT} == SENT
        assert "idempotency-key" not in server.requests[0].headers


def same_but_ids(got: Any, truth: Any) -> bool:
    """Whether two contents are the same but for the ids of calls."""
    bare = [
        [{name: part[name] for name in part if name not in {"id", "signature"}} for part in one[2]]
        for one in (got, truth)
    ]
    return got[1] == truth[1] and bare[0] == bare[1]


class Gpt:
    """The SDK of Responses at a server, as `Claude`."""

    def __init__(self, upstream: Callable[[], ScriptedUpstream]) -> None:
        self.upstream = upstream
        self.seen: list[Any] = []
        self.requests: list[Any] = []

    def client(self, server: ScriptedUpstream) -> openai.OpenAI:
        self.seen, self.requests = [], server.requests
        http_client = everytoken.Client(policy=POLICY, verify=CONTEXT)
        return openai.OpenAI(
            api_key="its key", base_url=server.base_url, max_retries=0, http_client=http_client
        )

    def client_async(self, server: ScriptedUpstream) -> openai.AsyncOpenAI:
        self.seen, self.requests = [], server.requests
        http_client = everytoken.AsyncClient(policy=POLICY, verify=CONTEXT)
        return openai.AsyncOpenAI(
            api_key="its key", base_url=server.base_url, max_retries=0, http_client=http_client
        )

    def stream(self) -> Any:
        with self.upstream() as server, self.client(server) as client:
            self.seen.extend(client.responses.create(**ASK_RESPONSES, stream=True))
        return without_times(self.seen)

    async def stream_async(self) -> Any:
        async with self.upstream() as server, self.client_async(server) as client:
            async for event in await client.responses.create(**ASK_RESPONSES, stream=True):
                self.seen += [event]
        return without_times(self.seen)

    def helper(self) -> Any:
        with (
            self.upstream() as server,
            self.client(server) as client,
            client.responses.stream(**ASK_RESPONSES) as stream,
        ):
            return said(stream.get_final_response())

    async def helper_async(self) -> Any:
        async with (
            self.upstream() as server,
            self.client_async(server) as client,
            client.responses.stream(**ASK_RESPONSES) as stream,
        ):
            return said(await stream.get_final_response())


def without_times(events: list[Any]) -> list[dict[str, Any]]:
    """Return events without what tells of the attempts, which has their times."""
    told = [event.to_dict() for event in events]
    for event in told:
        event.get("response", {}).pop("everytoken", None)
    return told


def said(response: Any) -> Any:
    calls = [(item.name, item.arguments) for item in response.output if item.type == "function_call"]
    return response.output_text, calls


class TestResponses:
    @ENDS
    @pytest.mark.parametrize("name", ["text", "function_call", "reasoning"])
    def test_cut_once_behind_each_event_it_is_one_response(self, name, end):
        make = RESPONSES[name]
        for cut in sampled(range(len(make("a"))), 3):
            gpt = Gpt(lambda cut=cut: Cut(wire(make("a")), wire(make("b")), cut, end))  # type: ignore[misc]
            got = both(gpt.stream, gpt.stream_async)
            assert not isinstance(got, Exception), (cut, got)
            check_one_stream(got, make("a"))
            assert [request.headers["authorization"] for request in gpt.requests] == ["Bearer its key"] * 2

    def test_the_helper_reads_it_too(self):
        make = RESPONSES["function_call"]
        truth = ("Let me look.", [("weather", '{"city":"Paris"}')])
        for cut in (1, 5, 6, 11, 12, len(make("a")) - 1):
            gpt = Gpt(lambda cut=cut: Cut(wire(make("a")), wire(make("b")), cut, CleanEnd()))  # type: ignore[misc]
            assert both(gpt.helper, gpt.helper_async) == truth, cut

    @ENDS
    @pytest.mark.parametrize("name", ["text", "function_call"])
    def test_cut_always_it_raises_behind_a_true_beginning(self, name, end):
        make = RESPONSES[name]
        for cut in sampled(range(len(make("a"))), 3):
            gpt = Gpt(lambda cut=cut: Cut(wire(make("a")), wire(make("b")), cut, end, always=True))  # type: ignore[misc]
            got = both(gpt.stream, gpt.stream_async)
            assert isinstance(got, openai.APIConnectionError), (cut, got)
            assert isinstance(got.__cause__.__cause__, EverytokenError)
            assert [event.type for event in gpt.seen] == [
                event["type"] for event in make("a")[: len(gpt.seen)]
            ]
            assert 1 < len(gpt.requests) <= 4

    def test_an_answer_in_one_piece_is_passed_through(self):
        body = json.dumps(RESPONSES["function_call"]("a")[-1]["response"]).encode()
        gpt = Gpt(ScriptedUpstream)
        with ScriptedUpstream([Status(200, body=body)]) as server, gpt.client(server) as client:
            server.script_for = lambda request: server.requests.append(request) or [Status(200, body=body)]
            response = client.responses.create(**ASK_RESPONSES)
        assert said(response) == ("Let me look.", [("weather", '{"city":"Paris"}')])
        assert len(server.requests) == 1

    def test_what_runs_in_the_background_is_watched_and_not_run_twice(self):
        make = RESPONSES["text"]
        with (
            Cut(wire(make("a")), wire(make("b")), 6, CleanEnd()) as server,
            Gpt(Cut).client(server) as client,
        ):
            stream = client.responses.create(**ASK_RESPONSES, background=True, stream=True)
            with pytest.raises(openai.APIConnectionError):
                list(stream)
        assert len(server.requests) == 1


ANSWER = Answer("Let me look. 看看 👍", tool_calls=(ToolCall("weather", '{"city": "Paris", "days": 3}'),))
CASES = [
    (name, when, position)
    for name, fault in FAULTS.items()
    if fault.kind is Kind.BROKEN and fault.address is None and name != "huge-event"
    for when in (0, "always")
    for position in fault.positions
]


@pytest.mark.virtual_time
@pytest.mark.parametrize(("name", "when", "position"), sampled(CASES, 3))
async def test_every_fault_of_messages(name, when, position, scripted_upstream):
    """The whole message, or an error of the SDK or the HTTP client behind a true beginning."""
    upstream = await scripted_upstream(ANSWER, faults=[(when, name, position)])
    text, call = "", None
    error: Exception | None = None
    client = anthropic.AsyncAnthropic(
        http_client=everytoken.AsyncClient(verify=CONTEXT), **Claude(Cut).options(upstream)
    )
    async with client:
        try:
            async with client.messages.stream(**ASK_MESSAGES) as stream:
                async for event in stream:
                    if event.type == "text":
                        text += event.text
                call = (await stream.get_final_message()).content[-1]
        except (anthropic.AnthropicError, httpx2.TransportError) as raised:
            error = raised
    assert upstream.text.startswith(text)
    if when == 0:
        assert error is None
    if error is None:
        assert text == upstream.text
        assert (call.type, call.input) == ("tool_use", {"city": "Paris", "days": 3})
    assert len(upstream.attempts) <= 4
    for request in upstream.attempts:
        assert {key: request.headers[key] for key in SENT} == SENT


@pytest.mark.virtual_time
@pytest.mark.parametrize("own", ["x-api-key", "authorization"])
async def test_a_further_upstream_gets_its_key_where_the_request_has_its_own(own, scripted_upstream):
    first = await scripted_upstream(ANSWER, faults=[("always", "reset", "middle")])
    second = await scripted_upstream(ANSWER)
    further = everytoken.Upstream(url=second.base_url, api_key="another")
    headers = {own: "Bearer mine", "anthropic-version": "2023-06-01"}
    async with everytoken.AsyncClient(verify=CONTEXT, upstreams=[further]) as client:
        response = await client.post(
            f"{first.base_url}/messages", json={**ASK_MESSAGES, "stream": True}, headers=headers
        )
    assert response.text.count("event: message_stop") == 1
    (asked,) = second.attempts
    told = {name: asked.headers[name] for name in ("x-api-key", "authorization") if name in asked.headers}
    assert told == {own: "another" if own == "x-api-key" else "Bearer another"}
    assert asked.headers["anthropic-version"] == "2023-06-01"
