"""A message over scripted attempts, without I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from everytoken.dialects.registry import dialect_named
from everytoken.recovery import Breaker, Connect, LearnedCapabilities, Policy, Recovery, Target
from messages_streams import ASK, encoded, end

if TYPE_CHECKING:
    from collections.abc import Iterable

MESSAGES = dialect_named("anthropic-messages")
POLICY = Policy(backoff=0.0, retry_after_max=0.0)
Attempt = "Callable[[Connect], Iterable[bytes] | bytes | Exception]"


def recovery_of(
    ask: dict[str, Any] = ASK, *, policy: Policy = POLICY, learned: Any = None, **target: Any
) -> Recovery:
    experience = learned or LearnedCapabilities()
    return Recovery(
        request=MESSAGES.request(ask),
        targets=[Target(name="a", policy=policy, **target)],
        seed=7,
        jitter=lambda: 0.0,
        experience=lambda _: experience,
        breaker=Breaker(threshold=1000),
    )


def play(recovery: Recovery, attempts: Iterable[Any]) -> tuple[list[dict[str, Any]], list[Connect]]:
    """Let the attempts answer in turn: reads that end, or an exception; the last one goes on answering.

    If that is bytes, it is the answer in one piece, for whoever asks for that.
    """
    scripts = list(attempts)
    records: list[bytes] = []
    connects: list[Connect] = []
    recovery.start(0.0)
    now = 0.0
    while recovery.outcome is None:
        decisions, recovery.decisions = list(recovery.decisions), type(recovery.decisions)()
        opened = [decision for decision in decisions if isinstance(decision, Connect)]
        if not opened:
            now = recovery.deadline
            records += recovery.tick(now)
            continue
        script = scripts[min(len(connects), len(scripts) - 1)]
        connects += opened
        if isinstance(script, Exception):
            records += recovery.fail(now, script)
            continue
        recovery.accept(now)
        if not opened[0].streamed:
            records += recovery.receive_non_streaming(
                now, scripts[-1] if isinstance(scripts[-1], bytes) else b"{}"
            )
            continue
        for data in script:
            records += recovery.receive_data(now, data)
        if recovery.outcome is None:
            records += recovery.receive_eof(now)
    return [json.loads(record) for record in records], connects


def unmarked(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return records without what tells of several attempts, and without deltas that add nothing."""
    return [
        {name: value for name, value in record.items() if name not in {"everytoken", "usage"}}
        for record in records
        if record.get("delta") != {"type": "input_json_delta", "partial_json": ""}
    ]


def message_of(records: list[dict[str, Any]]) -> dict[str, Any]:
    joined = MESSAGES.accumulator()
    for record in records:
        joined.add(json.dumps(record).encode())
    return joined.message()


def whole(events: list[dict[str, Any]]) -> bytes:
    """Return a message in one piece."""
    return json.dumps(message_of([event for event in events if event["type"] != "ping"])).encode()


def is_prefix(records: list[dict[str, Any]], truth: list[dict[str, Any]]) -> bool:
    """Whether what was delivered of a message is the beginning of it, in whatever pieces, and has no end."""
    if any(record["type"] in {"message_delta", "message_stop"} for record in records):
        return False
    said, wanted = message_of(records)["content"], message_of(truth)["content"]
    for number, block in enumerate(said):
        for name, value in block.items():
            full = wanted[number].get(name)
            last = number == len(said) - 1
            if value != full and not (
                last
                and ((isinstance(value, str) and full.startswith(value)) or name in {"input", "citations"})
            ):
                return False
    return len(said) <= len(wanted)


__all__ = ["encoded", "end"]
