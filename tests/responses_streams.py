"""Streams of the Responses API as OpenAI sends them. Every attempt has other ids, times and encrypted content for one answer."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from openai import omit
from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 21,
}


class Script:
    """Writes a stream, event by event. `tag` tells one attempt from another."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.events: list[dict[str, Any]] = []
        self.output: list[dict[str, Any]] = []
        for kind in ("response.created", "response.in_progress"):
            self.say(kind, response=self.response("in_progress"))

    def say(self, kind: str, **fields: Any) -> None:
        self.events.append({"type": kind, "sequence_number": len(self.events), **copy.deepcopy(fields)})

    def response(self, status: str, **more: Any) -> dict[str, Any]:
        created = 1000 + ord(self.tag)
        whole = {"id": f"resp_{self.tag}", "object": "response", "created_at": created, "status": status}
        return {
            **whole,
            "error": None,
            "model": "m",
            "output": [],
            "parallel_tool_calls": True,
            "tools": [],
            **more,
        }

    def begin(self, item: dict[str, Any], **empty: Any) -> int:
        index = len(self.output)
        item["id"] = f"{item['type'][:3]}_{self.tag}{index}"
        self.output.append(item)
        self.say("response.output_item.added", output_index=index, item={**item, **empty})
        return index

    def finish(self, index: int) -> None:
        self.say("response.output_item.done", output_index=index, item=self.output[index])

    def at(self, index: int, **more: Any) -> dict[str, Any]:
        return {"item_id": self.output[index]["id"], "output_index": index, **more}

    def part(
        self, index: int, number: int, part: dict[str, Any], *pieces: str, notes: Sequence[Any] = ()
    ) -> None:
        """Stream one part of a message."""
        field, name = ("refusal", "refusal") if part["type"] == "refusal" else ("text", part["type"])
        at = self.at(index, content_index=number)
        more = {"logprobs": []} if name == "output_text" else {}
        self.say("response.content_part.added", **at, part={**part, field: ""})
        for piece in pieces:
            self.say(f"response.{name}.delta", **at, delta=piece, **more, obfuscation=self.tag * 5)
        for note_index, note in enumerate(notes):
            kind = "response.output_text.annotation.added"
            self.say(kind, **at, annotation_index=note_index, annotation=note)
        whole = {**part, field: "".join(pieces), **({"annotations": list(notes)} if notes else {})}
        self.say(f"response.{name}.done", **at, **{field: whole[field]}, **more)
        self.say("response.content_part.done", **at, part=whole)
        self.output[index]["content"].append(whole)

    def message(self, *parts: tuple[dict[str, Any], tuple[str, ...]], notes: Sequence[Any] = ()) -> None:
        item = {"type": "message", "role": "assistant", "status": "in_progress", "content": []}
        index = self.begin(item)
        for number, (part, pieces) in enumerate(parts):
            self.part(index, number, part, *pieces, notes=notes)
        item["status"] = "completed"
        self.finish(index)

    def call(self, name: str, pieces: Iterable[str], kind: str = "function_call") -> None:
        """Stream a call of a tool."""
        field = "arguments" if kind == "function_call" else "input"
        event = f"response.{kind}_{field}"
        item = {
            "type": kind,
            "status": "in_progress",
            field: "",
            "name": name,
            "call_id": f"call_{self.tag}{name}",
        }
        index = self.begin(item)
        for piece in pieces:
            self.say(f"{event}.delta", **self.at(index), delta=piece)
            item[field] += piece
        self.say(f"{event}.done", **self.at(index), **{field: item[field]})
        item["status"] = "completed"
        self.finish(index)

    def reasoning(self, *, encrypted: bool) -> None:
        """Stream an item of reasoning with two summaries."""
        item: dict[str, Any] = {"type": "reasoning", "summary": []}
        if encrypted:
            item["encrypted_content"] = f"begun-{self.tag}"
        index = self.begin(item)
        for number, pieces in enumerate((("First ", "I think."), ("Then ", "more."))):
            at = self.at(index, summary_index=number)
            self.say("response.reasoning_summary_part.added", **at, part={"type": "summary_text", "text": ""})
            for piece in pieces:
                self.say("response.reasoning_summary_text.delta", **at, delta=piece)
            whole = {"type": "summary_text", "text": "".join(pieces)}
            self.say("response.reasoning_summary_text.done", **at, text=whole["text"])
            self.say("response.reasoning_summary_part.done", **at, part=whole)
            item["summary"].append(whole)
        if encrypted:
            item["encrypted_content"] = f"secret-{self.tag}"
        self.finish(index)

    def end(self, kind: str = "completed", **more: Any) -> list[dict[str, Any]]:
        self.say(f"response.{kind}", response=self.response(kind, output=self.output, usage=USAGE, **more))
        return self.events


