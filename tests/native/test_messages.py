"""The short path of Messages does what the Python code does, and takes the pieces of the main text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everytoken.dialects.anthropic_messages.decoder import MessagesDecoder
from everytoken.dialects.anthropic_messages.history import MessagesHistory
from everytoken.dialects.anthropic_messages.request import MessagesRequest
from everytoken.formats.anthropic import AnthropicEvents
from everytoken.native import parts
from everytoken.sse import ServerSentEvent
from piped import begun, calls_of, framed, read_all, turns
from sampling import SOAK

pytestmark = pytest.mark.skipif(not parts.use(wanted=True), reason="the C part was not built")

ASKED = {"model": "m", "max_tokens": 99, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


def event(kind: str, *, name: str | None = None, wide: bool = True, **more: Any) -> bytes:
    data = json.dumps({"type": kind, **more}, ensure_ascii=False, separators=None if wide else (",", ":"))
    return f"event: {name or kind}\ndata: {data}\n\n".encode()


def text(value: str, *, index: int = 0, **more: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": value}, **more)


MESSAGE = {"id": "msg", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {}}
START = event("message_start", message=MESSAGE) + event(
    "content_block_start", index=0, content_block={"type": "text", "text": ""}
)
STOP = event("content_block_stop", index=0)
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9}) + event(
    "message_stop"
)
PLAIN = [text(f"word {number} ") for number in range(4)]
THINKING = {"type": "thinking", "thinking": "", "signature": ""}
TOOL = {"type": "tool_use", "id": "t", "name": "f", "input": {}}

EVENTS: dict[str, bytes] = {
    "plain": text("more "),
    "letters": text("ä😀"),
    "escapes": text('\n\t"\\'),
    "half a pair": text("@").replace(b"@", rb"\ud83d"),
    "two strings": text("@").replace(b"@", b'a","text":"b'),
    "narrow": text("narrow ", wide=False),
    "another name": text("named ", name="other"),
    "no name": text("unnamed ").split(b"\n", 1)[1],
    "a name twice": b"event: x\n" + text("twice "),
    "nothing": text(""),
    "a ping": event("ping"),
    "a comment": b": here\n\n" + text("after a comment "),
    "an id": text("with an id ").replace(b"\ndata", b"\nid: 7\ndata"),
    "another index": text("elsewhere ", index=1),
    "more in it": text("odd ", extra=1),
    "a citation": event(
        "content_block_delta", index=0, delta={"type": "citations_delta", "citation": {"a": 1}}
    ),
    "the block's end": STOP,
    "text behind its end": STOP + text("late "),
    "thinking": event("content_block_start", index=1, content_block=THINKING)
    + event("content_block_delta", index=1, delta={"type": "thinking_delta", "thinking": "hm"}),
    "a tool": event("content_block_start", index=1, content_block=TOOL)
    + event(
        "content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"text": "x"}'}
    ),
    "another text": event("content_block_start", index=1, content_block={"type": "text", "text": ""})
    + text("second ", index=1),
    "an error": event("error", error={"type": "overloaded_error", "message": "later"}),
    "the end": STOP + END,
    "no JSON": b"event: content_block_delta\ndata: oops\n\n",
}


async def same(*reads: bytes, ids: bool = True) -> list[bytes]:
    """Read both ways; return what the reader was written."""
    seen = []
    for short in (False, True):
        request = MessagesRequest(ASKED)
        seen.append(await read_all(reads, short=short, output=AnthropicEvents(ids=ids), request=request))
    assert seen[1] == seen[0]
    return seen[1][1]


@pytest.mark.parametrize("ids", [True, False], ids=["ids", "no ids"])
@pytest.mark.parametrize("name", EVENTS)
async def test_any_event_between_plain_ones(name, ids):
    one = EVENTS[name]
    plain = [framed(other) for other in PLAIN]
    await same(framed(START), *plain, framed(one), *plain, framed(STOP + END), b"0\r\n\r\n", ids=ids)
    await same(framed(START), *plain, *[framed(one)] * 3, *plain, framed(STOP + END), b"0\r\n\r\n", ids=ids)


@settings(deadline=None, max_examples=1000 if SOAK else 40)
@given(data=st.data())
async def test_any_events_in_any_reads(data):
    chosen = data.draw(st.lists(st.sampled_from([*EVENTS.values(), *PLAIN * 5]), min_size=1, max_size=12))
    stream = b"".join(framed(one) for one in [*chosen, STOP + END]) + b"0\r\n\r\n"
    ends = sorted(data.draw(st.lists(st.integers(1, len(stream)), max_size=8)))
    reads = [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True) if a < b]
    await same(framed(START), *[framed(one) for one in PLAIN], *reads)


async def test_a_plain_event_costs_no_call_of_python():
    response = await begun(AnthropicEvents(), MessagesRequest(ASKED))
    response.upstream.read(framed(START))
    for one in [*PLAIN, text("and "), text("then"), text(" all")]:
        response.upstream.read(framed(one))
        await turns()
    for value in ["plain", "two\nlines", "ä😀"]:
        assert calls_of(lambda value=value: response.upstream.read(framed(text(value)))) == []
        assert b"event: content_block_delta\ndata: " in response.written[-1]
    assert response.relay.recovery.transcript.text.endswith(" allplaintwo\nlinesä😀")
    await response.close()


@pytest.mark.parametrize("name", EVENTS)
def test_what_stands_around_a_text_stands_around_another(name):
    decoder = MessagesDecoder(MessagesHistory(), first=True, omits_end=False)
    for block in START.decode().split("\n\n")[:-1]:
        decoder.read(ServerSentEvent("message", block.split("data: ")[1]))
    record = EVENTS[name].split(b"data: ")[-1].removesuffix(b"\n\n")
    around = decoder.around(record, "content_block_delta")
    if around is None:
        return
    before, _, after = around
    for value in ["x", "\n", 'a"b', "ä😀", "} ]"]:
        other = before + json.dumps(value).encode()[1:-1] + after
        assert decoder.read(ServerSentEvent("message", other.decode())) == value
