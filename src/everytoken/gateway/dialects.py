"""`POST` at the path of a dialect that another package adds: its requests in, its records out, streamed or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.formats.openai import OpenAIEvents
from everytoken.gateway.assembling import assembled, until_ended
from everytoken.gateway.follow import ReaderConnection, follow
from everytoken.gateway.http import answer_error, answer_json, read_json_object, start
from everytoken.gateway.model_api import retries, show_head, stream_headers, wait_for_head, wants_ids
from everytoken.gateway.opening import open_response

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Dialect
    from everytoken.gateway.http import Request
    from everytoken.gateway.opening import Response
    from everytoken.gateway.services import Services

__all__ = ["complete"]


async def complete(gateway: Services, request: Request, dialect: Dialect) -> None:
    """Answer a request in `dialect`."""
    owner = gateway.keys.owner(request)
    ids = wants_ids(gateway, request)
    asked: Any = dialect.request(read_json_object(await request.body(gateway.config.max_body)))
    with await open_response(gateway, request, asked, owner=owner) as response:
        client = ReaderConnection(request)
        try:
            if asked.stream:
                output = OpenAIEvents(
                    greets="text/event-stream" in (request.header(b"accept") or ""),
                    ids=ids,
                    end_mark=dialect.end_mark,
                )
                await _stream(request, client, response, output)
            else:
                await _non_streaming(request, client, response)
        finally:
            client.close()


async def _stream(
    request: Request, client: ReaderConnection, response: Response, output: OpenAIEvents
) -> None:
    if await wait_for_head(request, client, response):
        head = [(b"content-type", output.media_type), *stream_headers(request, response.stream_id)]
        await start(request, 200, head)
        await follow(client, response.log, output)


async def _non_streaming(request: Request, client: ReaderConnection, response: Response) -> None:
    log = response.log
    if not await until_ended(log, client):
        return
    show_head(request, response)
    error = response.error
    if error is not None:
        await answer_error(request, error, retries(error))
        return
    message = await assembled(log)
    await answer_json(request, 200, message, stream_headers(request, response.stream_id, log.tail))
