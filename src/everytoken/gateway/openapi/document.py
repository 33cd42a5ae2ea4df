"""The description of the HTTP API in OpenAPI 3.1, made of the routes, the table of operations and the table of errors."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import TABLE
from everytoken.gateway.openapi.operations import ERRORS, OPERATIONS, PARAMETERS, Operation
from everytoken.gateway.openapi.shapes import SHAPES, ref
from everytoken.gateway.pass_through import methods_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["document", "operations"]

_VERSION: Final = version("everytoken")  # here, because it reads files
_ANTHROPIC: Final = "/v1/messages"
_WITHOUT_KEY: Final[list[dict[str, list[str]]]] = []
_SECURITY: Final = {
    "key": [{"bearer": []}, {"x-api-key": []}, {"api-key": []}, {}],
    "admin": [{"admin": []}],
    "": _WITHOUT_KEY,
}
_SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, unless the gateway needs none.",
    },
    "x-api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The same, as Anthropic's API has it.",
    },
    "api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "api-key",
        "description": "The same, as Azure has it.",
    },
    "admin": {"type": "http", "scheme": "bearer", "description": "An admin key."},
}
_ABOUT: Final = (
    "Streamed LLM responses made dependable. Bodies of models' APIs are those of OpenAI and Anthropic: only what the gateway "
    "itself reads or writes is described here. Every error is OpenAI's object, or Anthropic's below /v1/messages."
)


def operations(
    routes: Mapping[str, tuple[Sequence[str], str]], dialects: Iterable[str] = (), passed: Sequence[str] = ()
) -> list[Operation]:
    """Return what can be asked: the table, and what is not in it yet.

    `routes`: path -> methods and what they are for; `dialects`: the paths of installed dialects; `passed`: those that the
    configuration has passed on.
    """
    found = list(OPERATIONS)
    known = {one.path for one in found}
    for path, (methods, about) in routes.items():
        if path not in known:
            found.append(
                Operation(" ".join(methods).lower(), path, about, "Others", "*/*", errors="key query")
            )
    found += [
        Operation("post", path, "An API of an installed package", "Models", "application/json text/event-stream",
                  "application/json", "key body model journal", "disconnect idempotency request ids")
        for path in dialects
        if path not in known
    ]  # fmt: skip
    for pattern in passed:
        path = f"{pattern[:-1]}{{rest}}" if pattern.endswith("*") else pattern
        if path not in known:
            methods = " ".join(methods_of(pattern)).lower()
            found.append(
                Operation(
                    methods,
                    path,
                    "Passed on, by the configuration",
                    "Passed on",
                    "*/*",
                    "*/*",
                    "key query model",
                )
            )
    return found


def document(found: Iterable[Operation]) -> dict[str, Any]:
    """Return the whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for one in found:
        item = paths.setdefault(one.path, {})
        names = re.findall(r"\{(\w+)\}", one.path)
        if names:
            item["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
            ]
        for method in one.methods.split():
            item[method] = _described(one, method)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "everytoken",
            "version": _VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "./", "description": "This gateway, also where it is mounted below a path."}],
        "paths": paths,
        "components": {"schemas": SHAPES, "securitySchemes": _SCHEMES},
    }


def _described(one: Operation, method: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method}{one.path}").strip("_"),
        "summary": one.about,
        "tags": [one.tag],
        "security": _SECURITY[one.access],
        "responses": {**_answers(one), **_errors(one)},
    }
    if one.asks:
        told["parameters"] = [_parameter(name) for name in one.asks.split()]
    if one.takes and method not in ("get", "head", "delete"):
        told["requestBody"] = {
            "required": one.tag != "Administration" or one.status == 201,
            "content": _content(one.takes),
        }
    return told


def _parameter(name: str) -> dict[str, Any]:
    shown, place, about = PARAMETERS[name]
    return {"name": shown, "in": place, "required": False, "description": about, "schema": {"type": "string"}}


def _answers(one: Operation) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    kinds = one.gives.split()
    told = " ".join(kind for kind in kinds if kind != "204")
    if told:
        answers[str(one.status)] = {"description": "What was asked for.", "content": _content(told)}
    elif one.status != 200:
        answers[str(one.status)] = {"description": "It was made."}
    if "204" in kinds:
        answers["204"] = {"description": "Done, or there is nothing more."}
    if one.path == "/readyz":
        answers["503"] = {"description": "It cannot serve now, and why.", "content": _content("Readiness")}
    if one.path == "/admin/reload":
        answers["422"] = {
            "description": "The configuration has mistakes; nothing has changed.",
            "content": _content("Mistakes"),
        }
    return answers


def _content(kinds: str) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for kind in kinds.split():
        if kind in SHAPES:
            content["application/json"] = {"schema": ref(kind)}
        elif kind == "text/event-stream":
            about = "Events as they come, each with the offset behind it as its id."
            content[kind] = {"schema": {"type": "string", "description": about}}
        else:
            content[kind] = {"schema": {}}
    return content


def _errors(one: Operation) -> dict[str, Any]:
    groups = ["any", *one.errors.split()]
    if "model" in groups:
        groups.append("query")
    codes = dict.fromkeys(code for group in groups for code in ERRORS[group])
    if one.access == "admin":
        codes["not-allowed"] = None
    if one.path == "/readyz":
        codes.pop("overloaded", None)
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(TABLE[code].status, []).append(code)
    shape = "AnthropicError" if one.path.startswith(_ANTHROPIC) else "Error"
    return {
        str(status): {
            "description": ", ".join(f"`{code}`" for code in of),
            "content": {"application/json": {"schema": ref(shape)}},
        }
        for status, of in sorted(by_status.items())
        if not (one.path == "/admin/reload" and status == 422)
    }
