"""`/api/chat` for the AI SDK: `useChat({ resume: true })` works with nothing of the user's on the server.

The response is one of the journal like any other; the UI message stream is a view that is made as it is read.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

from everytoken.dialects.openai_chat import ChatRequest
from everytoken.errors import InvalidRequestError, JournalError, StreamNotFoundError
from everytoken.formats.table import FORMATS
from everytoken.formats.ui import HEADER
from everytoken.formats.ui_messages import openai_messages, rebuild
from everytoken.gateway.chats import Chat, Turn
from everytoken.gateway.follow import ReaderConnection, follow
from everytoken.gateway.http import answer, start
from everytoken.gateway.model_api import stream_headers, wait_for_head
from everytoken.gateway.models import with_model
from everytoken.gateway.opening import Response, open_response

if TYPE_CHECKING:
    from everytoken.formats.output import OutputFormat
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services

__all__ = ["PATH", "resume", "stop", "ui_chat"]

PATH: Final = re.compile(r"/api/chat/(.+)/(stream|stop)", re.DOTALL)
"""The routes of one chat; its id may hold anything, also a slash."""

_OURS = frozenset({"id", "messages", "trigger", "messageId", "stream", "stream_options"})


async def ui_chat(gateway: Services, request: Request, owner: str, body: dict[str, Any]) -> None:
    """Answer `{id, messages: [{id, role, parts}], trigger, messageId}`; the body's other fields go upstream."""
    chat = _chat(gateway, body.get("id"), owner)
    messages = body["messages"]
    asked = {
        **{name: value for name, value in body.items() if name not in _OURS},
        "messages": openai_messages(messages),
        "stream": True,
    }
    wanted = ChatRequest(await with_model(gateway, asked))
    with await open_response(gateway, request, wanted, owner=owner) as response:
        turn = _turn(response.stream_id, messages[-1])
        client = ReaderConnection(request)
        try:
            if chat is not None:
                await _remember(gateway, chat, turn, response)
            if await wait_for_head(request, client, response):
                output = FORMATS["ui"](
                    response.stream_id, message_id=turn.message, interrupts=_interrupts(request)
                )
                await _stream(request, client, response, output, chat)
            elif chat is not None:
                await chat.delivered(response.stream_id)
        finally:
            client.close()


async def resume(gateway: Services, request: Request, chat_id: str) -> None:
    """Send the chat's newest response from its start; 204 when its end has been delivered already."""
    owner = gateway.owner(request, "chat")
    chat = _chat(gateway, chat_id, owner)
    assert chat is not None
    found = await _current(gateway, chat, owner)
    if found is None:
        await answer(request, 204, b"", b"", [(b"cache-control", b"no-store")])
        return
    turn, response = found
    gateway.reader_resumed(response.log, 0)
    before = rebuild(turn.parts)
    output = FORMATS["ui"](
        turn.stream,
        message_id=turn.message,
        metadata=turn.metadata,
        before=before,
        interrupts=_interrupts(request),
    )
    client = ReaderConnection(request)
    with response:
        try:
            await _stream(request, client, response, output, chat)
        finally:
            client.close()


async def stop(gateway: Services, request: Request, chat_id: str) -> None:
    """Stop the chat's newest response for all readers; do nothing if none is active."""
    owner = gateway.owner(request, "chat")
    chat = _chat(gateway, chat_id, owner)
    assert chat is not None
    found = await _current(gateway, chat, owner)
    if found is not None:
        await gateway.relays.stop(found[1].stream_id)
    await answer(request, 204, b"", b"")


def _interrupts(request: Request) -> bool:
    """Whether the caller says that its SDK is of version 7 or later; nothing else in its request tells."""
    version = (request.header(b"everytoken-ai-sdk") or "").partition(".")[0]
    return version.isdecimal() and len(version) < 4 and int(version) >= 7


def _chat(gateway: Services, chat_id: Any, owner: str) -> Chat | None:
    """Return the chat of that id; None without one, when it cannot be resumed."""
    if chat_id is None:
        return None
    if not isinstance(chat_id, str):
        raise InvalidRequestError("'id' must be a string", param="id")
    return Chat(gateway.journal, chat_id, owner=owner, retention=gateway.config.retention)


def _turn(stream_id: str, last: dict[str, Any]) -> Turn:
    """Return a response's turn: it continues the last message if that is the assistant's."""
    if last.get("role") == "assistant" and isinstance(last.get("id"), str):
        return Turn(stream_id, last["id"], last.get("metadata"), last["parts"])
    return Turn(stream_id, stream_id)


async def _remember(gateway: Services, chat: Chat, turn: Turn, response: Response) -> None:
    try:
        await chat.begin(turn)
    except JournalError:
        await gateway.relays.stop(response.stream_id)
        raise


async def _current(gateway: Services, chat: Chat, owner: str) -> tuple[Turn, Response] | None:
    turn = await chat.current()
    if turn is None:
        return None
    try:
        log = await gateway.journal.open(turn.stream)
    except StreamNotFoundError:
        return None
    if log.info.owner != owner:
        return None
    return turn, Response(turn.stream, log, gateway.relays.get(turn.stream))


async def _stream(
    request: Request, client: ReaderConnection, response: Response, output: OutputFormat, chat: Chat | None
) -> None:
    head = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        HEADER,
        *stream_headers(request, response.stream_id),
    ]
    await start(request, 200, head)

    async def delivered() -> None:
        # Before the body's end: who asks again after it must find nothing to resume.
        if chat is not None:
            with contextlib.suppress(JournalError):
                await chat.delivered(response.stream_id)

    await follow(client, response.log, output, delivered=None if chat is None else delivered)
