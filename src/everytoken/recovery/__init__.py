"""Recovery: one response over many attempts, decided without doing any I/O."""

from everytoken.recovery.breaker import Breaker
from everytoken.recovery.machine import Connect, Decision, Disconnect, End, Recovery, State
from everytoken.recovery.plan import Attempt
from everytoken.recovery.policy import Experience, Outcome, Policy, Target

__all__ = [
    "Attempt",
    "Breaker",
    "Connect",
    "Decision",
    "Disconnect",
    "End",
    "Experience",
    "Outcome",
    "Policy",
    "Recovery",
    "State",
    "Target",
]
