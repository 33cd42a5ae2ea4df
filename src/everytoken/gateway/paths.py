"""The paths that clients use for the same route: with and without `/v1`, with slashes too many, and Azure's."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["canonical"]

# What base URLs end in: nothing, a `/v1` once or twice (a client may add its own), Azure's `/openai` or `/openai/v1`.
_BASE: Final = r"/+(?:openai/+)?(?:v1/+)*"
_CHAT: Final = re.compile(_BASE + r"chat/+completions/*")
_RESPONSES: Final = re.compile(_BASE + r"responses/*")
_RESPONSE: Final = re.compile(_BASE + r"responses/+(.+?)/*", re.DOTALL)
_DEPLOYMENT: Final = re.compile(r"/+openai/+deployments/+(.+?)/+chat/+completions/*", re.DOTALL)
_MODELS: Final = re.compile(_BASE + r"models/*")
_MODEL: Final = re.compile(_BASE + r"models/+(.+?)/*", re.DOTALL)
# Anthropic's SDKs put `/v1` in front themselves; servers that speak several APIs have it below `/anthropic`.
_MESSAGES: Final = re.compile(r"/+(?:anthropic/+)?(?:v1/+)*messages(/+count_tokens)?/*")
# What is passed on, and the same below an Azure deployment.
_PASSED: Final = r"(embeddings|completions|rerank|moderations|(?:images|audio)/+.*[^/])/*"
_PASSED_ON: Final = re.compile(_BASE + _PASSED, re.DOTALL)
_PASSED_DEPLOYMENT: Final = re.compile(r"/+openai/+deployments/+(.+?)/+" + _PASSED, re.DOTALL)
_OTHERS: Final = re.compile(r"/+(api/+chat|healthz|readyz|metrics)/*")
_BELOW: Final = re.compile(r"/+(v1/+stream|api/+chat)/+(.+)", re.DOTALL)


def canonical(path: str) -> tuple[str, str]:
    """Return the path that the routes know for `path`, and the Azure deployment in it, "" without one.

    What is none of the API's paths is returned as it is. The ids of models and chats keep their slashes, except those
    at the end of a model's.
    """
    if _CHAT.fullmatch(path):
        return "/v1/chat/completions", ""
    if match := _DEPLOYMENT.fullmatch(path):
        return "/v1/chat/completions", match[1]
    if _RESPONSES.fullmatch(path):
        return "/v1/responses", ""
    if match := _RESPONSE.fullmatch(path):
        return f"/v1/responses/{match[1]}", ""
    if _MODELS.fullmatch(path):
        return "/v1/models", ""
    if match := _MODEL.fullmatch(path):
        return f"/v1/models/{match[1]}", ""
    if match := _MESSAGES.fullmatch(path):
        return "/v1/messages/count_tokens" if match[1] else "/v1/messages", ""
    if match := _PASSED_DEPLOYMENT.fullmatch(path):
        return "/v1/" + re.sub("/+", "/", match[2]), match[1]
    if match := _PASSED_ON.fullmatch(path):
        return "/v1/" + re.sub("/+", "/", match[1]), ""
    if match := _OTHERS.fullmatch(path):
        return "/" + re.sub("/+", "/", match[1]), ""
    if match := _BELOW.fullmatch(path):
        return f"/{re.sub('/+', '/', match[1])}/{match[2]}", ""
    return path, ""
