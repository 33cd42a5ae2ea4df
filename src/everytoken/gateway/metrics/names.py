"""Every metric that counts or measures: its name, its meaning and its labels.

GenAI metrics have the names of OpenTelemetry's conventions, as Prometheus spells them, and their recommended buckets.
"""

from __future__ import annotations

from typing import Final

from everytoken.gateway.metrics.tallies import Count, Distribution

__all__ = [
    "OPERATION_BOUNDS",
    "PER_CHUNK_BOUNDS",
    "PER_CHUNK_MEANING",
    "TOKEN_BOUNDS",
    "TO_FIRST_BOUNDS",
    "Metered",
]

# The conventions end at 81.92 s; a response may take an hour.
OPERATION_BOUNDS: Final = tuple(0.01 * 2**n for n in range(18))
TOKEN_BOUNDS: Final = tuple(4.0**n for n in range(14))
TO_FIRST_BOUNDS: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 30.0, 60.0, 120.0),
)
PER_CHUNK_BOUNDS: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
PER_CHUNK_MEANING: Final = (
    "Seconds between two chunks, as the mean of each streamed response: nothing is measured chunk by chunk."
)
_GAP_BOUNDS: Final = (
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    20.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)
_COMMIT_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LAG_BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_GEN_AI: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


class Metered:
    """What is counted and measured of one gateway."""

    def __init__(self) -> None:
        self.duration = Distribution(
            "gen_ai_client_operation_duration_seconds",
            "Seconds from the beginning of a response to its end, over all its attempts.",
            (*_GEN_AI, "error_type"),
            bounds=OPERATION_BOUNDS,
        )
        self.to_first = Distribution(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "Seconds from the beginning of a streamed response to its first content.",
            _GEN_AI,
            bounds=TO_FIRST_BOUNDS,
        )
        self.per_chunk = Distribution(
            "gen_ai_client_operation_time_per_output_chunk_seconds",
            PER_CHUNK_MEANING,
            _GEN_AI,
            bounds=PER_CHUNK_BOUNDS,
        )
        self.token_usage = Distribution(
            "gen_ai_client_token_usage",
            "Tokens of a response, over all its attempts.",
            (*_GEN_AI, "gen_ai_token_type"),
            bounds=TOKEN_BOUNDS,
        )
        self.responses = Count(
            "everytoken_responses",
            "Responses that have ended, by their outcome.",
            ("api", "model", "outcome"),
        )
        self.errors = Count(
            "everytoken_response_errors",
            "Responses that have ended with an error, by its code.",
            ("outcome", "code"),
        )
        self.recovered = Count(
            "everytoken_recovered_responses",
            "Responses that are complete though an attempt had failed: by a seam, or by a retry before anything was delivered.",
            ("model", "how"),
        )
        self.tokens = Count(
            "everytoken_tokens",
            "Tokens over all attempts; cached and written ones are part of the input, reasoning is part of the output.",
            ("model", "kind"),
        )
        self.cost = Count(
            "everytoken_cost_usd",
            "US dollars that all attempts have cost, as far as prices are known.",
            ("model",),
        )
        self.unpriced = Count(
            "everytoken_unpriced_responses",
            "Responses that have used tokens of which the price is not known.",
            ("model",),
        )
        self.attempts = Count(
            "everytoken_attempts",
            "Attempts that have ended, by the code of what broke them.",
            ("upstream", "strategy", "cause"),
        )
        self.attempt_to_first = Distribution(
            "everytoken_attempt_first_content_seconds",
            "Seconds from asking an upstream to its first new content.",
            ("upstream",),
            bounds=TO_FIRST_BOUNDS,
        )
        self.gaps = Distribution(
            "everytoken_seam_gap_seconds",
            "Seconds from the end of an attempt to the first new content of the one that continued.",
            ("upstream", "strategy"),
            bounds=_GAP_BOUNDS,
        )
        self.takeovers = Count(
            "everytoken_takeovers", "Responses that were continued here for a process that is gone."
        )
        self.handovers = Count(
            "everytoken_handovers", "Responses that were given to another process before their end."
        )
        self.connections = Count(
            "everytoken_reader_connections", "Readers that have come to responses that are written here."
        )
        self.resumes = Count(
            "everytoken_resumes", "Readers that have come back and resumed behind an offset."
        )
        self.circuits = Count(
            "everytoken_breaker_opened", "How often an upstream was set aside for a model.", ("upstream",)
        )
        self.refusals = Count(
            "everytoken_refusals",
            "Requests that were answered with an error which is not the end of a response, by its code.",
            ("code",),
        )
        self.passed = Distribution(
            "everytoken_passed_seconds",
            "Seconds of requests that were passed on, one for each upstream that was asked.",
            ("upstream", "api", "outcome"),
            bounds=OPERATION_BOUNDS,
        )
        self.commit_seconds = Distribution(
            "everytoken_journal_commit_seconds",
            "Seconds of a commit to the journal.",
            ("journal",),
            bounds=_COMMIT_BOUNDS,
        )
        self.commit_bytes = Count(
            "everytoken_journal_commit_bytes", "Bytes of records that were stored.", ("journal",)
        )
        self.lag = Distribution(
            "everytoken_event_loop_lag_seconds",
            "Seconds by which a timer of the event loop is late, measured four times a second.",
            bounds=_LAG_BOUNDS,
        )

    def all(self) -> list[Count | Distribution]:
        """Return them in the order in which they are shown."""
        return list(vars(self).values())