def output_text() -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}


def refusal_part() -> dict[str, Any]:
    return {"type": "refusal", "refusal": ""}


def text(tag: str) -> list[dict[str, Any]]:
    script = Script(tag)
    script.message((output_text(), ("One ", "two\u2028", "drei ", "\U0001f600.")))
    return script.end()


def two_parts(tag: str) -> list[dict[str, Any]]:
    script = Script(tag)
    script.message((output_text(), ("One ", "two. ")), (output_text(), ("Three ", "four.")))
    script.message((output_text(), ("One ", "again.")))
    return script.end()


def refusal(tag: str) -> list[dict[str, Any]]:
    script = Script(tag)
    script.message((refusal_part(), ("I cannot ", "do that.")))
    return script.end()


def function_call(tag: str) -> list[dict[str, Any]]:
    script = Script(tag)
    script.message((output_text(), ("Let me ", "look.")))
    script.call("weather", ['{"city":', '"Par', 'is"}'])
    return script.end()


def parallel_calls(tag: str) -> list[dict[str, Any]]:
    """Return two calls whose arguments come in turns."""
    script = Script(tag)
    calls = []
    for name in ("weather", "time"):
        item = {"type": "function_call", "status": "in_progress", "arguments": "", "name": name}
        item["call_id"] = f"call_{tag}{name}"
        calls.append((script.begin(item), item))
    for pieces in (('{"city"', '{"zone"'), (':"Oslo"}', ':"CET"}')):
        for (index, item), piece in zip(calls, pieces, strict=True):
            script.say("response.function_call_arguments.delta", **script.at(index), delta=piece)
            item["arguments"] += piece
    for index, item in calls:
        script.say("response.function_call_arguments.done", **script.at(index), arguments=item["arguments"])
        item["status"] = "completed"
        script.finish(index)
    return script.end()


def custom_tool(tag: str) -> list[dict[str, Any]]:
    script = Script(tag)
    script.call("patch", ["*** Begin\n", "+line\n", "*** End"], "custom_tool_call")
    return script.end()


def reasoning(tag: str) -> list[dict[str, Any]]:
    script = Script(tag)
    script.reasoning(encrypted=False)
    item: dict[str, Any] = {"type": "reasoning", "summary": [], "content": []}
    index = script.begin(item)
    at = script.at(index, content_index=0)
    for piece in ("Raw ", "thoughts."):
        script.say("response.reasoning_text.delta", **at, delta=piece)
    script.say("response.reasoning_text.done", **at, text="Raw thoughts.")
    item["content"] = [{"type": "reasoning_text", "text": "Raw thoughts."}]
    script.finish(index)
    script.message((output_text(), ("So: ", "yes.")))
    return script.end()


def encrypted(tag: str) -> list[dict[str, Any]]:
    script = Script(tag)
    script.reasoning(encrypted=True)
    script.message((output_text(), ("So: ", "yes.")))
    script.call("weather", ['{"a":', "1}"])
    return script.end()


