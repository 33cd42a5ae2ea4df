"""What servers in the field send besides text, as the bytes of whole answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Of each shape the deltas, and what stands `beside` the choices; js/test reads them too.
SHAPES: dict[str, list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("fixtures").joinpath("content_shapes.json").read_text(encoding="utf-8")
)
END = {"delta": {}, "finish": "stop"}


def wire(shape: list[Any], *, number: int = 1, again: int = 1) -> bytes:
    """Return the bytes of an answer; ids and times are those of its `number`; long texts come in `again` pieces."""
    events = []
    for event in [*shape, END]:
        for piece in _pieces(event["delta"], again):
            chunk = {
                "id": f"chatcmpl-{number}",
                "object": "chat.completion.chunk",
                "created": number,
                "choices": [
                    {"index": 0, "delta": _renumbered(piece, number), "finish_reason": event.get("finish")}
                ],
                **event.get("beside", {}),
            }
            events.append(f"data: {json.dumps(chunk)}\n\n")
    return "".join([*events, "data: [DONE]\n\n"]).encode()


def _pieces(delta: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return a delta of one growing text as several."""
    names = [name for name, value in delta.items() if isinstance(value, str)]
    if count == 1 or len(delta) != 1 or not names:
        return [delta]
    (name,) = names
    text = delta[name]
    size = max(1, len(text) // count)
    return [{name: text[at : at + size]} for at in range(0, len(text), size)]


def _renumbered(delta: dict[str, Any], number: int) -> dict[str, Any]:
    return json.loads(
        json.dumps(delta).replace("call_", f"call_{number}_").replace("audio_", f"audio_{number}_")
    )


def comparable(completion: dict[str, Any]) -> dict[str, Any]:
    """Return a `chat.completion` without what tells one attempt from another."""
    own = {"id", "created", "usage", "everytoken"}
    text = json.dumps({name: value for name, value in completion.items() if name not in own})
    for number in (1, 2):
        text = text.replace(f"call_{number}_", "call_").replace(f"audio_{number}_", "audio_")
    whole: dict[str, Any] = json.loads(text)
    return whole
