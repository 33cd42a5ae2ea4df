"""The short path does what the Python code does, and takes what it is made for."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everytoken.dialects.openai_chat import ChatRequest
from everytoken.dialects.openai_chat.pieces import ChatHistory
from everytoken.dialects.openai_chat.reader import ChatReader
from everytoken.formats.openai import OpenAIEvents
from everytoken.native import parts
from everytoken.recovery import transcript
from everytoken.sse import ServerSentEvent
from gateway_serving import HELLO
from piped import begun, calls_of, framed, read_all, turns
from sampling import SOAK

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not parts.use(wanted=True), reason="the C part was not built")

LAST = framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def chunk(text: Any = "word ", *, delta: dict[str, Any] | None = None, **more: Any) -> bytes:
    """Return one chunk as an event."""
    choice = {
        "index": 0,
        "delta": delta or {"content": text},
        "finish_reason": None,
        **more.pop("choice", {}),
    }
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps({**body, **more}, ensure_ascii=False).encode()


def raw(text: bytes) -> bytes:
    """Return a chunk with `text` as it stands as the inside of its content."""
    return chunk("@").replace(b"@", text)


FINISH = chunk(delta={"role": None}, choice={"finish_reason": "stop"})
PLAIN = [chunk(f"word {number} ") for number in range(4)]

EVENTS: dict[str, bytes] = {
    "plain": chunk("more "),
    "one character": chunk("x"),
    "letters of two bytes": chunk("äöü"),
    "letters of four bytes": chunk("😀"),
    "line ends": chunk("\n\n"),
    "all short escapes": raw(rb"\"\\\/\b\f\n\r\t"),
    "an escape of four digits": raw(rb"a\u0041b"),
    "a pair of surrogates": raw(rb"\ud83d\ude00"),
    "half a pair": raw(rb"\ud83d"),
    "an unknown escape": raw(rb"\x41"),
    "a backslash at the end": raw(b"\\"),
    "two strings": raw(b'a","content":"b'),
    "another field inside": raw(b'a","role":"assistant","content":"b'),
    "the end of the object inside": raw(b'a"}},{"delta":{"content":"b'),
    "a control character": raw(b"a\x01b"),
    "a NUL": raw(b"\0"),
    "a deleted character": raw(b"\x7f"),
    "bytes that are not UTF-8": raw(b"\xff\xfe"),
    "half a letter": raw(b"\xc3"),
    "an encoded surrogate": raw(b"\xed\xa0\x80"),
    "nothing": chunk(""),
    "null": chunk(None),
    "a long text": chunk("long " * 300),
    "a text that is too long": chunk("long " * 3000),
    "a list of parts": chunk([{"type": "text", "text": "part"}]),
    "another time": chunk("late ", created=2),
    "another id": chunk("other ", id="d"),
    "another index": chunk("second ", choice={"index": 1}),
    "padded": chunk("hidden ", obfuscation="abc"),
    "padded with more": chunk("hidden ", obfuscation="abcdef"),
    "padded with a quotation mark": chunk("hidden ", obfuscation='a"c'),
    "padded with no string": chunk("hidden ", obfuscation=["a"]),
    "padded twice": chunk("hidden ", obfuscation="abc")[:-3] + b', "obfuscation": "d"}\n\n',
    "padded, with an end in its text": chunk('"}}], "obfuscation": "x', obfuscation="abc"),
    "with usage": chunk("counted ", usage={"completion_tokens": 5}),
    "with an error": chunk("wrong ", error={"message": "broken"}),
    "with a role": chunk(delta={"role": "assistant", "content": "said "}),
    "reasoning": chunk(delta={"reasoning_content": "hm "}),
    "a refusal": chunk(delta={"refusal": "no "}),
    "a tool call": chunk(delta={"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}),
    "unknown fields": chunk("odd ", citations=["a"]),
    "log probabilities": chunk("likely ", choice={"logprobs": {"content": []}}),
    "a finish reason": FINISH,
    "a finish reason with text": chunk("end", choice={"finish_reason": "length"}),
    "another object": chunk("strange", object="chat.completion"),
    "a comment": b": ping\n\n",
    "a comment before": b": ping\n" + chunk("after a comment "),
    "an id": b"id: 7\n" + chunk("with an id "),
    "a name": b"event: message\n" + chunk("named "),
    "another name": b"event: ping\ndata: {}\n\n",
    "CR LF": chunk("windows ").replace(b"\n", b"\r\n"),
    "two lines of data": chunk("two lines ").replace(b', "object"', b',\ndata: "object"'),
    "no space": chunk("narrow ").replace(b"data: ", b"data:"),
    "an end mark": b"data: [DONE]\n\n",
    "no JSON": b"data: oops\n\n",
    "three line ends": chunk("blank ") + b"\n",
    "two events": chunk("first ") + chunk("second "),
    "half an event": chunk("cut ")[:-20],
    "an error of its own": b'data: {"error": {"message": "overloaded", "code": 503}}\n\n',
}


async def same(*reads: bytes) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Read both ways; return what came of it."""
    here, there = await read_all(reads, short=False), await read_all(reads, short=True)
    assert there == here
    return there


