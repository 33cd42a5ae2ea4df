"""One conversation with a model: its messages so far, and the next answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.cli.asking import ChatServer
from everytoken.cli.ending import Outcome
from everytoken.cli.views import view_of
from everytoken.errors import EverytokenError

if TYPE_CHECKING:
    from everytoken.cli.asking import Answer
    from everytoken.cli.output import Output

__all__ = ["Talk"]


class Talk:
    """A conversation with the server at `url`.

    `model`: None for the first one that the server lists. `system`: instructions before the conversation. `settings`:
    further parameters of each request.
    """

    def __init__(
        self, url: str, api_key: str | None, model: str | None, system: str | None, settings: dict[str, Any]
    ) -> None:
        self.url = url
        self._server = ChatServer(url, api_key)
        self._model = model
        self._settings = settings
        self._messages = [{"role": "system", "content": system}] if system else []

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    async def ask(self, question: str, output: Output) -> Outcome:
        """Ask, show the answer as it arrives, and remember both. Raises `OSError` if it cannot be shown."""
        view = view_of(output)
        self._messages.append({"role": "user", "content": question})
        answer: Answer | None = None
        error: EverytokenError | None = None
        view.begin()
        try:
            if self._model is None:
                self._model = await self._server.first_model()
            body = {"model": self._model, "messages": self._messages, "stream": True, **self._settings}
            answer = await self._server.ask(body, view)
            await answer.read()
        except EverytokenError as failure:
            error = failure
        finally:
            view.end()
            self._remember(answer.text if answer is not None else "")
        return Outcome(error, answer is not None, answer.notice if answer is not None else None)

    def _remember(self, text: str) -> None:
        """Keep the answer, even if unfinished; forget a question that got none."""
        if text:
            self._messages.append({"role": "assistant", "content": text})
        else:
            self._messages.pop()
