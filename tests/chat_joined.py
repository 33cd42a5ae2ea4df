"""Chunks of chat completions, joined."""

from __future__ import annotations

import json
from typing import Any

from everytoken.dialects.openai_chat import Accumulator


def joined(*chunks: dict[str, Any] | bytes | str) -> dict[str, Any]:
    accumulator = Accumulator()
    for chunk in chunks:
        accumulator.add(json.dumps(chunk) if isinstance(chunk, dict) else chunk)
    return accumulator.message()


def message_of(*deltas: dict[str, Any]) -> dict[str, Any]:
    (choice,) = joined(*({"choices": [{"index": 0, "delta": delta}]} for delta in deltas))["choices"]
    return choice["message"]
