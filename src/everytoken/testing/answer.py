"""The answer of a scripted upstream: its text, cut the same way every time, and everything else it may contain."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DEFAULT_TEXT", "Answer", "ToolCall", "tokenise"]

# Emoji of several code points, Chinese, combining marks and a line separator: what cuts and decoders often break.
DEFAULT_TEXT = (
    "Streaming sends each token as soon as it exists. 流式传输让人立刻看到文字。 "
    "A family 👨‍👩‍👧 and a flag 🇯🇵 are one character each; so is é.\n\n"
    "- ha ha ha: repeated tokens are text\n- line\u2028separator is no line end\n\nDone. 👍🏽"
)

_TOKEN = re.compile(r" ?[A-Za-z]{1,6}|[0-9]{1,3}|\s|.", re.DOTALL)


def tokenise(text: str) -> tuple[str, ...]:
    """Cut `text` into tokens: up to six letters with the space before them, three digits, or one code point.

    The tokens joined are the text. Characters of several code points are cut between those, as real models do.
    """
    return tuple(_TOKEN.findall(text))


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function; `arguments` is its JSON text."""

    name: str
    arguments: str = "{}"
    id: str = "call_1"

    @property
    def input(self) -> Any:
        """The arguments as a value, {} if they are no JSON."""
        try:
            return json.loads(self.arguments)
        except ValueError:
            return {}


@dataclass(frozen=True)
class Answer:
    r"""What the upstream answers; every field describes what some real server does.

    `content` is the text, or its tokens one by one. `prefill` says what happens if the last message of the request is
    the assistant's: the answer continues it, starts again from the beginning, or is refused with a 400.
    A `deterministic` upstream gives the same answer again; one that `needs_seed` does so only for requests with the same
    seed; one that is neither gives a different answer each time. `ids` of the chunks are the same or change with each chunk.
    `escaped` writes JSON with spaces and `\uXXXX`. `choices` overrides the request's `n`. `delay` is the seconds
    before each chunk.
    """

    content: str | Sequence[str] = DEFAULT_TEXT
    reasoning: str = ""
    reasoning_field: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    refusal: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_index: bool = True
    finish_reason: str | None = None
    logprobs: bool = False
    choices: int | None = None
    prefill: Literal["continue", "restart", "refuse"] = "continue"
    deterministic: bool = True
    needs_seed: bool = False
    ids: Literal["same", "changing"] = "same"
    escaped: bool = False
    done: bool = True
    delay: float = 0.0
    model: str = "scripted"

    @classmethod
    def of_chunks(cls, count: int) -> Answer:
        """Return an answer of exactly `count` content chunks, made of the default text over and over."""
        return cls(tuple(islice(cycle(tokenise(DEFAULT_TEXT)), count)))

    @property
    def tokens(self) -> tuple[str, ...]:
        """The text, cut into the tokens of the chunks."""
        return tokenise(self.content) if isinstance(self.content, str) else tuple(self.content)

    @property
    def text(self) -> str:
        """The whole text."""
        return self.content if isinstance(self.content, str) else "".join(self.content)

    @property
    def finish(self) -> str:
        """The finish reason of the complete answer."""
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")

    def variant(self, number: int) -> Answer:
        """Return another answer that begins with the same token; number 0 is this one."""
        if not number:
            return self
        tokens = self.tokens
        return replace(self, content=(*tokens[:1], f" (take {number + 1})", *tokens[1:]))

    def after(self, prefix: str) -> tuple[str, ...]:
        """Return the tokens that remain after `prefix`, the first one shortened if the prefix cuts it.

        A prefix that is not the beginning of the text gets a text that says so, which is visible when the two are joined.
        """
        if not self.text.startswith(prefix):
            return (" [this prefill is not the beginning of the answer]",)
        position, rest = 0, []
        for token in self.tokens:
            position += len(token)
            if position > len(prefix):
                rest.append(token[len(prefix) - position :])
        return tuple(rest)
