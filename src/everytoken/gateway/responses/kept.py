"""A response that the journal keeps, for the caller that made it: its object, and its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.dialects.openai_responses import ResponsesRequest, response_id_of, stream_id_of
from everytoken.dialects.openai_responses.request import OWN
from everytoken.errors import StreamNotFoundError
from everytoken.gateway.assembling import assembled
from everytoken.journal.ids import given_at
from everytoken.json import loads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.gateway.services import Services
    from everytoken.journal import Log

__all__ = ["find", "request_of", "response_in", "until_closed"]

_STOPPING = 10.0  # seconds in which the end of a response that was stopped is stored

# What a response object repeats of its request.
_REPEATED = (
    *("instructions", "max_output_tokens", "metadata", "model", "parallel_tool_calls", "reasoning"),
    *("temperature", "text", "tool_choice", "tools", "top_p", "truncation", "user", "store"),
)
_STATUSES = {"cancelled": "cancelled", "interrupted": "failed", "failed": "failed"}


async def find(gateway: Services, response_id: str, owner: str) -> Log:
    """Return the stream of a response that `owner` made and that may be asked about.

    Raises `StreamNotFoundError` for any other, whatever the reason: what is somebody else's does not exist for them.
    """
    stream_id = stream_id_of(response_id)
    missing = StreamNotFoundError(f"Response with id {response_id[:100]!r} not found.")
    if stream_id is None or given_at(stream_id) is None:
        raise missing
    try:
        log = await gateway.journal.open(stream_id)
    except StreamNotFoundError as error:
        raise missing from error
    meta = log.info.meta
    if log.info.owner != owner or meta.get("dialect") != ResponsesRequest.dialect:
        raise missing
    if request_of(log).get("store") is False:
        raise missing
    return log


def request_of(log: Log) -> dict[str, Any]:
    """Return the request of a response as it was stored."""
    kept = log.info.meta["request"]
    request: dict[str, Any] = loads(kept) if isinstance(kept, str) else kept
    return request


async def response_in(log: Log) -> dict[str, Any]:
    """Return the response object as far as it has come."""
    begun = log.tail > 0
    response = await assembled(log)
    return {**_skeleton(log, begun=begun), **response, **_ending(log.info.result)}


def _skeleton(log: Log, *, begun: bool) -> dict[str, Any]:
    """Return what is known of a response without a single event of it."""
    request = request_of(log)
    own = request.get(OWN)
    return {
        "id": response_id_of(log.info.id),
        "object": "response",
        "created_at": int(log.info.created),
        "status": "in_progress" if begun else "queued",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "",
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "previous_response_id": None,
        "background": False,
        "usage": None,
        **{name: request[name] for name in _REPEATED if name in request},
        **(own if isinstance(own, dict) else {}),
    }


def _ending(result: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the outcome changes in a response: one that completed says itself how."""
    if result is None or result.get("outcome") == "completed":
        return {}
    told = result.get("error") or {}
    status = _STATUSES.get(str(result.get("outcome")), "failed")
    error = {"code": told.get("code") or "server_error", "message": told.get("message") or ""}
    return {"status": status, "error": None if status == "cancelled" else error, "usage": result.get("usage")}


async def until_closed(log: Log) -> None:
    """Wait until the end of a response that has been stopped is stored, or for a while."""
    closed = asyncio.get_running_loop().create_future()

    def moved() -> None:
        if (log.closed or log.deleted) and not closed.done():
            closed.set_result(None)

    log.subscribe(moved)
    try:
        moved()
        await asyncio.wait([closed], timeout=_STOPPING)
    finally:
        log.unsubscribe(moved)
        closed.cancel()


def size_of(value: Any) -> int:
    """Return about how many bytes a value takes as JSON."""
    try:
        return len(msgspec.json.encode(value))
    except UnicodeEncodeError:
        return len(repr(value))
