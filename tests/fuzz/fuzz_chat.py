# For any data in any events: the decoder returns chunks or raises errors of ours, says "complete" only after a finish reason
# (or errors that come too late, which they do not where more has followed one), never takes it back, and what it passes on can be accumulated and taken apart again.
"""Fuzz the reading of chunks: `python fuzz_chat.py -max_total_time=60 [CORPUS]`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["everytoken.dialects"]):
    from everytoken.dialects.openai_chat import Accumulator, ChatDecoder, chunks_of, decode_chunk
    from everytoken.errors import EverytokenError
    from everytoken.sse import ServerSentEvent

NAMES = ["message", "error", "ping"]

# What makes chunks different from each other; the fuzzer chooses among these and bytes of its own.
PIECES = [
    b'{"choices":[', b'{"index":0,"delta":', b'{"content":"x"}', b',"finish_reason":"stop"', b"}", b"]}", b"{}", b"null",
    b'"error":', b'{"error":{"message":"m"}}', b'"tool_calls":[{"index":0,"id":"a","function":', b'{"arguments":"{"}',
    b'"\\ud83d"', b'"usage":{"total_tokens":1}', b",", b"[DONE]", b"1e400", b'"object":"error"', b'"logprobs":{"content":[]}',
    b'{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}',
]  # fmt: skip


def read_data(provider: atheris.FuzzedDataProvider) -> str:
    data = b""
    for _ in range(provider.ConsumeIntInRange(0, 10)):
        number = provider.ConsumeIntInRange(0, len(PIECES))
        data += PIECES[number] if number < len(PIECES) else provider.ConsumeBytes(4)
    return data.decode(errors="replace")


def test_one_input(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data)
    decoder = ChatDecoder(
        choices=provider.ConsumeIntInRange(1, 2), omits_finish_reason=provider.ConsumeBool()
    )
    accumulator = Accumulator()
    for _ in range(provider.ConsumeIntInRange(0, 4)):
        event = ServerSentEvent(event=NAMES[provider.ConsumeIntInRange(0, 2)], data=read_data(provider))
        terminal, over = decoder.terminal, decoder.over
        try:
            chunk = decoder.receive_event(event)
        except EverytokenError:
            assert not over, "a complete answer has failed"
            continue
        assert decoder.terminal >= terminal, "an end was taken back"
        if chunk is None:
            continue
        assert isinstance(chunk.has_content, bool)
        assert isinstance(chunk.presentable, bool)
        decode_chunk(event.data)
        accumulator.add(event.data)
    try:
        decoder.receive_eof()
    except EverytokenError:
        assert not decoder.terminal
    else:
        assert decoder.terminal
    again = Accumulator()
    for record in chunks_of(accumulator.message()):
        again.add(record)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
