"""A request for a response as a neutral one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.fields import flag_in, model_in
from everytoken.errors import InvalidRequestError
from everytoken.translation.hosted import refuse_hosted_only
from everytoken.translation.openai_responses.fields import API, READS
from everytoken.translation.openai_responses.read_items import messages_in
from everytoken.translation.openai_responses.read_tools import read_choice, read_tools
from everytoken.translation.request import EFFORTS, JsonOutput, NeutralRequest
from everytoken.translation.table import checked
from everytoken.translation.values import flag, integer, number, obj, objects, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_request"]

_LOGPROBS = "message.output_text.logprobs"
_SUMMARIES = ("auto", "concise", "detailed")


def read_request(body: Mapping[str, Any]) -> NeutralRequest:
    """Return a caller's request. Raises `InvalidRequestError`, whose `param` names the field."""
    paths = checked(body, READS, API)
    _refuse_logprobs(body.get("include"))
    request = NeutralRequest(
        model=model_in(body),
        messages=messages_in(body),
        parallel_calls=flag(body, "parallel_tool_calls"),
        max_tokens=integer(body, "max_output_tokens"),
        temperature=number(body, "temperature"),
        top_p=number(body, "top_p"),
        verbosity=optional_text(body.get("text") or {}, "verbosity", "text"),
        user=optional_text(body, "user"),
        safety_identifier=optional_text(body, "safety_identifier"),
        metadata=None if body.get("metadata") is None else obj(body["metadata"], "metadata"),
        service_tier=optional_text(body, "service_tier"),
        prompt_cache_key=optional_text(body, "prompt_cache_key"),
        prompt_cache_retention=optional_text(body, "prompt_cache_retention"),
        prompt_cache_options=body.get("prompt_cache_options"),
        stream=flag_in(body, "stream"),
        paths={**paths, "messages": "input"},
    )
    left_out = read_tools(body.get("tools"), "tools", request)
    if isinstance(body.get("input"), list):
        for item, at in objects(body["input"], "input"):
            if item.get("type") == "additional_tools":
                left_out += read_tools(item.get("tools"), f"{at}.tools", request)
    refuse_hosted_only(request, left_out)
    read_choice(body.get("tool_choice"), request, left_out=bool(left_out))
    _read_reasoning(body.get("reasoning") or {}, request)
    form = (body.get("text") or {}).get("format")
    request.output = None if form is None else _output(obj(form, "text.format"))
    return request


def _refuse_logprobs(include: Any) -> None:
    if include is None:
        return
    if not isinstance(include, list):
        raise InvalidRequestError("'include' must be a list", param="include")
    if _LOGPROBS in include:
        raise InvalidRequestError(
            "'include' cannot be translated: log probabilities of tokens are not", param="include"
        )


def _output(form: dict[str, Any]) -> JsonOutput | None:
    match form.get("type"):
        case "text":
            return None
        case "json_object":
            return JsonOutput()
        case "json_schema":
            return JsonOutput(
                schema=obj(form.get("schema"), "text.format.schema"),
                name=text(form, "name", "text.format"),
                description=optional_text(form, "description", "text.format"),
                strict=flag(form, "strict", "text.format"),
            )
    raise InvalidRequestError(
        f"'text.format' of type {form.get('type')!r} cannot be translated", param="text.format.type"
    )


def _read_reasoning(reasoning: Mapping[str, Any], request: NeutralRequest) -> None:
    effort = optional_text(reasoning, "effort", "reasoning")
    if effort == "none":
        request.reasons = False
    elif effort in EFFORTS:
        request.reasons, request.effort = True, effort
    elif effort is not None:
        raise InvalidRequestError(
            f"'reasoning.effort' must be one of none, {', '.join(EFFORTS)}", param="reasoning.effort"
        )
    name = "summary" if reasoning.get("summary") is not None else "generate_summary"
    summary = optional_text(reasoning, name, "reasoning")
    if summary in _SUMMARIES:
        request.shown = summary  # type: ignore[assignment]
    elif summary is not None:
        raise InvalidRequestError(
            f"'reasoning.{name}' must be one of {', '.join(_SUMMARIES)}", param=f"reasoning.{name}"
        )
