"""What happens to the parts of a response for a caller of another API."""

from __future__ import annotations

from typing import Final

from everytoken.translation.table import dropped, refused, rows, said

__all__ = ["ANSWERS"]

_OWN: Final = "the provider ran a tool by itself, which a translated request cannot ask for"

ANSWERS: Final = rows(
    said("message output_text", note="chat completions join the parts; Messages has a block for each"),
    said("message refusal", note="in Messages as text, with `stop_reason: refusal`"),
    dropped("message phase", "no other API tells a comment on the way from the answer"),
    said("reasoning summary", note="as reasoning"),
    said("reasoning reasoning_text", note="as reasoning"),
    dropped("reasoning encrypted_content", "only its provider can read it"),
    said("function_call", note="as a call of a function, or of the caller's custom tool that the function stands for"),
    said("custom_tool_call", note="in chat completions; refused in Messages, whose requests cannot have such tools"),
    said("url_citation"),
    refused("file_citation", "it names a file at the provider; so does any other kind of annotation"),
    dropped("logprobs", "requests that ask for it are refused"),
    said("response.completed"),
    said("response.incomplete", note="`content_filter` as `refusal` in Messages; a reason that is not known is refused"),
    said("usage"),
    refused("web_search_call", _OWN),
    refused("*", "any other item, part or event: what it says is not known"),
)  # fmt: skip
