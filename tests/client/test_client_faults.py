"""Every fault straight at the guide's loops: the exact text, or the SDK's own error with our cause."""

from __future__ import annotations

import json

import openai
import pytest

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
from guide_loops import HASTY, PATIENT, ask, ask_async, is_explicit, shortened

ANSWER = Answer("Streaming 流式 👨‍👩‍👧 ha ha ha: repeated tokens are text.\n\nDone.")
# The shortest 50 MB that do their work.
ALL = {**FAULTS, "huge-event": huge_event(17_000_000)}
ONCE = [name for name, fault in ALL.items() if fault.kind is Kind.BROKEN and fault.address is None]


def place(fault: Fault) -> str:
    return "middle" if "middle" in fault.positions else "start"


def check(name, when, upstream, outcome):
    fault = ALL[name]
    if fault.kind is Kind.REFUSED:
        ours = name in {"status-400", "status-422"}  # it could be the seed that we add: once more without
        assert len(upstream.attempts) == (1 + ours)
        if not (ours and when == 0):
            assert isinstance(outcome.error, openai.APIStatusError)
            assert f"status-{outcome.error.status_code}" == name
            return
    elif fault.kind is Kind.BROKEN and when == "always":
        assert len(upstream.attempts) <= 3
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


# The `Retry-After` of these is whole seconds, which only virtual time has for nothing.
WAITING = {"status-429-seconds", "status-429-date"}


@pytest.mark.parametrize(("name", "when"), [case for case in CASES if case[0] not in WAITING])
def test_sync(name, when):
    policy = PATIENT if ALL[name].kind is Kind.HEALTHY else HASTY
    with ScriptedUpstream(ANSWER, faults=[(when, ALL[name], place(ALL[name]))], sleep=shortened) as upstream:
        # The SDK waits before each retry; the asynchronous test, for which that costs nothing, lets it.
        check(name, when, upstream, ask(upstream.base_url, policy, max_retries=0))


@pytest.mark.virtual_time
@pytest.mark.parametrize(("name", "when"), CASES)
async def test_async(name, when, scripted_upstream):
    upstream = await scripted_upstream(ANSWER, faults=[(when, ALL[name], place(ALL[name]))])
    check(name, when, upstream, await ask_async(upstream.base_url))


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


@pytest.mark.virtual_time
@pytest.mark.parametrize("end", [CleanEnd(), Reset()], ids=lambda end: type(end).__name__)
async def test_the_answer_cut_at_every_byte(end):
    for offset in range(len(BYTES) + 1):
        cut = [Send(BYTES[:offset]), Wait(0.01), end]
        whole = [Send(BYTES), CleanEnd()]
        async with ScriptedUpstream(lambda request: whole if request.attempt else cut) as upstream:  # noqa: B023
            outcome = await ask_async(upstream.base_url)
            assert (offset, outcome.text, outcome.error) == (offset, "Hé👍", None)
