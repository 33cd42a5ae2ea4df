"""The shapes of requests and answers, as far as the gateway itself defines them, in JSON Schema."""

from __future__ import annotations

from typing import Any, Final

from everytoken.errors import TABLE
from everytoken.gateway.keys.key import APIS

__all__ = ["SHAPES", "ref"]


def ref(name: str) -> dict[str, Any]:
    """Return a reference to a shape."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: str = "", /, *, more: bool = True, **properties: Any) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": more}
    return {**shape, "required": required.split()} if required else shape


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "number"}
_COUNT: Final = {"type": "integer"}
_FLAG: Final = {"type": "boolean"}
_ANY: Final[dict[str, Any]] = {}
_MODEL: Final = {"type": "string", "description": "The model; without it, the gateway's default."}
_STREAM: Final = {"type": "boolean", "default": False, "description": "Whether to answer with events."}
_TIME: Final = {"type": "number", "description": "Seconds since 1970."}

SHAPES: Final[dict[str, dict[str, Any]]] = {
    "Error": _object(
        "error",
        error=_object(
            "message type param code",
            message=_TEXT,
            type={"enum": sorted({info.type for info in TABLE.values()})},
            param={"type": ["string", "null"]},
            code={"type": ["string", "null"], "examples": ["invalid-request"]},
        ),
    ),
    "AnthropicError": _object(
        "type error", type={"const": "error"}, error=_object("type message", type=_TEXT, message=_TEXT)
    ),
    "ChatRequest": _object("messages", model=_MODEL, messages=_list({"type": "object"}), stream=_STREAM),
    "ChatCompletion": _object(
        "id object model choices",
        id=_TEXT,
        object={"const": "chat.completion"},
        created=_COUNT,
        model=_TEXT,
        choices=_list({"type": "object"}),
        usage={"type": ["object", "null"]},
    ),
    "CompletionRequest": _object("prompt", model=_MODEL, prompt=_ANY, stream=_STREAM),
    "Completion": _object(
        "id object choices", id=_TEXT, object={"const": "text_completion"}, choices=_list({"type": "object"})
    ),
    "MessagesRequest": _object(
        "messages max_tokens",
        model=_MODEL,
        messages=_list({"type": "object"}),
        max_tokens=_COUNT,
        stream=_STREAM,
    ),
    "Message": _object(
        "id type role content",
        id=_TEXT,
        type={"const": "message"},
        role={"const": "assistant"},
        content=_list({"type": "object"}),
    ),
    "TokenCount": _object("input_tokens", input_tokens=_COUNT),
    "ResponsesRequest": _object(
        model=_MODEL,
        input={"type": ["string", "array"]},
        stream=_STREAM,
        background={
            "type": "boolean",
            "default": False,
            "description": "Answer at once; it goes on without a reader.",
        },
        store={"type": "boolean", "default": True},
        previous_response_id={"type": ["string", "null"]},
    ),
    "Response": _object(
        "id object status",
        id=_TEXT,
        object={"const": "response"},
        status={"enum": ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]},
        output=_list({"type": "object"}),
    ),
    "Deleted": _object("id deleted", id=_TEXT, object=_TEXT, deleted={"const": True}),
    "List": _object("object data", object={"const": "list"}, data=_list({"type": "object"})),
    "Model": _object("id object", id=_TEXT, object={"const": "model"}, created=_COUNT, owned_by=_TEXT),
    "Models": _object("object data", object={"const": "list"}, data=_list(ref("Model"))),
    "PlainChat": _object(
        prompt={"type": "string", "description": "What to ask; or `messages`, or the body of the AI SDK."},
        messages=_list({"type": "object"}),
        id={"type": "string", "description": "The chat, for the AI SDK's resume."},
        model=_MODEL,
    ),
    "Passed": _object(model=_MODEL),
    "Result": _object(
        "id outcome error usage cost attempts",
        id=_TEXT,
        outcome={"type": ["string", "null"], "description": "`null` while it is written."},
        error={"type": ["object", "null"]},
        usage={"type": ["object", "null"], "description": "Of all attempts, as its API writes it."},
        cost={"type": ["number", "null"], "description": "US dollars; `null` if a price is not known."},
        attempts=_list({"type": "object"}),
        running={
            **_list({"type": "object"}),
            "description": "The attempts so far, only while it is written.",
        },
    ),
    "Health": _object("status responses", status={"const": "ok"}, responses=_COUNT),
    "Readiness": _object("status"),
    "Limits": _object(
        more=False,
        requests_per_minute=_COUNT,
        tokens_per_minute=_COUNT,
        running=_COUNT,
        usd_per_day=_NUMBER,
        usd_per_month=_NUMBER,
        max_tokens=_COUNT,
        max_n=_COUNT,
    ),
    "NewKey": _object(
        "name",
        more=False,
        name=_TEXT,
        models=_list(_TEXT),
        apis=_list({"enum": list(APIS)}),
        labels={"type": "object", "additionalProperties": _TEXT},
        expires=_TIME,
        admin=_FLAG,
        limits=ref("Limits"),
    ),
    "Key": _object(
        "id name state",
        id=_TEXT,
        name=_TEXT,
        hint={"type": "string", "description": "The first characters of the secret."},
        state={"enum": ["active", "expired", "revoked"]},
        models=_list(_TEXT),
        apis=_list(_TEXT),
        labels={"type": "object", "additionalProperties": _TEXT},
        admin=_FLAG,
        created=_TIME,
        expires={"type": ["number", "null"]},
        revoked={"type": ["number", "null"]},
    ),
    "KeyWithSecret": {"allOf": [ref("Key"), _object("secret", secret=_TEXT)]},
    "Keys": _object("keys", keys=_list(ref("Key"))),
    "Revocation": _object(
        more=False,
        stop={"type": "boolean", "default": False, "description": "Cancel what it has running, too."},
    ),
    "Rotation": _object(
        more=False,
        overlap={
            "type": "number",
            "default": 86_400,
            "description": "Seconds for which the old secret still counts.",
        },
    ),
    "NewLimits": _object(limits={"anyOf": [ref("Limits"), {"type": "null"}]}),
    "Entry": _object(
        "response outcome",
        at=_TIME,
        response=_TEXT,
        request=_TEXT,
        key=_TEXT,
        api=_TEXT,
        model=_TEXT,
        outcome=_TEXT,
    ),
    "Entries": _object("responses", responses=_list(ref("Entry"))),
    "Stopped": _object("response stopped", response=_TEXT, stopped={"const": True}),
    "Changes": _object("changed waiting", more=False, changed=_list(_TEXT), waiting=_list(_TEXT)),
    "Mistakes": {
        "allOf": [
            ref("Error"),
            _object(
                problems=_list(
                    _object(
                        "level message",
                        level={"enum": ["error", "warning"]},
                        message=_TEXT,
                        setting=_TEXT,
                        file=_TEXT,
                        line={"type": ["integer", "null"]},
                        column={"type": ["integer", "null"]},
                        suggestion=_TEXT,
                    )
                )
            ),
        ]
    },
}
