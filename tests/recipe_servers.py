"""Servers that check a request as a provider does, and answer in its shape: by its documentation, or as people report."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from messages_streams import begin, encoded, end, start, stop, texts
from responses_streams import Script, output_text, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

PARTS = ["Rivers ", "begin ", "small, ", "end wide, ", "and go on; ", "流れる ", "👍🏽."]
TEXT = "".join(PARTS)
KEY = "key-of-the-recipe-0123456789"
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
API_PATHS = {"chat": "/chat/completions", "responses": "/responses", "messages": "/messages"}
STANDARD = frozenset({"model", "messages", "stream", "stream_options", "temperature", "max_tokens"})

Events = list[bytes]


def event(value: Any) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def chunks(
    parts: list[str],
    number: int,
    *,
    role: Mapping[str, Any],
    usage: bool,
    with_finish: bool = False,
    **more: Any,
) -> list[dict[str, Any]]:
    """Return the chunks of an answer; `usage`: in one of its own behind them, or in the last, `with_finish`."""
    head = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": 1 + number,
        "model": "m",
        **more,
    }
    deltas: list[tuple[dict[str, Any], str | None]] = [
        (dict(role), None),
        *(({"content": part}, None) for part in parts),
    ]
    deltas.append(({}, "stop"))
    found: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        for delta, finish in deltas
    ]
    if usage and with_finish:
        found[-1]["usage"] = USAGE
    elif usage:
        found.append({**head, "choices": [], "usage": USAGE})
    return found


ROLE = {"role": "assistant", "content": ""}


def like_openai(parts: list[str], number: int, *, usage: bool) -> Events:
    told = chunks(
        parts, number, role={**ROLE, "refusal": None}, usage=usage, service_tier="default", obfuscation="x9"
    )
    return [*map(event, told), b"data: [DONE]\n\n"]


def like_azure(parts: list[str], number: int, *, usage: bool) -> Events:
    filters = {"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}
    first = {
        "choices": [],
        "created": 0,
        "id": "",
        "model": "",
        "object": "",
        "prompt_filter_results": [filters],
    }
    return [event(first), *like_openai(parts, number, usage=usage)]


def like_gemini(parts: list[str], number: int, *, usage: bool) -> Events:
    told = chunks(parts, number, role=ROLE, usage=usage, with_finish=True)[1:]
    for one in told:
        one["choices"][0]["delta"]["role"] = "assistant"
    return [*map(event, told), b"data: [DONE]\n\n"]


def like_openrouter(parts: list[str], number: int, *, usage: bool) -> Events:
    told = chunks(parts, number, role=ROLE, usage=True, provider="Some")
    told[-2]["choices"][0]["native_finish_reason"] = "stop"
    comment = b": OPENROUTER PROCESSING\n\n"
    return [comment, comment, *map(event, told), b"data: [DONE]\n\n"]


def like_groq(parts: list[str], number: int, *, usage: bool) -> Events:
    told = chunks(parts, number, role=ROLE, usage=usage)
    told[0]["x_groq"] = {"id": "req_1"}
    told[-2 if usage else -1]["x_groq"] = {"id": "req_1", "usage": {**USAGE, "queue_time": 0.1}}
    return [*map(event, told), b"data: [DONE]\n\n"]


def like_mistral(parts: list[str], number: int, *, usage: bool) -> Events:
    told = chunks(parts, number, role=ROLE, usage=True, with_finish=True, p="abcd")
    return [*map(event, told), b"data: [DONE]\n\n"]


def like_deepseek(parts: list[str], number: int, *, usage: bool) -> Events:
    told = chunks(parts, number, role=ROLE, usage=usage, with_finish=True, system_fingerprint="fp_1")
    return [b": keep-alive\n\n", *map(event, told), b"data: [DONE]\n\n"]


def like_ollama(parts: list[str], number: int, *, usage: bool) -> Events:
    told = chunks(parts, number, role=ROLE, usage=usage, system_fingerprint="fp_ollama")[1:]
    for one in told:
        for choice in one["choices"]:
            choice["delta"] = {"role": "assistant", "content": "", **choice["delta"]}
    return [*map(event, told), b"data: [DONE]\n\n"]


def as_messages(parts: list[str], number: int) -> Events:
    return encoded([start(id=f"msg_{number}"), begin(0, "text", text=""), *texts(0, *parts), stop(0), *end()])


def as_responses(parts: list[str], number: int) -> Events:
    script = Script("abcdef"[number % 6])
    script.message((output_text(), tuple(parts)))
    return wire(script.end())


Refusal = tuple[int, Any]


def openai_error(status: int, message: str, param: str | None = None, code: str | None = None) -> Refusal:
    kind = "invalid_request_error"
    return status, {"error": {"message": message, "type": kind, "param": param, "code": code}}


def unknown_to_openai(name: str) -> Refusal:
    return openai_error(400, f"Unknown parameter: '{name}'.", name, "unknown_parameter")


def unknown_to_anthropic(name: str) -> Refusal:
    told = {"type": "invalid_request_error", "message": f"{name}: Extra inputs are not permitted"}
    return 400, {"type": "error", "error": told}


def unknown_to_gemini(name: str) -> Refusal:
    message = f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
    return 400, [{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}]


def unknown_to_mistral(name: str) -> Refusal:
    detail = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
    told = {"object": "error", "message": {"detail": [detail]}, "type": "invalid_request_error"}
    return 422, {**told, "param": None, "code": None}


@dataclass(frozen=True)
class Like:
    """A provider. `paths`: by API, as asked for; `key`: the header with the key, and what stands before it there.

    `takes`: the fields that it knows, by API, None: any. `prefill`: what it does with an assistant message that comes last:
    `continue`, `echo` what is there first, `new` for a message of its own; `marks`: the fields of body and message without which it does
    the last of these. `cuts`: how many attempts break in the middle.
    """

    base: str
    stream: Callable[..., Events] = like_openai
    apis: tuple[str, ...] = ("chat",)
    key: tuple[str, str] | None = ("authorization", "Bearer ")
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    takes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    unknown: Callable[[str], Refusal] = unknown_to_openai
    prefill: Literal["continue", "echo", "new", "refuse"] = "new"
    marks: Mapping[str, Any] = field(default_factory=dict)
    message_marks: Mapping[str, Any] = field(default_factory=dict)
    attempts: tuple[str, ...] = ("first", "replay")
    seeded: bool = True


RESPONSES_FIELDS = frozenset({"model", "input", "stream"})
LOCAL = ("chat", "responses", "messages")

PROVIDERS = {
    "openai": Like(
        "/v1",
        apis=("chat", "responses"),
        takes={"chat": STANDARD | {"seed"}, "responses": RESPONSES_FIELDS},
    ),
    "anthropic": Like(
        "/v1",
        apis=("messages",),
        key=("x-api-key", ""),
        headers={"anthropic-version": "2023-06-01"},
        takes={"messages": STANDARD - {"stream_options"}},
        unknown=unknown_to_anthropic,
        prefill="continue",
        attempts=("first", "prefill"),
        seeded=False,
    ),
    "azure": Like(
        "/openai/v1",
        like_azure,
        apis=("chat", "responses"),
        key=("api-key", ""),
        takes={"chat": STANDARD | {"seed"}, "responses": RESPONSES_FIELDS},
    ),
    "azure-deployment": Like(
        "/openai/deployments/DEPLOYMENT",
        like_azure,
        key=("api-key", ""),
        query="api-version=2024-10-21",
        takes={"chat": STANDARD | {"seed"}},
    ),
    "gemini": Like(
        "/v1beta/openai", like_gemini, takes={"chat": STANDARD}, unknown=unknown_to_gemini, seeded=False
    ),
    "openrouter": Like("/api/v1", like_openrouter, apis=LOCAL),
    "groq": Like("/openai/v1", like_groq, apis=("chat", "responses")),
    "mistral": Like(
        "/v1",
        like_mistral,
        takes={"chat": STANDARD - {"stream_options"}},
        unknown=unknown_to_mistral,
        prefill="echo",
        message_marks={"prefix": True},
        attempts=("first", "replay", "prefill"),
        seeded=False,
    ),
    "deepseek": Like(
        "/beta",
        like_deepseek,
        prefill="continue",
        message_marks={"prefix": True},
        attempts=("first", "replay", "prefill"),
    ),
    "ollama": Like("/v1", like_ollama, apis=LOCAL, key=None),
    "vllm": Like(
        "/v1",
        apis=LOCAL,
        prefill="continue",
        marks={"continue_final_message": True, "add_generation_prompt": False},
        attempts=("first", "prefill"),
    ),
    "lm-studio": Like("/v1", apis=LOCAL, key=None),
}


class Server:
    """One of them. The first attempts break in the middle, all but the last that is expected."""

    def __init__(self, like: Like, cuts: int) -> None:
        self.like = like
        self.cuts = cuts
        self.port = 0
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.refused: list[Refusal] = []

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Server]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or b"null")
        method, target, _ = first.split(" ")
        path, _, query = target.partition("?")
        api = next((name for name in self.like.apis if path == self.like.base + API_PATHS[name]), None)
        if method != "POST" or api is None or query != self.like.query:
            if method == "POST":
                self.refused.append((404, path))
            self._send_json(writer, 404, {"error": {"message": "Not Found", "code": 404}})
            return
        refusal = self._problem(api, headers, body)
        if refusal is not None:
            self.refused.append(refusal)
            self._send_json(writer, *refusal)
            return
        self.requests.append((api, body))
        if not body.get("stream"):
            self.refused.append((400, "not streamed"))
            return
        events = self._events(api, body)
        cut = len(self.requests) <= self.cuts
        data = b"".join(events[: len(events) // 2 + 1] if cut else events)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n")
        writer.write(b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(data), data))
        if not cut:
            writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _send_json(self, writer: asyncio.StreamWriter, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n"
        writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)

    def _problem(self, api: str, headers: Mapping[str, str], body: dict[str, Any]) -> Refusal | None:
        like = self.like
        if like.key is not None and headers.get(like.key[0]) != like.key[1] + KEY:
            return openai_error(401, "Incorrect API key provided.", code="invalid_api_key")
        if like.key is None and "authorization" in headers:
            return openai_error(401, "A key, and none was given out.")
        if like.key is not None and like.key[0] != "authorization" and "authorization" in headers:
            return openai_error(401, "Two keys.")
        for name, value in like.headers.items():
            if headers.get(name) != value:
                return openai_error(400, f"{name}: header is required")
        if not body.get("model"):
            return openai_error(400, "you must provide a model parameter")
        unknown = set(body) - like.takes.get(api, frozenset(body))
        return like.unknown(min(unknown)) if unknown else None

    def _events(self, api: str, body: dict[str, Any]) -> Events:
        number = len(self.requests)
        if api == "responses":
            return as_responses(PARTS, number)
        said = self._prefix(body["messages"][-1], body)
        parts = PARTS
        if said:
            assert TEXT.startswith(said), said
            parts = [TEXT[len(said) :]]
            if self.like.prefill == "echo":
                parts = [said, *parts]
        if api == "messages":
            return as_messages(parts, number)
        usage = (body.get("stream_options") or {}).get("include_usage", False)
        return self.like.stream(parts, number, usage=usage)

    def _prefix(self, last: dict[str, Any], body: dict[str, Any]) -> str:
        """Return what it is to continue, "" where it begins a message of its own."""
        marked = self.like.marks.items() <= body.items() and self.like.message_marks.items() <= last.items()
        if last["role"] != "assistant" or not marked or self.like.prefill == "new":
            return ""
        content = last["content"]
        return content if isinstance(content, str) else "".join(part["text"] for part in content)
