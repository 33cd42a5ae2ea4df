"""A response in one piece, read as the events it would have been."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.dialects.openai_chat.inband import in_band_error
from everytoken.dialects.openai_responses.decoder import failure_in
from everytoken.errors import MalformedEventError, NotAnEventStreamError
from everytoken.json import dumps, loads
from everytoken.json.bounds import excess_in

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["events_in"]

_ENDS: Final = {"completed": "response.completed", "incomplete": "response.incomplete"}
_ARGUMENTS: Final = {
    "function_call": ("arguments", "function_call_arguments"),
    "custom_tool_call": ("input", "custom_tool_call_input"),
}
_TEXTS: Final = {
    "output_text": ("text", "output_text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("text", "reasoning_text"),
}


def events_in(body: bytes) -> list[bytes]:
    """Return the events of the response in `body`. Raises `NotAnEventStreamError`, `ErrorEventError`."""
    excess = excess_in(body)
    if excess is not None:
        raise NotAnEventStreamError(f"the upstream's answer cannot be read: {excess}")
    try:
        value = loads(body)
    except MalformedEventError as error:
        raise NotAnEventStreamError("the upstream answered with neither a stream nor JSON") from error
    response = value if isinstance(value, dict) else {}
    if str(response.get("status")) in {"failed", "cancelled"}:
        raise failure_in(response)
    output = response.get("output")
    # A response has an `error` that is null, and where it is not null it is its own.
    reported = (
        None if isinstance(output, list) and not response.get("error") else in_band_error("message", value)
    )
    if reported is not None:
        raise reported
    if not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
        raise NotAnEventStreamError("the upstream answered with JSON that is no response")
    end = _ENDS.get(str(response.get("status") or "completed"))
    if end is None:
        raise NotAnEventStreamError(f"the upstream answered with a response that is {response['status']!r}")
    return [
        dumps({**event, "sequence_number": number}) for number, event in enumerate(_events(response, end))
    ]


def _events(response: dict[str, Any], end: str) -> Iterator[dict[str, Any]]:
    begun = {
        **{name: value for name, value in response.items() if name not in {"usage", "completed_at"}},
        "status": "in_progress",
        "output": [],
    }
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        yield from _events_of(item, index)
    yield {"type": end, "response": response}


def _events_of(item: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
    kind = str(item.get("type"))
    where = {"item_id": item.get("id"), "output_index": index}
    empty = {**item, "status": "in_progress"} if "status" in item else dict(item)
    between: list[dict[str, Any]] = []
    if kind in {"message", "reasoning"}:
        empty |= {name: [] for name in ("content", "summary") if isinstance(item.get(name), list)}
        between += _summary(item, where)
        between += _content(item, where)
    elif kind in _ARGUMENTS and isinstance(item.get(_ARGUMENTS[kind][0]), str):
        field, name = _ARGUMENTS[kind]
        empty[field] = ""
        between.append({"type": f"response.{name}.delta", **where, "delta": item[field]})
        between.append({"type": f"response.{name}.done", **where, field: item[field]})
    yield {"type": "response.output_item.added", "output_index": index, "item": empty}
    yield from between
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _summary(item: dict[str, Any], where: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for index, part in enumerate(_list(item, "summary")):
        at = {**where, "summary_index": index}
        text = part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str):
            continue
        yield {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}}
        yield {"type": "response.reasoning_summary_text.delta", **at, "delta": text}
        yield {"type": "response.reasoning_summary_text.done", **at, "text": text}
        yield {"type": "response.reasoning_summary_part.done", **at, "part": part}


def _content(item: dict[str, Any], where: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for index, part in enumerate(_list(item, "content")):
        at = {**where, "content_index": index}
        field, name = _TEXTS.get(str(part.get("type")) if isinstance(part, dict) else "", ("", ""))
        text = part.get(field) if field else None
        if not isinstance(text, str):
            continue
        notes = _list(part, "annotations")
        logprobs = {"logprobs": part.get("logprobs") or []} if name == "output_text" else {}
        empty = {**part, field: "", **({"annotations": []} if "annotations" in part else {})}
        yield {"type": "response.content_part.added", **at, "part": empty}
        yield {"type": f"response.{name}.delta", **at, "delta": text, **logprobs}
        for number, note in enumerate(notes):
            yield {
                "type": "response.output_text.annotation.added",
                **at,
                "annotation_index": number,
                "annotation": note,
            }
        yield {"type": f"response.{name}.done", **at, field: text, **logprobs}
        yield {"type": "response.content_part.done", **at, "part": part}


def _list(value: dict[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    return found if isinstance(found, list) else []
