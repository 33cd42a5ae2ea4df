"""One probe of the path: send a request, and write down what comes back when."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import httpx2

from everytoken.cli.doctor.checks.headers import SENT
from everytoken.cli.doctor.measured import Arrival, Large, Stream
from everytoken.errors import EverytokenError
from everytoken.sse import SSEDecoder
from everytoken.upstream.encodings import DAMAGED, inflate_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

__all__ = ["LARGE", "Path"]

LARGE: Final = 3 * 512 * 1024  # bytes: over nginx's default limit of 1 MiB
_MOST_INFLATED: Final = 1024 * 1024  # bytes out of one read; events are small
_MOST_SAID: Final = 16 * 1024  # bytes of a refusal that are read


class Path:
    """The way to a gateway at `base`, through everything that is on it."""

    def __init__(self, client: httpx2.AsyncClient, base: str, key: str | None, request_id: str) -> None:
        self._client = client
        self._base = base
        self._headers = {
            "accept": "text/event-stream",
            "accept-encoding": "gzip",
            "x-request-id": request_id,
            **SENT,
        }
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"

    async def probe(
        self,
        method: str = "GET",
        *,
        events: int = 0,
        interval: float = 0.0,
        idle: float = 0.0,
        hints: bool = True,
        body: bytes = b"{}",
        stop_after: int | None = None,
    ) -> Stream:
        """Return one probe; it is left after `stop_after` events. Raises `OSError` if there is no connection."""
        stream = Stream(method=method, hints=hints, idle=idle, interval=interval)
        query = {"events": events, "interval_ms": round(interval * 1000), "idle_s": round(idle, 3)}
        url = httpx2.URL(f"{self._base}/v1/probe").copy_merge_params(
            {**query, "hints": "yes" if hints else "no"}
        )
        content = body if method == "POST" else None
        headers = {**self._headers, **({"content-type": "application/json"} if content else {})}
        try:
            async with self._client.stream(method, url, content=content, headers=headers) as response:
                await _receive(stream, response, stop_after)
        except httpx2.ConnectError as error:
            raise OSError(str(error) or "no connection") from error
        except (httpx2.TransportError, EverytokenError, *DAMAGED) as error:
            stream.problem = str(error) or type(error).__name__
        stream.ended = time.time()
        _put_on_the_clock(stream)
        return stream

    async def large(self) -> Large:
        """Return what happens to a large request."""
        body = b'{"padding":"%b"}' % (b"x" * LARGE)
        stream = await self.probe("POST", body=body)
        return Large(len(body), stream.status, int(stream.seen.get("body", 0)), stream.problem)

    async def state(self, probe_id: str) -> str:
        """Return how a probe is, "" where that is not known, such as at another node."""
        answer = await self.get(f"/v1/probe/{probe_id}")
        return str(answer.json()["state"]) if answer.status_code == 200 else ""

    async def get(self, path: str) -> httpx2.Response:
        """GET a path of the gateway. Raises `httpx2.TransportError`."""
        return await self._client.get(f"{self._base}{path}", headers={**self._headers, "accept": "*/*"})


async def _receive(stream: Stream, response: httpx2.Response, stop_after: int | None) -> None:
    """Fill in a stream."""
    stream.status, stream.http_version = response.status_code, response.http_version
    stream.headers = {name.lower(): value for name, value in response.headers.items()}
    if response.status_code != 200 or "text/event-stream" not in stream.headers.get(
        "content-type", "text/event-stream"
    ):
        said = b""
        async for data in response.aiter_bytes():
            said += data
            if len(said) > _MOST_SAID:
                break
        stream.body = said.decode("utf-8", "replace")
        return
    decoder = SSEDecoder()
    async for data in _inflated(response, stream.encoding):
        at = time.monotonic()
        for event in decoder.receive_data(data):
            _take(stream, event.data, event.id, at)
        if stop_after is not None and len(stream.events) >= stop_after:
            return
    stream.clean = True


async def _inflated(response: httpx2.Response, encoding: str) -> AsyncIterator[bytes]:
    inflate = inflate_for(encoding) if encoding else None
    async for data in response.aiter_raw():
        yield data if inflate is None else inflate.decompress(data, _MOST_INFLATED)


def _take(stream: Stream, data: str, event_id: str, at: float) -> None:
    try:
        told: Mapping[str, Any] = json.loads(data)
        number, sent = int(told["n"]), float(told["at"])
    except (ValueError, LookupError, TypeError):
        return  # not from the gateway
    if number == 0:
        stream.seen = dict(told)
    stream.events.append(Arrival(number, sent, at, event_id))
    stream.complete = stream.complete or bool(told.get("end"))


def _put_on_the_clock(stream: Stream) -> None:
    """Turn arrivals on the monotonic clock into moments."""
    offset = time.time() - time.monotonic()
    stream.events = [
        Arrival(event.number, event.sent, event.arrived + offset, event.id) for event in stream.events
    ]
