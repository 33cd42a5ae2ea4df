"""Upstreams that answer in the API they are asked in: one that is moved by hand, and one that says a little and then fails."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from everytoken.errors import UpstreamError
from gateway_serving import ManualAttempt, ManualUpstream
from messages_streams import begin, encoded, end, start, stop, texts
from responses_streams import Script, output_text, wire

if TYPE_CHECKING:
    from collections.abc import Mapping

TAGS = "abcdefghijklmnopqrstuvwxyz"


class MessagesAttempt(ManualAttempt):
    """One at Anthropic's Messages."""

    def accept(self) -> None:
        super().accept()
        self._say(start(), begin(0, "text", text=""))

    def send(self, *contents: str) -> None:
        self._say(*texts(0, *contents))

    def finish(self) -> None:
        self._say(stop(0), *end())

    def _say(self, *events: dict[str, Any]) -> None:
        self.sink.on_data(b"".join(encoded(list(events))))


class ResponsesAttempt(ManualAttempt):
    """One at OpenAI's Responses; each has other ids."""

    _numbers = itertools.count()

    def __init__(self, body: dict[str, Any], sink: Any) -> None:
        super().__init__(body, sink)
        self.script = Script(TAGS[next(self._numbers) % len(TAGS)])
        self.item: dict[str, Any] = {
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        self.text = ""
        self.told = 0

    def accept(self) -> None:
        super().accept()
        self.script.begin(self.item)
        self._say("content_part.added", part=output_text())

    def send(self, *contents: str) -> None:
        for content in contents:
            self.text += content
            self._say("output_text.delta", delta=content, logprobs=[])

    def finish(self) -> None:
        part = {**output_text(), "text": self.text}
        self._say("output_text.done", text=self.text, logprobs=[])
        self._say("content_part.done", part=part)
        self.item.update(content=[part], status="completed")
        self.script.finish(0)
        self.script.end()
        self._tell()

    def _say(self, kind: str, **fields: Any) -> None:
        self.script.say(f"response.{kind}", **self.script.at(0, content_index=0), **fields)
        self._tell()

    def _tell(self) -> None:
        self.sink.on_data(b"".join(wire(self.script.events[self.told :])))
        self.told = len(self.script.events)


ATTEMPTS = {"/messages": MessagesAttempt, "/responses": ResponsesAttempt}


class Spoken(ManualUpstream):
    """Moved by hand, in the API that it is asked in."""

    def connect(
        self,
        body: dict[str, Any],
        sink: Any,
        *,
        streamed: bool,
        path: str = "/chat/completions",
        headers: Mapping[str, str] | None = None,
    ) -> ManualAttempt:
        attempt = ATTEMPTS.get(path, ManualAttempt)(body, sink)
        self.attempts.append(attempt)
        self._arrived.set()
        return attempt


class Broken(Spoken):
    """Says `text`, and breaks, each time."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def connect(self, body: dict[str, Any], sink: Any, **options: Any) -> ManualAttempt:
        attempt = super().connect(body, sink, **options)
        asyncio.get_running_loop().call_soon(self._break, attempt)
        return attempt

    def _break(self, attempt: ManualAttempt) -> None:
        if not attempt.released.is_set():
            attempt.accept()
            attempt.send(self._text)
            attempt.sink.on_error(UpstreamError("the connection broke"))
