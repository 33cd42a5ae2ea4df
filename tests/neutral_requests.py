"""Neutral requests, generated: such as given APIs can say whole."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import strategies as st

from everytoken.json import dumps
from everytoken.translation.anthropic_messages import read_request as read_messages
from everytoken.translation.anthropic_messages import write_request as write_messages
from everytoken.translation.openai_chat import read_request as read_chat
from everytoken.translation.openai_chat import write_request as write_chat
from everytoken.translation.openai_responses import read_request as read_responses
from everytoken.translation.openai_responses import write_request as write_responses
from everytoken.translation.request import (
    EFFORTS,
    File,
    Image,
    JsonOutput,
    Message,
    NeutralRequest,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from everytoken.translation.turns import turns_of

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

CHAT, MESSAGES, RESPONSES = "openai-chat", "anthropic-messages", "openai-responses"
APIS = (CHAT, MESSAGES, RESPONSES)
READ = {
    CHAT: read_chat.read_request,
    MESSAGES: read_messages.read_request,
    RESPONSES: read_responses.read_request,
}
WRITE = {
    CHAT: write_chat.write_request,
    MESSAGES: write_messages.write_request,
    RESPONSES: write_responses.write_request,
}
PNG = base64.b64encode(b"\x89PNG").decode()
PDF = base64.b64encode(b"%PDF-1.7").decode()


def said(request: NeutralRequest) -> dict[str, Any]:
    """Return what a request says, whatever its paths and however its turns are cut into messages."""
    value = msgspec.to_builtins(request)
    value["messages"] = msgspec.to_builtins(turns_of(request.messages, ("user", "assistant")))
    return _without_paths(value)


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        value = {name: one for name, one in value.items() if name not in ("at", "paths")}
        if "custom" in value and "strict" in value:
            value["strict"] = bool(value["strict"])  # what is not asked for is the default
        return {name: _without_paths(one) for name, one in value.items()}
    return [_without_paths(one) for one in value] if isinstance(value, list) else value


def translated(body: dict[str, Any], caller: str, upstream: str) -> dict[str, Any]:
    """Return the body that an upstream gets for a caller's."""
    return WRITE[upstream](READ[caller](body))


