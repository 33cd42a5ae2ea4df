"""`POST /v1/completions`: one prompt and one text is a response like any other; everything else is passed on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from everytoken.dialects.openai_completions.dialect import OPENAI_COMPLETIONS
from everytoken.dialects.openai_completions.request import is_text_only
from everytoken.gateway.http import read_json_object
from everytoken.gateway.model_api import ModelApi, complete
from everytoken.gateway.pass_through import pass_through

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services

__all__ = ["PATH", "complete_prompt"]

PATH: Final = "/v1/completions"
_API: Final = ModelApi(OPENAI_COMPLETIONS, "openai")


async def complete_prompt(gateway: Services, request: Request) -> None:
    """Answer a completion: recovered where it is text only, and watched where it is more."""
    gateway.owner(request, "completions")  # before anything of the body is read
    data = await request.body(gateway.config.max_body)
    body = read_json_object(data)
    if is_text_only(body):
        await complete(gateway, request, _API, body)
    else:
        await pass_through(gateway, request, data)
