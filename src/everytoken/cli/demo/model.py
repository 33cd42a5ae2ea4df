"""Whose answer the demo streams: the embedded model's, or a scripted one where there is no model."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from everytoken.errors import ConfigurationError
from everytoken.testing import Answer, ScriptedUpstream
from everytoken.upstream.local import MODEL, check_runtime, find_weights

__all__ = ["Model", "embedded_or_scripted", "scripted"]

_QUESTION = "Why is the sky blue?"
_SEED = 2  # of an answer that is neither short nor long
_LENGTH = 200  # tokens of the embedded model's answer, or a few more: processors compute a little differently
_SCRIPTED_QUESTION = "What happens to an answer when its server dies?"
_TEXT = """\
A language model writes one token after another, and a stream carries each of them to you as soon as it exists. \
That takes a while, and in that while something breaks: a network, a proxy, a server, or the process that passes the \
tokens on.

Most programs then show half an answer and call it whole. This one keeps a journal. Each token is written down before \
you see it, together with its place. When the process is killed, the next one reads the journal, asks the model once \
more, compares what it says with every byte that you have already seen, and goes on behind the last one.

So you get every token exactly once, in order, and the end of the answer is the end that the model gave it."""


@dataclass(frozen=True, slots=True)
class Model:
    """Whose answer is streamed.

    `length`: about how many tokens the answer has; the kills are spread over them. `server`: runs while the demo does, and has a `base_url` that is
    the gateway's upstream; None when the gateway itself has the model. `why`: why it is not the embedded model, "" if it is
    or nobody wanted it.
    """

    kind: str
    description: str
    question: str
    request: dict[str, Any]
    length: int
    server: ScriptedUpstream | None = None
    why: str = ""

    def serving(self) -> AbstractAsyncContextManager[object]:
        """Return what has to be entered while the demo runs."""
        return self.server or nullcontext()

    @property
    def options(self) -> list[str]:
        """The gateway's options."""
        return ["--upstream", self.server.base_url] if self.server is not None else []


def embedded_or_scripted(pace: float) -> Model:
    """Return the embedded model if it can run here, otherwise a scripted one that says why not."""
    try:
        find_weights()
        check_runtime()
    except ConfigurationError as error:
        return scripted(pace, why=error.message)
    return Model("embedded", f"{MODEL}, on this machine", _QUESTION, _request(MODEL, _QUESTION), _LENGTH)


def scripted(pace: float, *, why: str = "") -> Model:
    """Return a scripted model that waits `pace` seconds before each token."""
    answer = Answer(_TEXT, delay=pace)
    return Model(
        "scripted",
        "a scripted answer (everytoken.testing)",
        _SCRIPTED_QUESTION,
        _request(answer.model, _SCRIPTED_QUESTION),
        len(answer.tokens),
        ScriptedUpstream(answer),
        why,
    )


def _request(model: str, question: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": model, "messages": messages, "seed": _SEED, "stream": True}
