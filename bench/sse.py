"""How fast event streams are decoded: ours, httpx-sse's and the openai SDK's decoder, interleaved in one run."""

from __future__ import annotations

import codecs
import json
import statistics
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from everytoken.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Decoder = Callable[[list[bytes]], int]

EVENTS: Final = 10_000
REPETITIONS: Final = 3


class Row(NamedTuple):
    """One decoder on one size of reads; `seconds` holds the processor time of each repetition."""

    reads: str
    decoder: str
    events: int
    size: int
    seconds: tuple[float, ...]

    def micros(self, pick: Callable[[Sequence[float]], float] = statistics.median) -> float:
        """Return µs per event, the median repetition or the one `pick` picks."""
        return pick(self.seconds) / self.events * 1e6


def ours(reads: list[bytes]) -> int:
    receive_data = SSEDecoder().receive_data
    return sum([len(receive_data(read)) for read in reads])


def httpx_sse() -> Decoder:
    from httpx_sse._decoders import SSEDecoder as EventDecoder  # noqa: PLC0415  # an optional peer
    from httpx_sse._decoders import SSELineDecoder  # noqa: PLC0415

    def decode(reads: list[bytes]) -> int:
        # As EventSource.iter_sse does it, with httpx's own step from bytes to text before it.
        text, lines, events = (
            codecs.getincrementaldecoder("utf-8")("replace"),
            SSELineDecoder(),
            EventDecoder(),
        )
        count = 0
        for read in reads:
            for line in lines.decode(text.decode(read)):
                count += events.decode(line.rstrip("\n")) is not None
        return count

    return decode


def openai() -> Decoder:
    from openai._streaming import SSEDecoder as OpenAIDecoder  # noqa: PLC0415  # an optional peer

    def decode(reads: list[bytes]) -> int:
        return sum(1 for _ in OpenAIDecoder().iter_bytes(iter(reads)))

    return decode


def decoders() -> dict[str, Decoder]:
    """Return every decoder that is installed; say which is not."""
    found: dict[str, Decoder] = {"everytoken": ours}
    for name, load in {"httpx-sse": httpx_sse, "openai": openai}.items():
        try:
            found[name] = load()
        except ImportError as error:
            print(f"{name} is left out: {error}")
    return found


def stream() -> list[bytes]:
    """Return a chat completion stream of about 230 bytes per event, every eighth of them not ASCII."""
    words = [" the", " token", " stream", " of", " a", " model", " über", ","]
    chunks = [
        {
            "id": "chatcmpl-9f86d081884c7d659a2feaa0c55ad015",
            "object": "chat.completion.chunk",
            "created": 1790000000,
            "model": "example-model-8b-instruct",
            "system_fingerprint": "fp_44709d6fcb",
            "choices": [{"index": 0, "delta": {"content": words[i % 8]}, "finish_reason": None}],
        }
        for i in range(EVENTS - 1)
    ]
    texts = [*(json.dumps(chunk, separators=(",", ":"), ensure_ascii=False) for chunk in chunks), "[DONE]"]
    return [f"data: {text}\n\n".encode() for text in texts]


def run() -> list[Row]:
    """Measure every decoder on every size of reads, three times, taking turns."""
    events = stream()
    whole = b"".join(events)
    shapes = {
        "one event per read": events,
        "4 KiB reads": [whole[i : i + 4096] for i in range(0, len(whole), 4096)],
        "64 KiB reads": [whole[i : i + 65536] for i in range(0, len(whole), 65536)],
    }
    seconds: dict[tuple[str, str], list[float]] = {}
    peers = decoders()
    for _ in range(REPETITIONS):
        for shape, reads in shapes.items():
            for name, decode in peers.items():
                before = time.process_time()
                count = decode(reads)
                seconds.setdefault((shape, name), []).append(time.process_time() - before)
                assert count == EVENTS, f"{name} found {count} events"
    return [Row(shape, name, EVENTS, len(whole), tuple(times)) for (shape, name), times in seconds.items()]


def table(results: list[Row]) -> str:
    """Return `results` as a Markdown table: medians, and the spread of the time per event."""
    lines = [
        "| reads | decoder | MB/s | events/s | µs per event | spread |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in results:
        median = row.micros()
        lines.append(
            f"| {row.reads} | {row.decoder} | {row.size / row.events / median:.0f} | {1e6 / median:,.0f} "
            f"| {median:.2f} | {row.micros(min):.2f}–{row.micros(max):.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(run()))
