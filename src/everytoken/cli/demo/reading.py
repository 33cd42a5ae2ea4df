"""What a reader receives of one answer, over as many connections as it takes; each record is kept with its offset."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import httpx2
import msgspec

from everytoken.errors import StalledError, TruncatedError
from everytoken.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from everytoken.cli.server import Server

__all__ = ["Answer", "Record", "content_of"]

_DONE = "[DONE]"


class Record(NamedTuple):
    """One record as it came: its offset, its data, and the text in it."""

    offset: str
    data: str
    text: str


class Answer:
    """One answer of the gateway behind `server`; `records` are those that have come so far, each as it came."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._response: httpx2.Response | None = None
        self.records: list[Record] = []
        self.stream_id = ""
        self.tokens = 0
        self.complete = False
        """Whether the gateway has said that the answer is complete."""

    @property
    def text(self) -> str:
        """The text that has come so far."""
        return "".join(record.text for record in self.records)

    async def ask(self, request: Mapping[str, object]) -> None:
        """Ask for the answer. Raises `UpstreamError`."""
        http = self._server.http
        response = await self._server.send(http.build_request("POST", "chat/completions", json=request))
        self._response = response
        self.stream_id = response.headers["location"].rpartition("/")[2]

    async def reconnect(self, stream_id: str = "") -> None:
        """Ask for what is stored behind the last record that has come, all of it if none has. Raises `UpstreamError`."""
        self.stream_id = stream_id or self.stream_id
        headers = {"last-event-id": self.records[-1].offset} if self.records else {}
        url = f"stream/{self.stream_id}/events"
        self._response = await self._server.send(self._server.http.build_request("GET", url, headers=headers))

    async def read(self) -> AsyncGenerator[Record, None]:
        """Yield the records of this connection, to its end or until it breaks. Raises `StalledError`, `TruncatedError`."""
        response, decoder = self._response, SSEDecoder()
        assert response is not None
        try:
            async for data in response.aiter_bytes():
                for event in decoder.receive_data(data):
                    if event.data == _DONE:
                        self.complete = True
                        return
                    record = Record(event.id, event.data, content_of(event.data))
                    self.records.append(record)
                    self.tokens += bool(record.text)
                    yield record
        except httpx2.TimeoutException as error:
            raise StalledError("nothing has come from the gateway for minutes", phase="gap") from error
        except httpx2.TransportError:
            return  # the connection broke: that is what this is about
        finally:
            await response.aclose()

    async def read_all(self) -> None:
        """Read this connection to its end. Raises as `read` does."""
        async for _ in self.read():
            pass


def content_of(data: str) -> str:
    """Return the text in an event of chat completions, "" if there is none. Raises `TruncatedError` for an error."""
    chunk = msgspec.json.decode(data)
    if "error" in chunk:
        raise TruncatedError(f"the gateway has given up: {chunk['error'].get('message')}")
    choices = chunk.get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""
