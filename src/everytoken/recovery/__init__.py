"""Recovery: one response over many attempts, decided without doing any I/O."""

from everytoken.recovery.attempt import Attempt
from everytoken.recovery.breaker import Breaker
from everytoken.recovery.decisions import Connect, Decision, Disconnect, End, Rearm
from everytoken.recovery.machine import Recovery
from everytoken.recovery.policy import LearnedCapabilities, Outcome, Policy, Target
from everytoken.recovery.routing import Route, Router, conversation_of
from everytoken.recovery.transitions import State

__all__ = [
    "Attempt",
    "Breaker",
    "Connect",
    "Decision",
    "Disconnect",
    "End",
    "LearnedCapabilities",
    "Outcome",
    "Policy",
    "Rearm",
    "Recovery",
    "Route",
    "Router",
    "State",
    "Target",
    "conversation_of",
]
