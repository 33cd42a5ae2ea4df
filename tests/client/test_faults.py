"""Every fault straight at the guide's loops: the exact text, or the SDK's own error with our cause."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import httpx2
import msgspec
import openai
import pytest

import everytoken
from everytoken.client import sync
from everytoken.testing import (
    FAULTS,
    Answer,
    CleanEnd,
    Fault,
    Kind,
    Reset,
    ScriptedUpstream,
    Send,
    Wait,
    huge_event,
)
from guide_loops import CONTEXT, HASTY, MILD, PATIENT, PROMPT, ask, ask_async, is_explicit, loop, shortened
from sampling import sampled

ANSWER = Answer("Streaming 流式 👨‍👩‍👧 ha ha ha: repeated tokens are text.\n\nDone.")
# The shortest 50 MB that do their work.
ALL = {**FAULTS, "huge-event": huge_event(17_000_000)}
ONCE = [name for name, fault in ALL.items() if fault.kind is Kind.BROKEN and fault.address is None]

# Told by a time that is over.
SILENT = {
    "tls-silent",
    "silent-after-accept",
    "silent-after-head",
    "silent",
    "only-comments",
    "only-empty-deltas",
}


def places(fault: Fault) -> tuple[str, ...]:
    return ("middle",) if fault.name == "huge-event" else fault.positions


def place(fault: Fault) -> str:
    return "middle" if "middle" in fault.positions else "start"


def check(name, when, upstream, outcome):
    fault = ALL[name]
    if fault.kind is Kind.REFUSED:
        assert len(upstream.attempts) == 1
        assert isinstance(outcome.error, openai.APIStatusError)
        assert f"status-{outcome.error.status_code}" == name
        return
    if fault.kind is Kind.BROKEN and when == "always":
        assert len(upstream.attempts) <= 4, "three, and one without streaming"
        if outcome.error is not None:
            assert is_explicit(outcome, upstream)
            return
    elif fault.kind is Kind.BROKEN:
        assert len(upstream.attempts) == 2
    else:
        assert len(upstream.attempts) == 1
    assert (outcome.text, outcome.error) == (upstream.text, None)


CASES = [
    *((name, 0) for name in [*ONCE, *(name for name, fault in ALL.items() if fault.kind is Kind.REFUSED)]),
    *((name, "always") for name in ALL),
]


@pytest.fixture
def _no_waiting(monkeypatch):
    """A wait of the client is over at once, and only its clock knows: a `Retry-After` is whole seconds."""
    waited = []
    monkeypatch.setattr(sync, "_clock", lambda: time.monotonic() + sum(waited))
    monkeypatch.setattr(sync, "time", SimpleNamespace(sleep=waited.append))


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize(("name", "when"), CASES)
def test_sync(name, when):
    if ALL[name].kind is not Kind.BROKEN:
        policy = PATIENT
    else:
        policy = PROMPT if name not in SILENT else HASTY if when == "always" else MILD
    if name.startswith("status-429-"):
        policy = msgspec.structs.replace(policy, retry_after_max=30)
    with ScriptedUpstream(ANSWER, faults=[(when, ALL[name], place(ALL[name]))], sleep=shortened) as upstream:
        # The SDK waits before each retry; the asynchronous test, for which that costs nothing, lets it.
        check(name, when, upstream, ask(upstream.base_url, policy, max_retries=0))


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("name", "when", "position"),
    sampled([(*case, position) for case in CASES for position in places(ALL[case[0]])], 3),
)
async def test_async(name, when, position, scripted_upstream):
    upstream = await scripted_upstream(ANSWER, faults=[(when, ALL[name], position)])
    check(name, when, upstream, await ask_async(upstream.base_url))


def elsewhere(request, base_url):
    url = httpx2.URL(base_url + request.url.path.removeprefix("/v1"))
    return httpx2.Request(
        request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
    )


class Moving(httpx2.HTTPTransport):
    """The server is at a broken address first: a name that is not known yet, a port that is not open yet."""

    def __init__(self, *broken):
        super().__init__(verify=CONTEXT)
        self.broken = [*broken]

    def handle_request(self, request):
        return super().handle_request(elsewhere(request, self.broken.pop()) if self.broken else request)


class MovingAsync(httpx2.AsyncHTTPTransport):
    def __init__(self, *broken):
        super().__init__(verify=CONTEXT)
        self.broken = [*broken]

    async def handle_async_request(self, request):
        asked = elsewhere(request, self.broken.pop()) if self.broken else request
        return await super().handle_async_request(asked)


ADDRESSES = [name for name, fault in ALL.items() if fault.address is not None]


@pytest.mark.parametrize("name", ADDRESSES)
def test_sync_when_the_first_address_is_broken(name):
    with ScriptedUpstream(ANSWER, faults=[(0, name, "start")], sleep=shortened) as upstream:
        transport = Moving(upstream.base_url)
        outcome = ask(upstream.healthy_url, MILD, max_retries=0, transport=transport)
        assert (outcome.text, outcome.error) == (upstream.text, None)
        assert (transport.broken, len(upstream.attempts)) == ([], 1)


@pytest.mark.virtual_time
@pytest.mark.parametrize("name", ADDRESSES)
async def test_async_when_the_first_address_is_broken(name, scripted_upstream):
    upstream = await scripted_upstream(ANSWER, faults=[(0, name, "start")])
    transport = MovingAsync(upstream.base_url)
    outcome = await ask_async(upstream.healthy_url, max_retries=0, transport=transport)
    assert (outcome.text, outcome.error) == (upstream.text, None)
    assert (transport.broken, len(upstream.attempts)) == ([], 1)


def event(**choice):
    """Return an event that is as short as a server may write it, so that all its cuts take no time."""
    return b"data: %b\n\n" % json.dumps({"choices": [choice]}, ensure_ascii=False).encode()


BYTES = b"".join(
    [
        event(delta={"content": "Hé"}),
        event(delta={"content": "👍"}),
        event(delta={}, finish_reason="stop"),
        b"data: [DONE]\n\n",
    ]
)


ENDS = pytest.mark.parametrize("end", [CleanEnd(), Reset()], ids=lambda end: type(end).__name__)


@pytest.mark.virtual_time
@ENDS
async def test_the_answer_cut_at_every_byte(end):
    for offset in sampled(range(len(BYTES) + 1), 4):
        cut = [Send(BYTES[:offset]), Wait(0.01), end]
        whole = [Send(BYTES), CleanEnd()]
        async with ScriptedUpstream(lambda request: whole if request.attempt else cut) as upstream:  # noqa: B023
            outcome = await ask_async(upstream.base_url)
            assert (offset, outcome.text, outcome.error) == (offset, "Hé👍", None)


@ENDS
def test_the_answer_cut_at_every_byte_sync(end):
    whole, cut = [Send(BYTES), CleanEnd()], []  # one server and one client for all
    with (
        ScriptedUpstream(lambda _: cut.pop() if cut else whole) as upstream,
        openai.OpenAI(
            base_url=upstream.base_url,
            api_key="secret",
            http_client=everytoken.Client(policy=PROMPT, verify=CONTEXT),
        ) as client,
    ):
        for offset in sampled(range(len(BYTES) + 1), 4):
            cut.append([Send(BYTES[:offset]), end])
            outcome = loop(client)
            assert (offset, outcome.text, outcome.error, cut) == (offset, "Hé👍", None, [])
