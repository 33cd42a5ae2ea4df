"""`POST /api/chat`: the answer as plain text, for a page that does nothing but read and append.

A body in the AI SDK's form is answered by `everytoken.gateway.ui`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from everytoken.dialects.openai_chat import ChatRequest, decode_chunk
from everytoken.errors import InvalidRequestError
from everytoken.gateway.chat import stream_headers, wait_for_head
from everytoken.gateway.follow import ReaderConnection
from everytoken.gateway.http import read_json_object, start
from everytoken.gateway.opening import open_response
from everytoken.gateway.ui import ui_chat
from everytoken.wire.text import TextWire
from everytoken.wire.ui_messages import is_ui_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services
    from everytoken.journal import Log

__all__ = ["plain_chat"]

_BATCH = 16 * 1024
_SLICE = 8 * 1024  # characters segmented in one turn of the loop: a few milliseconds


async def plain_chat(gateway: Services, request: Request) -> None:
    """Answer `{"prompt": "..."}` or `{"messages": [...]}` with streamed text."""
    owner = gateway.keys.owner(request)
    body = read_json_object(await request.body(gateway.config.max_body))
    if is_ui_request(body):
        await ui_chat(gateway, request, owner, body)
        return
    chat = ChatRequest(_streamed(gateway.with_model(body)))
    with await open_response(gateway, request, chat, owner=owner) as response:
        client = ReaderConnection(request)
        try:
            if await wait_for_head(request, client, response):
                head = [
                    (b"content-type", b"text/plain; charset=utf-8"),
                    *stream_headers(request, response.stream_id),
                ]
                await start(request, 200, head)
                await _follow_text(client, response.log)
        finally:
            client.close()


def _streamed(body: dict[str, Any]) -> dict[str, Any]:
    """Return the chat completion request that a page's request stands for. Raises `InvalidRequestError`."""
    body = {**body, "stream": True}
    body.pop("stream_options", None)
    prompt = body.pop("prompt", None)
    if prompt is None:
        if "messages" not in body:
            raise InvalidRequestError("'prompt' or 'messages' is required", param="prompt")
        return body
    if not isinstance(prompt, str) or not prompt:
        raise InvalidRequestError("'prompt' must be a text that is not empty", param="prompt")
    before = body.get("messages")
    if not (before is None or isinstance(before, list)):
        raise InvalidRequestError("'messages' must be a list", param="messages")
    body["messages"] = [*(before or ()), {"role": "user", "content": prompt}]
    return body


async def _follow_text(client: ReaderConnection, log: Log) -> None:
    """Write a log's text to its end; what did not complete gets a visible last line and is broken off."""
    loop = asyncio.get_running_loop()
    wire = TextWire()
    offset = 0
    log.subscribe(client.wake)
    try:
        while True:
            await client.drain()
            if client.gone:
                return
            records = log.take(offset, _BATCH)
            if records is None:
                records = await log.fetch(offset, _BATCH)
            offset += len(records)
            if records:
                await _push(client, wire, _text(records))
                continue
            for piece in wire.tick(loop.time()):
                await client.send(piece)
            if offset < log.tail:
                continue  # it has moved while the client was waited for
            if log.closed:
                await _end(client, log, wire)
                return
            await client.wait(wire.deadline())
    finally:
        log.unsubscribe(client.wake)


async def _push(client: ReaderConnection, wire: TextWire, text: str) -> None:
    loop = asyncio.get_running_loop()
    for begin in range(0, len(text), _SLICE):
        if begin:
            await asyncio.sleep(0)  # the others' turn
        for piece in wire.push(text[begin : begin + _SLICE], loop.time()):
            await client.send(piece)


async def _end(client: ReaderConnection, log: Log, wire: TextWire) -> None:
    result = log.info.result or {}
    completed = result.get("outcome") == "completed"
    reason = (result.get("error") or {}).get("message") or "the response did not complete"
    for piece in wire.finish() if completed else wire.interrupted(reason):
        await client.send(piece)
    if completed:
        await client.finish()
    else:
        await client.abort()


def _text(records: Sequence[bytes]) -> str:
    """Return the text of the first choice in some records; what a refusal says is text too."""
    pieces: list[str] = []
    for record in records:
        for choice in decode_chunk(record).choices or ():
            if not choice.index and choice.delta is not None:
                pieces.append(choice.delta.text)
                pieces.append(choice.delta.refusal or "")
    return "".join(pieces)