@pytest.mark.parametrize("name", EVENTS)
async def test_any_event_behind_plain_ones(name):
    event = EVENTS[name]
    behind = [framed(one) for one in [*PLAIN, FINISH]]
    await same(*[framed(one) for one in PLAIN], framed(event), *behind, LAST)


@pytest.mark.parametrize("name", EVENTS)
async def test_any_event_again_and_again(name):
    """It may be learned from as well."""
    event = EVENTS[name]
    await same(*[framed(one) for one in PLAIN], *[framed(event)] * 4, *[framed(one) for one in PLAIN], LAST)


FRAMES: dict[str, Callable[[bytes], bytes]] = {
    "as usual": framed,
    "capitals": lambda body: b"%X\r\n%b\r\n" % (len(body), body),
    "leading zeros": lambda body: b"00%x\r\n%b\r\n" % (len(body), body),
    "too many leading zeros": lambda body: b"000000%x\r\n%b\r\n" % (len(body), body),
    "an extension": lambda body: b"%x;a=b\r\n%b\r\n" % (len(body), body),
    "two chunks": lambda body: framed(body[:50]) + framed(body[50:]),
    "no size": lambda body: b"\r\n%b\r\n" % body,
    "one byte too few": lambda body: b"%x\r\n%b\r\n" % (len(body) - 1, body),
    "one byte too many": lambda body: b"%x\r\n%b\r\n" % (len(body) + 1, body),
    "no line end behind it": lambda body: b"%x\r\n%b" % (len(body), body),
    "the last chunk": lambda body: framed(body) + b"0\r\n\r\n",
    "an endless size": lambda body: b"ffffffffffffffffffff\r\n" + body,
}


@pytest.mark.parametrize("name", FRAMES)
async def test_any_framing(name):
    usual, odd = framed(PLAIN[0]), FRAMES[name](chunk("odd "))
    await same(usual, usual, usual, odd, usual, usual, usual, LAST)
    await same(odd, odd, odd, odd, usual, LAST)


async def test_a_chunk_that_looks_like_the_head_of_one():
    """A read that ends a chunk begins as a chunk would: only the place of the last one's end tells."""
    inner = framed(PLAIN[1])
    whole = framed(PLAIN[0] + b": " + inner + b"\n\n")
    at = whole.index(inner)
    usual = framed(PLAIN[0])
    await same(
        usual, usual, usual, whole[:at], whole[at : at + len(inner)], whole[at + len(inner) :], usual, LAST
    )
    await same(whole[:at], inner, inner, whole[at + len(inner) :], usual)


async def test_every_split():
    stream = (
        b"".join(framed(one) for one in [*PLAIN, EVENTS["line ends"], EVENTS["another time"], FINISH]) + LAST
    )
    for at in range(1, len(stream)):
        await same(framed(PLAIN[0]), framed(PLAIN[0]), stream[:at], stream[at:])


CHUNKS = st.one_of(
    st.text(min_size=1, max_size=12).filter(lambda t: t.isprintable()).map(chunk),
    st.text(st.sampled_from('ab"\\\n\t/é😀'), min_size=1, max_size=6).map(chunk),
    st.binary(max_size=6).map(raw),
    st.sampled_from(sorted(EVENTS.values())),
    st.sampled_from(PLAIN),
)