def searched(tag: str) -> list[dict[str, Any]]:
    """Return a tool that the server runs, citations, and events of next year."""
    script = Script(tag)
    item = {"type": "web_search_call", "status": "in_progress", "action": {"type": "search", "query": "q"}}
    index = script.begin(item)
    for state in ("in_progress", "searching", "completed"):
        script.say(f"response.web_search_call.{state}", **script.at(index))
    item["status"] = "completed"
    script.finish(index)
    note = {
        "type": "url_citation",
        "url": "https://a.example",
        "title": "A",
        "start_index": 0,
        "end_index": 3,
    }
    script.message((output_text(), ("See ", "this.")), notes=[note])
    script.say("response.mood.delta", output_index=1, mood_index=0, delta="go")
    script.say("response.mood.delta", output_index=1, mood_index=0, delta="od")
    script.say("response.mood.done", output_index=1, mood_index=0, mood="good")
    script.say("response.surprise", what=[1, {"two": 2}])
    return script.end()


def incomplete(tag: str) -> list[dict[str, Any]]:
    script = Script(tag)
    script.message((output_text(), ("Too ", "long")))
    return script.end("incomplete", incomplete_details={"reason": "max_output_tokens"})


STREAMS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    one.__name__: one
    for one in (
        *(text, two_parts, refusal, function_call, parallel_calls, custom_tool, reasoning, encrypted),
        *(searched, incomplete),
    )
}


def like_llama(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events as llama.cpp sends them: without numbers."""
    numbers = {"sequence_number", "output_index", "content_index", "summary_index", "logprobs", "obfuscation"}
    return [{name: value for name, value in event.items() if name not in numbers} for event in events]


def wire(events: Iterable[dict[str, Any]]) -> list[bytes]:
    """Return events as they are sent."""
    return [
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event, ensure_ascii=False).encode())
        for event in events
    ]


def read_by_sdk(events: Iterable[dict[str, Any]]) -> Any:
    """Have the official SDK put a stream together; return its response, None if it did not complete."""
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        state.handle_event(construct_type(type_=ResponseStreamEvent, value=event))
    return state._completed_response


def texts_of(events: Iterable[dict[str, Any]]) -> dict[tuple[Any, ...], str]:
    """Return every text that deltas have made up, by its place."""
    found: dict[tuple[Any, ...], str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            place = tuple(value for name, value in sorted(event.items()) if name.endswith("_index"))
            key = (event["type"], *place)
            found[key] = found.get(key, "") + event["delta"]
    return found


def tags_in(value: Any) -> set[str]:
    """Return the tags of the attempts whose ids stand in a value."""
    found: set[str] = set()
    if isinstance(value, dict):
        for name, item in value.items():
            if name in {"id", "item_id", "call_id"}:
                found.add(item.partition("_")[2][0])
            found |= tags_in(item)
    elif isinstance(value, list):
        for item in value:
            found |= tags_in(item)
    return found


def check_one_stream(events: list[dict[str, Any]], truth: list[dict[str, Any]]) -> None:
    """Check that events are the stream `truth`, but for how texts are cut and for the ids, of which each item has one."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert texts_of(events) == texts_of(truth)
    frame = [event["type"] for event in truth if not event["type"].endswith(".delta")]
    assert [event["type"] for event in events if not event["type"].endswith(".delta")] == frame
    ids: dict[int, str] = {}
    for event in events:
        item = event.get("item")
        told = item["id"] if item else event.get("item_id")
        if told is not None:
            assert ids.setdefault(event["output_index"], told) == told
    first, last = events[0]["response"], events[-1]["response"]
    assert first["id"] == last["id"]
    assert first["created_at"] == last["created_at"]
    assert [item["id"] for item in last["output"]] == [ids[index] for index in range(len(ids))]
    for item in last["output"]:
        # What is encrypted stands beside the id that it was made for, and a call has one id throughout.
        assert len(tags_in(item)) == 1
        if secret := item.get("encrypted_content"):
            assert secret.partition("-")[2] in tags_in(item)
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert sorted(done, key=lambda item: item["id"]) == sorted(last["output"], key=lambda item: item["id"])
    bare = {"id", "call_id", "encrypted_content"}
    told = [{name: item[name] for name in item if name not in bare} for item in last["output"]]
    assert told == [
        {name: item[name] for name in item if name not in bare} for item in truth[-1]["response"]["output"]
    ]
    if events[-1]["type"] == "response.completed":
        assert read_by_sdk(events).usage.total_tokens >= 21
    else:
        assert read_by_sdk(events) is None
