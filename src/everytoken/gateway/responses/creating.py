"""`POST /v1/responses`: a response, streamed or not, at once or in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.openai_responses import ResponsesRequest
from everytoken.dialects.openai_responses.request import OWN
from everytoken.errors import InvalidRequestError, StreamNotFoundError
from everytoken.formats.table import FORMATS
from everytoken.gateway.assembling import until_ended
from everytoken.gateway.follow import ReaderConnection, follow
from everytoken.gateway.http import answer_error, answer_json, read_json_object, start
from everytoken.gateway.model_api import retries, show_head, stream_headers, wait_for_head, wants_ids
from everytoken.gateway.models import with_model
from everytoken.gateway.opening import open_response
from everytoken.gateway.responses.items import input_of
from everytoken.gateway.responses.kept import find, request_of, response_in, size_of

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.opening import Response
    from everytoken.gateway.services import Services

__all__ = ["create"]

_FLAGS = ("background", "store")


async def create(gateway: Services, request: Request) -> None:
    """Answer a request for a response."""
    owner = gateway.owner(request, "responses")
    ids = wants_ids(gateway, request)
    body = read_json_object(await request.body(gateway.config.max_body))
    ResponsesRequest(body)  # what is wrong in it is told before anything is looked up
    try:
        body = await _made_ours(gateway, body, owner)
    except StreamNotFoundError:
        await _refuse_previous(request, body["previous_response_id"])
        return
    asked = ResponsesRequest(await with_model(gateway, body, request.deployment))
    background = bool(body.get(OWN, {}).get("background"))
    opening = open_response(gateway, request, asked, owner=owner, background=background)
    with await opening as response:
        client = ReaderConnection(request)
        try:
            if asked.stream:
                await _stream(request, client, response, ids=ids)
            elif background:
                await _show(request, response)
            else:
                await _whole(request, client, response)
        finally:
            client.close()


async def _made_ours(gateway: Services, body: dict[str, Any], owner: str) -> dict[str, Any]:
    """Return a request as it is stored and sent: what is ours to do is taken out of it.

    The response that it continues is put in front of its input, so that an upstream need not know it. Raises
    `StreamNotFoundError` if that is not kept, `InvalidRequestError` if it cannot be continued.
    """
    body = {name: value for name, value in body.items() if name != OWN}
    if body.get("background") and body.get("store") is False:
        raise InvalidRequestError("a response in the background has to be stored", param="store")
    shown = {name: body[name] for name in _FLAGS if isinstance(body.get(name), bool)}
    body.pop("background", None)
    previous = body.get("previous_response_id")
    if previous is not None:
        body["input"] = await _before(gateway, previous, owner) + input_of(body)
        if size_of(body["input"]) > gateway.config.max_body:
            raise InvalidRequestError(
                f"what it continues is over the limit of {gateway.config.max_body} bytes for a request",
                param="previous_response_id",
            )
        shown["previous_response_id"] = previous
    body.pop("previous_response_id", None)
    return {**body, OWN: shown} if shown else body


async def _before(gateway: Services, response_id: str, owner: str) -> list[Any]:
    """Return the items of a response and of all that it continues."""
    log = await find(gateway, response_id, owner)
    if not log.closed:
        raise InvalidRequestError("the previous response is still in progress", param="previous_response_id")
    if (log.info.result or {}).get("outcome") != "completed":
        raise InvalidRequestError("the previous response did not complete", param="previous_response_id")
    response = await response_in(log)
    return [*input_of(request_of(log)), *(response.get("output") or ())]


async def _refuse_previous(request: Request, response_id: str) -> None:
    """Answer as OpenAI does, whose clients look for the code."""
    error = {
        "message": f"Previous response with id {response_id[:100]!r} not found.",
        "type": "invalid_request_error",
        "param": "previous_response_id",
        "code": "previous_response_not_found",
    }
    await answer_json(request, 400, {"error": error})


async def _stream(request: Request, client: ReaderConnection, response: Response, *, ids: bool) -> None:
    if not await wait_for_head(request, client, response):
        return
    head = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        *stream_headers(request, response.stream_id),
    ]
    await start(request, 200, head)
    greets = "text/event-stream" in (request.header(b"accept") or "")
    await follow(client, response.log, FORMATS["responses"](greets=greets, ids=ids))


async def _show(request: Request, response: Response) -> None:
    """Answer with the response as it is now."""
    value = await response_in(response.log)
    await answer_json(request, 200, value, stream_headers(request, response.stream_id, response.log.tail))


async def _whole(request: Request, client: ReaderConnection, response: Response) -> None:
    """Answer with the response when it has ended."""
    log = response.log
    if not await until_ended(log, client):
        return
    show_head(request, response)
    error = response.error
    if error is not None:
        await answer_error(request, error, retries(error))
        return
    value = await response_in(log)
    attempts = (log.info.result or {}).get("attempts", ())
    if len(attempts) > 1:
        value["everytoken"] = {"stream": response.stream_id, "attempts": attempts}
    await answer_json(request, 200, value, stream_headers(request, response.stream_id, log.tail))
