# For any bytes in any reads: the events are those of the standard's own steps over the whole document, and with limits
# nothing but EventTooLargeError comes out, at the same place for every split.
"""Fuzz the decoder of event streams: `python fuzz_sse.py -max_total_time=60 [CORPUS]`."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import atheris

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

with atheris.instrument_imports(include=["everytoken.sse", "sse_reference"]):
    from everytoken.errors import EventTooLargeError
    from everytoken.sse import ServerSentEvent, SSEDecoder
    from sse_reference import Outcome, decode_document

# One document becomes eight reads at most. It stands first in the fuzzer's bytes; numbers are taken from their end.
CUTS = 7


def outcome(decoder: SSEDecoder, reads: list[bytes]) -> Outcome:
    events: list[ServerSentEvent] = []
    try:
        for read in reads:
            events += decoder.receive_data(read)
        events += decoder.receive_eof()
    except EventTooLargeError as error:
        return Outcome([*events, *error.events], decoder.last_event_id, decoder.retry, error.code)
    return Outcome(events, decoder.last_event_id, decoder.retry)


def test_one_input(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data)
    cuts = [provider.ConsumeIntInRange(0, 255) for _ in range(CUTS)]
    limit = provider.ConsumeIntInRange(1, 64)
    document = provider.ConsumeBytes(len(data))
    ends = [0, *sorted(min(cut, len(document)) for cut in cuts), len(document)]
    reads = [document[a:b] for a, b in pairwise(ends)]

    expected = decode_document(document)
    assert outcome(SSEDecoder(), [document]) == expected
    assert outcome(SSEDecoder(), reads) == expected

    limits = {"max_line_bytes": limit, "max_event_bytes": limit // 2 + 1}
    limited = outcome(SSEDecoder(**limits), [document])
    assert outcome(SSEDecoder(**limits), reads) == limited
    assert limited.events == expected.events[: len(limited.events)]
    assert limited.error or limited == expected


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
