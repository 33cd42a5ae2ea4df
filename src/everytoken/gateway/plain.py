"""`POST /api/chat`: the answer as plain text, for a page that does nothing but read and append.

A body in the AI SDK's form is answered by `everytoken.gateway.ui`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.openai_chat import ChatRequest
from everytoken.errors import InvalidRequestError
from everytoken.formats.table import FORMATS
from everytoken.formats.ui_messages import is_ui_request
from everytoken.gateway.follow import ReaderConnection, follow
from everytoken.gateway.http import read_json_object, start
from everytoken.gateway.model_api import stream_headers, wait_for_head
from everytoken.gateway.models import with_model
from everytoken.gateway.opening import open_response
from everytoken.gateway.ui import ui_chat

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services

__all__ = ["plain_chat"]


async def plain_chat(gateway: Services, request: Request) -> None:
    """Answer `{"prompt": "..."}` or `{"messages": [...]}` with streamed text."""
    owner = gateway.owner(request, "chat")
    body = read_json_object(await request.body(gateway.config.max_body))
    if is_ui_request(body):
        await ui_chat(gateway, request, owner, body)
        return
    chat = ChatRequest(await with_model(gateway, _streamed(body)))
    with await open_response(gateway, request, chat, owner=owner) as response:
        client = ReaderConnection(request)
        try:
            if await wait_for_head(request, client, response):
                head = [
                    (b"content-type", b"text/plain; charset=utf-8"),
                    *stream_headers(request, response.stream_id),
                ]
                await start(request, 200, head)
                await follow(client, response.log, FORMATS["text"]())
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
