"""What has been delivered of a chat completion, chunk by chunk."""

from __future__ import annotations

import json

from everytoken.dialects.openai_chat.dialect import OPENAI_CHAT
from everytoken.recovery.transcript import Transcript


def chunk(delta, *, finish=None, number=0, **fields):
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **fields}
    return json.dumps(
        {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion.chunk",
            "created": number,
            "model": "m",
            "choices": [choice],
        },
        ensure_ascii=False,
    )


def delivered(*raws):
    transcript = Transcript(OPENAI_CHAT)
    for raw in raws:
        transcript.first = transcript.first or raw.encode()
        transcript.add(transcript.history.read(raw.encode()))
    return transcript