@settings(deadline=None, max_examples=2000 if SOAK else 60)
@given(data=st.data())
async def test_any_events_in_any_reads(data):
    events = data.draw(st.lists(CHUNKS, min_size=1, max_size=12))
    frames = st.sampled_from([framed, framed, framed, FRAMES["two chunks"], FRAMES["capitals"]])
    stream = b"".join(data.draw(frames)(one) for one in events) + LAST
    ends = sorted(data.draw(st.lists(st.integers(1, len(stream)), max_size=8)))
    if data.draw(st.booleans()):  # nearly all reads are whole chunks
        whole = [len(stream) - len(rest) for rest in _behind(stream)]
        ends = sorted({*ends[:2], *whole})
    reads = [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True) if a < b]
    await same(*[framed(one) for one in PLAIN], *reads)


def _behind(stream: bytes) -> list[bytes]:
    """Return what stands behind each place where a chunk may end."""
    parts = stream.split(b"\n\n\r\n")
    return [b"\n\n\r\n".join(parts[at:]) for at in range(1, len(parts))]


# What it takes


async def test_a_plain_chunk_costs_no_call_of_python():
    response = await begun()
    for one in [*PLAIN, chunk("and "), chunk("then"), chunk(" all")]:  # that have nothing in common
        response.upstream.read(framed(one))
        await turns()
    for text in ["plain", '"quoted"', "two\nlines", "ä", "😀", "back\\slash", "long " * 100]:
        before = len(response.written)
        assert calls_of(lambda text=text: response.upstream.read(framed(chunk(text)))) == []
        assert len(response.written) == before + 1
        assert json.loads(response.written[-1].split(b"data: ")[1].split(b"\n")[0]) == json.loads(
            chunk(text)[6:]
        )
    several = b"".join(framed(one) for one in PLAIN)
    assert calls_of(lambda: response.upstream.read(several)) == []
    await response.close()


