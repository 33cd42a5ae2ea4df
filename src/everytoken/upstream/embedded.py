"""The embedded model as an upstream: an HTTP upstream whose server is our own child process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from everytoken.errors import ConnectError, NotImplementedHereError, StatusError
from everytoken.upstream.embedded_refusals import Refused, ignored, refusal
from everytoken.upstream.http import HttpUpstream
from everytoken.upstream.local import LocalModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.errors import EverytokenError
    from everytoken.upstream import Connection, Sink
    from everytoken.upstream.passage import Passed

__all__ = ["EmbeddedUpstream"]

_COUNTING = "/messages/count_tokens"

log = logging.getLogger(__name__)


class EmbeddedUpstream:
    """Starts and stops the child process, and refuses what the model cannot do; otherwise an upstream like any other."""

    counts_tokens = True  # of Messages, though it is asked for answers in chat completions only

    def __init__(self, name: str, model: LocalModel | None = None) -> None:
        self.name = name
        self._model = model or LocalModel()
        self._http: HttpUpstream | None = None
        self._said: set[str] = set()

    def connect(
        self,
        body: dict[str, Any],
        sink: Sink,
        *,
        streamed: bool,
        path: str = "/chat/completions",
        headers: Mapping[str, str] | None = None,
    ) -> Connection:
        """Begin an attempt: returns at once, reports to `sink`. What the model cannot do is refused in words."""
        refused = None if path == _COUNTING else refusal(body)
        if refused is not None:
            return Refused(refused, sink)
        self._say_ignored(body)
        return self._server.connect(body, sink, streamed=streamed, path=path, headers=headers)

    @property
    def takes_pieces(self) -> bool:
        """Whether a request's body may follow in pieces."""
        return True

    def pass_on(self, passed: Passed, sink: Sink) -> Connection:
        """Begin a request of any kind."""
        return self._server.pass_on(passed, sink)

    def explained(self, path: str, error: EverytokenError) -> EverytokenError:
        """Return what to tell a caller in place of `error`, where it means that the model's server has no such API."""
        if not isinstance(error, StatusError) or error.upstream_status not in {404, 405, 501}:
            return error
        return NotImplementedHereError(
            f"the embedded model does not answer {path}; configure an upstream that does"
        )

    def _say_ignored(self, body: Mapping[str, Any]) -> None:
        """Log which parameters make no difference, each once."""
        names = [name for name in ignored(body) if name not in self._said]
        if names:
            self._said.update(names)
            log.warning("the embedded model ignores %s", ", ".join(names))

    def redact(self, text: str) -> str:
        """Return `text` without the child's key."""
        return text if self._http is None else self._http.redact(text)

    async def models(self) -> list[dict[str, Any]]:
        """Return the embedded model. Raises `UpstreamError`."""
        return await self._server.models()

    async def start(self) -> None:
        """Start the child process and wait until it is ready. Raises `ConfigurationError` without the weights."""
        endpoint = await self._model.start()
        self._http = HttpUpstream(self.name, endpoint.base_url, api_key=endpoint.api_key)

    async def stop(self) -> None:
        """End the child process."""
        if self._http is not None:
            await self._http.stop()
        await self._model.stop()

    @property
    def _server(self) -> HttpUpstream:
        if self._http is None:
            raise ConnectError("the embedded model has not been started")
        return self._http
