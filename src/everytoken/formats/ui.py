"""Records as the AI SDK's UI message stream (protocol version 1), which `useChat` reads.

A view made of the records alone: a reader of the response, anywhere, gets the same parts under the same ids. Only
how the text is cut into deltas depends on how the records came: what is pushed together goes out as one delta, because
`useChat` copies the whole message for each.

`-end`, `finish` and `tool-input-available` are claims. They are made when the response is completed; a part that was
cut stays open, which its reader can see (`state: "streaming"`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from everytoken.dialects.openai_chat import decode_chunk
from everytoken.dialects.openai_chat.chunk import text_of_parts
from everytoken.dialects.openai_chat.toolcalls import ToolCalls
from everytoken.errors import MalformedEventError
from everytoken.formats.openai import KEEP_ALIVE
from everytoken.formats.output import Ending, OutputFormat
from everytoken.json import dumps, loads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from everytoken.dialects.openai_chat import Delta, ToolCallDelta

__all__ = ["HEADER", "UIMessages"]

HEADER: Final = (b"x-vercel-ai-ui-message-stream", b"v1")
"""The header by which clients know such a stream."""

_DONE: Final = b"data: [DONE]\n\n"

# The reasons of OpenAI in the AI SDK's words; it takes no others.
_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}

_Kind = Literal["text", "reasoning"]


class UIMessages(OutputFormat):
    """Turn the records of one response into events.

    `message_id` is that of the message they make up, by default the stream's id. `before` are chunks of this protocol
    that rebuild what the message held before this response, for a reader that begins with nothing. `interrupts`: say of
    a stopped response that it was interrupted, and why, in words that only version 7 of the SDK knows. Versions 5 and 6
    take a part with a field or value that they do not know for an error.
    """

    keep_alive = KEEP_ALIVE
    batch = 64 * 1024  # what is made of them is a tenth of it, and one step for the page

    def __init__(
        self,
        stream_id: str,
        *,
        message_id: str | None = None,
        metadata: Any = None,
        before: Iterable[Mapping[str, Any]] = (),
        interrupts: bool = False,
    ) -> None:
        self._stream_id = stream_id
        self._interrupts = interrupts
        self._out: list[bytes] = []
        # What the pending pieces belong to: a part of the message, a tool call by its position, or nothing.
        self._target: _Kind | int | None = None
        self._pending: list[str] = []
        self._parts = 0
        self._calls = ToolCalls()
        self._call_ids: dict[int, str] = {}
        self._used_ids: set[str] = set()
        self._reason: str | None = None
        start = {"type": "start", "messageId": message_id or stream_id}
        self._put(start if metadata is None else {**start, "messageMetadata": metadata})
        for chunk in before:
            self._put(chunk)
        self._put({"type": "start-step"})

    def begin(self) -> bytes:
        """Return the events that come before all others: the message has begun, also without a record."""
        return self._take()

    def push(self, records: Sequence[bytes], offset: int) -> bytes:  # noqa: ARG002  # offsets are not shown
        """Return the events for some records."""
        for record in records:
            for choice in decode_chunk(record).choices or ():
                if choice.index:
                    continue  # a message of the UI has room for one choice
                if choice.delta is not None:
                    self._receive(choice.delta)
                if choice.finish_reason and choice.finish_reason != "null":
                    self._reason = choice.finish_reason
        return self._take()

    def end(self, result: Mapping[str, Any]) -> Ending:
        """Return the events that end the response, as `result` tells, and `[DONE]`, unless it ended in an error.

        Interrupted or failed it ends in `error`, cancelled in `abort`.
        """
        outcome = result.get("outcome")
        message = (result.get("error") or {}).get("message") or "the response did not complete"
        metadata = _metadata(result)
        if outcome == "completed":
            self._close()
            for position, call in enumerate(self._calls.finished()):
                self._finish_call(position, call.get("function") or {})
            self._put({"type": "finish-step"})
            reason = {"finishReason": _REASONS.get(self._reason, "other")} if self._reason else {}
            self._put({"type": "finish", **reason, "messageMetadata": metadata})
        elif outcome == "cancelled":
            # So a second tab knows better than to send tool results or queued messages by itself.
            why = {"finishReason": "interrupted"} if self._interrupts else {}
            self._put({"type": "abort", **({"reason": message} if self._interrupts else {})})
            self._put({"type": "finish", **why, "messageMetadata": metadata})
        else:
            self._put({"type": "message-metadata", "messageMetadata": metadata})
            self._put({"type": "error", "errorText": message})
        return Ending([self._take()], last=_DONE if outcome in {"completed", "cancelled"} else b"")

    # Deltas

    def _receive(self, delta: Delta) -> None:
        # Servers that send both names send the same text twice.
        self._add("reasoning", delta.reasoning_content or delta.reasoning)
        if isinstance(delta.content, list):
            for part in delta.content:
                if isinstance(part, dict) and part.get("type") == "thinking":
                    thinking = part.get("thinking")
                    self._add(
                        "reasoning", text_of_parts(thinking if isinstance(thinking, list) else [thinking])
                    )
                else:
                    self._add("text", text_of_parts([part]))
        else:
            self._add("text", delta.content)
        self._add("text", delta.refusal)
        for fragment in delta.tool_calls or ():
            self._add_call(fragment)
        if delta.function_call is not None:
            function = delta.function_call
            self._receive_call({"index": 0}, function.name, function.arguments)

    def _add(self, kind: _Kind, text: str | None) -> None:
        if not text:
            return
        if self._target != kind:
            self._close()
            self._parts += 1
            self._target = kind
            self._put({"type": f"{kind}-start", "id": self._part_id(kind)})
        self._pending.append(text)

    def _add_call(self, fragment: ToolCallDelta) -> None:
        function = fragment.function
        self._receive_call(
            {"index": fragment.index, "id": fragment.id},
            None if function is None else function.name,
            None if function is None else function.arguments,
        )

    def _receive_call(self, fragment: dict[str, Any], name: str | None, arguments: str | None) -> None:
        function = {"name": name, "arguments": arguments}
        position = self._calls.receive({**fragment, "function": function})
        if self._target != position:
            self._close()
            self._target = position
        if arguments:
            self._begin_call(position)
            self._pending.append(arguments)

    def _begin_call(self, position: int) -> None:
        """Show a call; not before its arguments come, because until then its name may not be whole."""
        if position in self._call_ids:
            return
        call_id, name = self._calls.heading(position)
        if not call_id or call_id in self._used_ids:
            call_id = f"{call_id or self._stream_id}-{position}"
        self._used_ids.add(call_id)
        self._call_ids[position] = call_id
        self._put({"type": "tool-input-start", "toolCallId": call_id, "toolName": name})

    def _finish_call(self, position: int, function: Mapping[str, Any]) -> None:
        self._begin_call(position)
        arguments = function.get("arguments") or ""
        call = {"toolCallId": self._call_ids[position], "toolName": function.get("name") or ""}
        try:
            # Servers send no arguments, or white space, to a function that takes none.
            value = loads(arguments) if arguments.strip() else {}
        except MalformedEventError:
            error = "the model's arguments are not JSON"
            self._put({"type": "tool-input-error", **call, "input": arguments, "errorText": error})
        else:
            self._put({"type": "tool-input-available", **call, "input": value})

    # Events

    def _part_id(self, kind: _Kind) -> str:
        return f"{kind}-{self._parts}"

    def _close(self) -> None:
        """End the part that is open."""
        self._flush()
        if isinstance(self._target, str):
            self._put({"type": f"{self._target}-end", "id": self._part_id(self._target)})
        self._target = None

    def _flush(self) -> None:
        if not self._pending:
            return
        delta = "".join(self._pending)
        self._pending.clear()
        if isinstance(self._target, str):
            chunk = {"type": f"{self._target}-delta", "id": self._part_id(self._target), "delta": delta}
        else:
            assert self._target is not None
            call_id = self._call_ids[self._target]
            chunk = {"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": delta}
        self._out.append(b"data: %b\n\n" % dumps(chunk))

    def _put(self, chunk: Mapping[str, Any]) -> None:
        self._flush()
        self._out.append(b"data: %b\n\n" % dumps(chunk))

    def _take(self) -> bytes:
        self._flush()
        data = b"".join(self._out)
        self._out.clear()
        return data


def _metadata(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the message's metadata show of how the response went: usage, outcome, and attempts if several."""
    attempts = result.get("attempts") or ()
    about = {"outcome": result.get("outcome")}
    if error := result.get("error"):
        about["code"] = error.get("code")
    if len(attempts) > 1:
        about["attempts"] = list(attempts)
    usage = result.get("usage")
    return {**({} if usage is None else {"usage": usage}), "everytoken": about}
