"""Test code against upstreams that fail: a scripted upstream, faults by name, and virtual time."""

from __future__ import annotations

from everytoken.testing.answer import DEFAULT_TEXT, Answer, ToolCall, tokenise
from everytoken.testing.broken import huge_event
from everytoken.testing.clock import ManualClock, VirtualTimeLoop
from everytoken.testing.fault import ALL_POSITIONS, POSITIONS, Fault, Kind, fault
from everytoken.testing.faults import FAULTS
from everytoken.testing.plan import AtByte, Plan, Position
from everytoken.testing.splits import split_everywhere
from everytoken.testing.steps import (
    CleanEnd,
    Close,
    Head,
    Repeat,
    Reset,
    Send,
    SendRaw,
    Stall,
    Status,
    Step,
    Wait,
)
from everytoken.testing.upstream import FaultRule, ReceivedRequest, ScriptedUpstream

__all__ = [
    "ALL_POSITIONS",
    "DEFAULT_TEXT",
    "FAULTS",
    "POSITIONS",
    "Answer",
    "AtByte",
    "CleanEnd",
    "Close",
    "Fault",
    "FaultRule",
    "Head",
    "Kind",
    "ManualClock",
    "Plan",
    "Position",
    "ReceivedRequest",
    "Repeat",
    "Reset",
    "ScriptedUpstream",
    "Send",
    "SendRaw",
    "Stall",
    "Status",
    "Step",
    "ToolCall",
    "VirtualTimeLoop",
    "Wait",
    "fault",
    "huge_event",
    "split_everywhere",
    "tokenise",
]
