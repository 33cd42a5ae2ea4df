"""What happens to the parts of a message for a caller of another API."""

from __future__ import annotations

from typing import Final

from everytoken.translation.table import dropped, refused, rows, said

__all__ = ["ANSWERS"]

_OWN: Final = "the provider ran a tool by itself, which a translated request cannot ask for"

ANSWERS: Final = rows(
    said("text", note="chat completions join the blocks; Responses has a part for each"),
    said("thinking", note="as reasoning"),
    dropped("thinking.signature", "only its provider can read it"),
    dropped("redacted_thinking", "only its provider can read it"),
    said("tool_use", note="as a call of a function, or of the caller's custom tool that the function stands for"),
    said("citations.web_search_result_location", note="the URL and the title, as a source of the whole block"),
    refused("citations.char_location", "other APIs cannot cite a document of the request; nor any other kind of citation"),
    said("stop_reason", note="`refusal` as a content filter; `stop_sequence` as `stop`; one that is not known is refused"),
    dropped("stop_sequence", "other APIs only say that the answer stopped"),
    refused("stop_reason pause_turn", "only a tool of the provider pauses, and no other API can go on behind it"),
    said("usage", note="tokens read from and written to the cache are part of the prompt's"),
    refused("server_tool_use", _OWN),
    refused("web_search_tool_result", _OWN),
    refused("*", "any other block, delta or event: what it says is not known"),
)  # fmt: skip
