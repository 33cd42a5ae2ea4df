# ruff: noqa: INP001  (a script of the npm package's tests)
"""Streams of Messages and Responses, each as two attempts send it: other ids, other pieces of the same texts. JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import messages_streams as messages
import responses_streams as responses


def joined(events: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return events with every two deltas of one text made one."""
    made: list[dict[str, object]] = []
    for event in events:
        last = made[-1] if made else {}
        same = all(
            last.get(name) == event.get(name)
            for name in ("type", "item_id", "content_index", "summary_index")
        )
        if same and str(event["type"]).endswith(".delta"):
            made[-1] = {**last, "delta": f"{last['delta']}{event['delta']}"}
        else:
            made.append(event)
    return [{**event, "sequence_number": number} for number, event in enumerate(made)]


print(  # noqa: T201
    json.dumps(
        {
            "messages": {name: [events, messages.again(events)] for name, events in messages.STREAMS.items()},
            "responses": {
                name: [stream("a"), joined(stream("b"))] for name, stream in responses.STREAMS.items()
            },
        }
    )
)