async def test_the_beginning_of_a_chunk_is_kept_until_its_rest_comes():
    response = await begun()
    for one in [*PLAIN, chunk("and "), chunk("then"), chunk(" all")]:
        response.upstream.read(framed(one))
        await turns()
    stream = b"".join(framed(chunk(f"text {number} ")) for number in range(9))
    size = len(stream) // 9
    ends = [size // 2 + size * number for number in range(9)]  # each read ends in the middle of a chunk
    for begin, end in pairwise([0, *ends]):
        part = stream[begin:end]
        assert calls_of(lambda part=part: response.upstream.read(part)) == []
    assert response.relay.recovery.transcript.text.endswith("text 6 text 7 ")
    await response.close()


@pytest.mark.parametrize(
    "end", [b"", b"\r", b"\r\n" + framed(chunk("next "))[:3]], ids=["no CR", "CR", "another head"]
)
async def test_a_whole_event_is_never_kept(end):
    """Some servers send the end of a chunk with the next one: nobody waits for that."""
    response = await begun()
    for one in PLAIN:
        response.upstream.read(framed(one))
        await turns()
    event = framed(chunk("now "))[:-2]
    response.upstream.read(event + end)
    assert response.relay.recovery.transcript.text.endswith("now ")
    several = b"\r\n" + framed(chunk("two ") + chunk("three "))
    rest = several[len(end) :] if end in {b"", b"\r"} else framed(chunk("next "))[3:] + several[2:]
    response.upstream.read(rest[:-50])
    assert response.relay.recovery.transcript.text.endswith("two ")
    response.upstream.read(rest[-50:])
    assert response.relay.recovery.transcript.text.endswith("two three ")
    await response.close()


@pytest.mark.parametrize("kept", [1, 3, 4, 20, 100])
@pytest.mark.parametrize("cut", [None, ConnectionResetError()], ids=["closed", "reset"])
async def test_a_cut_behind_the_beginning_of_a_chunk_is_a_cut(kept, cut):
    seen = []
    for short in (False, True):
        parts.use(wanted=short)
        response = await begun()
        for one in PLAIN:
            response.upstream.read(framed(one))
            await turns()
        response.upstream.read(framed(chunk("lost "))[:kept])
        response.upstream.transport.protocol.connection_lost(cut)
        await turns()
        result = response.relay.log.info.result or {}
        seen.append((result["outcome"], result["attempts"][0]["cause"]["code"], response.relay.log.tail))
        await response.task
    assert seen[0] == seen[1]
    assert seen[0][0] == "interrupted"


async def test_where_another_time_stands_in_it_it_is_learned_anew():
    """Some servers write into each chunk when it was made, in seconds."""
    response = await begun()
    taken = 0
    for number in range(100):
        event = framed(chunk(f"word {number}", created=number // 10))
        taken += not calls_of(lambda event=event: response.upstream.read(event))
        await turns()
    assert taken > 60
    await response.close()


async def test_padding_may_be_different_each_time():
    """OpenAI pads each chunk to hide how long its text is."""
    response = await begun()
    for one, padding in [("and ", "ab"), ("then ", ""), ("all", "c"), (" of", "de"), ("it", "")]:
        response.upstream.read(framed(chunk(one, obfuscation=padding)))
        await turns()
    for text in ["plain", "two\nlines", 'a "quoted" word', "ä😀"]:
        for padding in ["", "x", "aB3" * 5]:
            event = framed(chunk(text, obfuscation=padding))
            assert calls_of(lambda event=event: response.upstream.read(event)) == []
    assert response.relay.recovery.transcript.text.endswith("ä😀" * 3)
    for padding in ['"', "\\", "\n", "é"]:
        event = framed(chunk("odd ", obfuscation=padding))
        assert calls_of(lambda event=event: response.upstream.read(event)) != []
    assert response.relay.recovery.transcript.text.endswith("odd " * 4)
    await response.close()


async def test_where_each_chunk_is_different_it_is_seldom_looked_for():
    response = await begun()
    looked = 0
    for number in range(600):
        event = framed(chunk(f"word {number}", system_fingerprint=str(number)))
        called = calls_of(lambda event=event: response.upstream.read(event))
        looked += "ChatReader.around" in called
        await turns()
    assert 3 < looked < 12
    assert response.relay.log.tail == 600
    await response.close()


# What it leaves alone


async def test_a_reader_that_does_not_keep_up_is_left_to_its_task():
    response = await begun()
    for one in PLAIN:
        response.upstream.read(framed(one))
        await turns()
    written = len(response.written)
    response.flow.write_paused = True
    response.upstream.read(framed(chunk("later ")))
    assert len(response.written) == written
    assert response.relay.log.tail == len(PLAIN) + 1
    response.flow.write_paused = False
    await turns()
    assert b"later " in response.written[-1]
    await response.close()


async def test_a_reader_that_cannot_be_written_to_fails_alone():
    response = await begun()
    for one in PLAIN:
        response.upstream.read(framed(one))
        await turns()
    response.broken = True
    response.upstream.read(framed(chunk("lost ")))
    assert response.relay.log.tail == len(PLAIN) + 1
    with pytest.raises(OSError, match="the transport is broken"):
        await response.task
    response.upstream.read(framed(chunk("and on ")))
    assert response.relay.log.tail == len(PLAIN) + 2
    assert not response.relay.over.done()
    response.relay.stop()
    await turns()


async def test_a_reader_that_raises_fails_alone(caplog):
    response = await begun()
    for one in PLAIN:
        response.upstream.read(framed(one))
        await turns()

    def moved() -> None:
        raise ValueError("a bug")

    response.relay.log.subscribe(moved)
    response.upstream.read(framed(chunk("on ")))
    assert "a reader of stream" in caplog.text
    assert b"on " in response.written[-1]
    response.relay.log.unsubscribe(moved)
    await response.close()


async def test_a_bug_on_the_way_ends_the_response_and_nothing_else(caplog):
    response = await begun(OpenAIEvents())
    for one in PLAIN:
        response.upstream.read(framed(one))
        await turns()

    class Broken(list):  # type: ignore[type-arg]
        def append(self, _: Any) -> None:
            raise ValueError("a bug")

    response.relay.recovery.transcript._recent = Broken()
    response.upstream.read(framed(chunk("on ")))
    await turns()
    assert "internal error: the attempt has ended" in caplog.text
    assert (response.relay.log.info.result or {})["outcome"] == "interrupted"
    assert await response.task is True


async def test_a_stopped_response_takes_nothing_more():
    response = await begun()
    for one in PLAIN:
        response.upstream.read(framed(one))
        await turns()
    response.relay.stop()
    tail = response.relay.log.tail
    response.upstream.transport.closed = False  # what was read before it was closed
    response.upstream.read(framed(chunk("late ")) * 2)
    await turns()
    assert response.relay.log.tail == tail
    assert response.relay.log.closed
    response.task.cancel()


async def test_a_writer_that_was_fenced_off_takes_nothing_more():
    response = await begun()
    for one in PLAIN:
        response.upstream.read(framed(one))
        await turns()
    response.relay.log.info.epoch += 1
    response.upstream.read(framed(chunk("late ")) * 2)
    await turns()
    assert response.relay.log.tail == len(PLAIN)
    assert response.relay.over.done()
    response.task.cancel()


async def test_a_limit_is_looked_at(monkeypatch):
    monkeypatch.setattr(transcript, "LIMIT", 100)
    long = [framed(chunk("ten bytes "))] * 30
    states, _ = await same(*long)
    assert states[-1]["text"] != "ten bytes " * 30
    assert states[-1]["tail"] == 30


async def test_a_response_that_grows_too_large_is_ended():
    both = []
    for short in (False, True):
        parts.use(wanted=short)
        response = await begun(max_response=2000)
        for number in range(30):
            response.upstream.read(framed(chunk(f"word {number}")))
            await turns()
        result = response.relay.log.info.result or {}
        both.append((response.relay.log.tail, result["outcome"], result["error"]["code"], response.written))
        response.task.cancel()
    assert both[0] == both[1]
    assert both[1][1] == "interrupted"


# What stands around a text


def reader(*, first: bool = True, choices: int = 1) -> ChatReader:
    request = ChatRequest({**HELLO, "n": choices})
    return ChatReader(request, ChatHistory(), first=first, usage=False, omits_finish_reason=False)


@pytest.mark.parametrize("name", EVENTS)
def test_what_stands_around_a_text_stands_around_another(name):
    record = EVENTS[name].removeprefix(b"data: ").removesuffix(b"\n\n")
    around = reader().around(record, "message")
    if around is None:
        return
    before, between, after = around
    assert record.startswith(before)
    assert record.endswith(after)
    for text in ["x", "\n", 'a"b', "ä😀", "} ]", "[DONE]", "error"]:
        padding = text.encode() if between and text.isalnum() else b""
        other = before + json.dumps(text).encode()[1:-1] + between + padding + after
        assert reader().read(ServerSentEvent("message", other.decode())) == text


@pytest.mark.parametrize(
    "record",
    [
        b'{"object":"chat.completion.chunk","choices":[{"delta":{"content":"a","content":"b"}}]}',
        b'{"model":{"content":"a"},"object":"chat.completion.chunk","choices":[{"delta":{"content" : "a"}}]}',
        b'{"x\\"content":"a","object":"chat.completion.chunk","choices":[{"delta":{"content" : "a"}}]}',
        b'{"object":"chat.completion.chunk","choices":[{"delta":{"role":"assistant"}}]}',
        b'{"object":"chat.completion.chunk","choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}',
        b'{"error":{"content":"a"},"object":"chat.completion.chunk","choices":[{"delta":{"content" : "a"}}]}',
        b'"content":"a"',
        b"",
    ],
)
def test_nothing_stands_around_what_is_not_the_text(record):
    assert reader().around(record, "message") is None


def test_a_reader_that_looks_at_every_chunk_knows_nothing_of_it():
    record = chunk()[6:-2]
    assert reader().around(record, "message") is not None
    assert reader(first=False).around(record, "message") is None
    assert reader(choices=2).around(record, "message") is None


async def test_without_it_python_does_everything(monkeypatch):
    parts.use(wanted=False)
    try:
        response = await begun()
        for one in PLAIN:
            response.upstream.read(framed(one))
            await turns()
        called = calls_of(lambda: response.upstream.read(framed(chunk("on "))))
        assert called[0] == "HttpProtocol.data_received"
        assert "Follower.moved" in called
        response.relay.stop()
        await turns()
        response.task.cancel()
    finally:
        parts.use(wanted=True)
    await asyncio.sleep(0)