def requests(*apis: str) -> Any:
    """Return a strategy of requests that all of the APIs say without loss."""
    names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_-]{0,12}", fullmatch=True)
    texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(str.strip)
    words = st.sampled_from(("low", "medium", "high"))
    keys = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
    values = st.dictionaries(keys, st.integers(-9, 9) | texts | st.booleans() | st.none(), max_size=3)
    arguments = values.map(lambda value: dumps(value).decode())
    schemas = st.just({"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]})
    chat, messages, responses = (api in apis for api in APIS)

    def maybe(strategy: Any) -> Any:
        return st.none() | strategy

    text = st.builds(Text, text=texts)
    image = st.builds(
        Image,
        data=st.just(PNG),
        media_type=st.just("image/png"),
        detail=st.none() if messages else maybe(st.sampled_from(("low", "high"))),
    ) | st.builds(Image, url=st.just("https://example.com/a.png"))
    file = st.builds(File, data=st.just(PDF), media_type=st.just("application/pdf"), name=names)
    if not chat:
        file |= st.builds(File, url=st.just("https://example.com/a.pdf"), name=names)
    in_results = (
        st.lists(text, min_size=1, max_size=1)
        if chat
        else st.lists(text | image | file, min_size=1, max_size=3)
    )
    in_answers = text | st.builds(Refusal, text=texts) if not messages else text
    custom = st.booleans() if apis == (RESPONSES,) else st.just(value=False)

    @st.composite
    def tools(draw: DrawFn) -> list[Tool]:
        found = []
        for name in draw(st.lists(names, max_size=3, unique=True)):
            description = draw(maybe(texts))
            if draw(custom):
                grammar = draw(maybe(st.just({"syntax": "lark", "definition": "start: /x+/"})))
                found.append(Tool(name=name, description=description, custom=True, grammar=grammar))
            else:
                strict = draw(st.booleans())
                found.append(Tool(name=name, description=description, schema=draw(schemas), strict=strict))
        return found

    @st.composite
    def conversation(draw: DrawFn) -> list[Message]:
        found = [Message(role="system", parts=[draw(text)])] if draw(st.booleans()) else []
        results: list[Any] = []
        for number in range(draw(st.integers(1, 3))):
            content = draw(st.lists(text | image | file, min_size=0 if results else 1, max_size=3))
            found.append(Message(role="user", parts=[*results, *content]))
            results = []
            if number == 2 and draw(st.booleans()):
                break
            calls = []
            for index in range(draw(st.integers(0, 2))):
                is_custom = draw(custom)
                call = ToolCall(
                    id=f"call_{number}-{index}",
                    name=draw(names),
                    arguments=draw(texts if is_custom else arguments),
                    custom=is_custom,
                )
                calls.append(call)
                is_error = draw(st.booleans()) if apis == (MESSAGES,) else False
                results.append(ToolResult(call_id=call.id, parts=draw(in_results), is_error=is_error))
            answer = draw(st.lists(in_answers, min_size=0 if calls else 1, max_size=2))
            found.append(Message(role="assistant", parts=[*answer, *calls]))
        if results:
            found.append(Message(role="user", parts=results))
        return found

    @st.composite
    def whole(draw: DrawFn) -> NeutralRequest:
        request = NeutralRequest(
            model=draw(names),
            messages=draw(conversation()),
            tools=draw(tools()),
            max_tokens=draw(st.integers(1, 9999)) if messages else draw(maybe(st.integers(1, 9999))),
            temperature=draw(maybe(st.sampled_from((0, 0.5, 1) if messages else (0, 0.5, 1.7)))),
            top_p=draw(maybe(st.sampled_from((0.1, 1)))),
            user=draw(maybe(names)),
            stream=draw(st.booleans()),
        )
        if not responses:
            request.stop = draw(st.lists(texts, max_size=2))
        if apis == (MESSAGES,):
            request.top_k = draw(maybe(st.integers(1, 9)))
        if request.tools:
            request.tool_choice = draw(maybe(st.sampled_from(("auto", "none", "required"))))
            request.parallel_calls = draw(maybe(st.booleans())) if request.tool_choice != "none" else None
            if messages and request.parallel_calls is not None and request.tool_choice is None:
                request.tool_choice = "auto"
            offered = [tool.name for tool in request.tools]
            if request.tool_choice == "required" and draw(st.booleans()):
                request.allowed = [draw(st.sampled_from(offered))]
            if not messages and request.tool_choice == "auto" and draw(st.booleans()):
                request.allowed = offered
        if not (messages and request.tool_choice == "required"):
            efforts = EFFORTS[1:] if messages else EFFORTS
            request.reasons = draw(maybe(st.booleans()))
            if request.reasons:
                request.effort = draw(st.sampled_from(efforts))
                if apis == (MESSAGES,):
                    request.budget = draw(maybe(st.integers(1024, 9999)))
                if not chat:
                    shows = ("auto",) if messages else ("auto", "concise", "detailed")
                    request.shown = draw(maybe(st.sampled_from(shows)))
        if draw(st.booleans()):
            request.output = JsonOutput(schema=draw(schemas), strict=True)
            if not messages:
                request.output = JsonOutput(
                    schema=draw(maybe(schemas)),
                    name="answer",
                    strict=draw(maybe(st.booleans())),
                    description=draw(maybe(texts)),
                )
                if request.output.schema is None:
                    request.output = JsonOutput()
        if not messages:
            request.verbosity = draw(maybe(words))
            request.safety_identifier = draw(maybe(names))
            request.metadata = draw(maybe(st.dictionaries(keys, texts, max_size=2)))
            request.service_tier = draw(maybe(st.sampled_from(("auto", "default", "flex", "priority"))))
            request.prompt_cache_key = draw(maybe(names))
            request.prompt_cache_retention = draw(maybe(st.sampled_from(("in_memory", "24h"))))
            request.prompt_cache_options = draw(maybe(st.just({"mode": "explicit"})))
        return request

    return whole()
