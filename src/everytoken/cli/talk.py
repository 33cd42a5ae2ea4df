"""One conversation with a model: the next question, its answer as it arrives, and what is kept of both."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from everytoken.cli.asking import WAITING, ChatServer, code_of
from everytoken.cli.ending import Outcome
from everytoken.cli.figures import Figures
from everytoken.cli.following import reopened
from everytoken.cli.kept import Message, title
from everytoken.cli.views import PlainView, view_of
from everytoken.cli.watching import watching
from everytoken.errors import EverytokenError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from everytoken.cli.asking import Answer
    from everytoken.cli.fragments import Content
    from everytoken.cli.kept import Conversation
    from everytoken.cli.keyboard import Keyboard
    from everytoken.cli.output import Output
    from everytoken.cli.views import View

__all__ = ["Options", "Talk"]

_REFUSED = "the model has refused; ask in another way, or ask another model: `everytoken models` lists them"


class Options(NamedTuple):
    """How to ask. `settings`: further parameters of each request; `plain`: the answer is shown as it is written."""

    settings: dict[str, Any]
    counted: bool = False  # whether the server shall count the tokens
    plain: bool = False
    hidden: bool = False  # whether the answer is not shown


class Talk:
    """A conversation with the server at `url`. `keep` is called with it whenever there is something to keep."""

    def __init__(
        self,
        url: str,
        api_key: str | None,
        conversation: Conversation,
        options: Options,
        keyboard: Keyboard,
        keep: Callable[[Conversation], None],
    ) -> None:
        self.url = url
        self.conversation = conversation
        self.figures: Figures | None = None
        self.server = ChatServer(url, api_key)
        self.options = options
        self._keyboard = keyboard
        self._keep = keep

    async def close(self) -> None:
        """Close the connections."""
        await self.server.close()

    async def ask(self, question: Content, output: Output) -> Outcome:
        """Ask, show the answer as it arrives, and keep both. Raises `OSError` if it cannot be shown."""
        self.conversation.messages.append(Message(role="user", content=question))
        title(self.conversation)
        return await self._show(output, self._asked)

    async def resume(self, output: Output, *, hidden: bool = False) -> Outcome | None:
        """Show an answer whose reader was killed, and keep it; None if there is none."""
        messages = self.conversation.messages
        if not messages or messages[-1].outcome != "running":
            return None
        stream = messages.pop().stream
        if not stream:
            messages.pop()
            return None

        async def begin(view: View) -> Answer:
            return await reopened(self.server, stream, view)

        return await self._show(output, begin, hidden=hidden)

    async def _asked(self, view: View) -> Answer:
        if not self.conversation.model:
            self.conversation.model = await self.server.first_model()
        return await self.server.ask(self._body(), view)

    async def _show(
        self, output: Output, begin: Callable[[View], Awaitable[Answer]], *, hidden: bool = False
    ) -> Outcome:
        view = self._view(output, hidden=hidden)
        clock = asyncio.get_running_loop().time
        asked = clock()
        answer: Answer | None = None
        error: EverytokenError | None = None
        outcome = "cancelled"
        with self._keyboard.quiet(view.suspend, view.go_on):
            view.begin()
            view.explain(lambda: WAITING if answer is None else answer.trouble or answer.waiting)
            try:
                answer = await begin(view)
                self._begin(answer)
                async with watching(self.server, answer) if view.explains else nullcontext():
                    await answer.read()
                outcome = "completed"
            except EverytokenError as failure:
                error = failure
                ended = "failed" if answer is None else "interrupted"
                outcome = "cancelled" if code_of(error) == "cancelled" else ended
            finally:
                view.end()
                self._remember(answer, outcome, error)
                self.figures = self._measured(answer, outcome, error, asked, clock())
        if self.options.counted and answer is not None and answer.stream is not None:
            self.figures.told = await self.server.result(answer.stream)
        notice = None if answer is None else answer.notice or (_REFUSED if answer.refused else None)
        return Outcome(error, answer is not None, notice)

    def _view(self, output: Output, *, hidden: bool) -> View:
        if hidden or self.options.hidden:
            return _HiddenView(output)
        return view_of(output, plain=self.options.plain)

    def _body(self) -> dict[str, Any]:
        counted = {"stream_options": {"include_usage": True}} if self.options.counted else {}
        return {
            "model": self.conversation.model,
            "messages": self.conversation.wire(),
            "stream": True,
            **counted,
            **self.options.settings,
        }

    def _begin(self, answer: Answer) -> None:
        """Keep that an answer has begun, and where the rest of it can be had should we not live to see it."""
        begun = Message(role="assistant", content="", outcome="running", stream=answer.stream or "")
        self.conversation.messages.append(begun)
        self._keep(self.conversation)

    def _remember(self, answer: Answer | None, outcome: str, error: EverytokenError | None) -> None:
        """Keep the answer as what it is; forget a question that got none."""
        messages = self.conversation.messages
        if answer is not None:
            messages.pop()  # that it has begun
        if answer is None or not answer.text:
            messages.pop()
        else:
            messages.append(
                Message(
                    role="assistant",
                    content=answer.text,
                    model=answer.model or self.conversation.model,
                    outcome=outcome,
                    error="" if error is None else code_of(error),
                    reasoning=answer.reasoning,
                    usage=answer.usage,
                )
            )
        if answer is not None:
            self._keep(self.conversation)

    def _measured(
        self, answer: Answer | None, outcome: str, error: EverytokenError | None, asked: float, ended: float
    ) -> Figures:
        told = None if error is None else {"code": code_of(error), "message": error.message}
        figures = Figures(
            model=self.conversation.model, outcome=outcome, error=told, seconds=max(0.0, ended - asked)
        )
        if answer is not None:
            figures.model = answer.model or figures.model
            figures.answer, figures.reasoning = answer.text, answer.reasoning
            figures.usage, figures.finish_reason = answer.usage, answer.finish_reason
            figures.first = None if answer.first is None else answer.first - asked
            figures.resumed, figures.stream = answer.resumed, answer.stream
        return figures


class _HiddenView(PlainView):
    """Shows nothing: the answer is shown as a whole, when it has ended."""

    def __init__(self, output: Output) -> None:
        super().__init__(output, terminal=False)

    def text(self, text: str) -> None:
        """Nothing to show."""
