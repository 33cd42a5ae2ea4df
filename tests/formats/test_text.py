"""The plain text wire: each write can be read on its own, and the writes are the text."""

from __future__ import annotations

import itertools
import re

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from everytoken.formats.text import TextWriter

FAMILY = "👨\u200d👩\u200d👧"


def clusters(text):
    return {0, *itertools.accumulate(map(len, regex.findall(r"\X", text)))}


def ends(writes):
    return set(itertools.accumulate(len(write.decode()) for write in writes))


def wire(parts, **options):
    writer = TextWriter(**options)
    writes = [write for part in parts for write in writer.push(part, 0.0)]
    return writes + writer.finish()


MIXED = f"Größe: 今天天气很好，我们去公园。 {FAMILY} 🇩🇪🇫🇷 क्षत्रिय วันนี้ e\u0301t\u0301 \r\n\tשָׁלוֹם"


def test_writes_are_the_text_and_end_between_characters_for_every_split():
    for i in range(len(MIXED) + 1):
        for j in range(i, min(i + 6, len(MIXED) + 1)):
            writes = wire([MIXED[:i], MIXED[i:j], MIXED[j:]])
            assert b"".join(writes).decode() == MIXED
            assert ends(writes) <= clusters(MIXED)


def test_a_write_ends_between_words():
    writer = TextWriter()
    assert writer.push("Trans", 0.0) == []
    assert writer.push("formers are", 0.0) == [b"Transformers "]
    assert writer.push(" models", 0.0) == [b"are "]
    assert writer.finish() == [b"models"]


def test_a_stalled_upstream_gets_its_text_written_after_the_hold():
    writer = TextWriter(hold=0.2)
    assert writer.deadline() is None
    writer.push("Trans", 1.0)
    assert writer.deadline() == pytest.approx(1.2)
    assert writer.tick(1.1) == []
    assert writer.tick(1.2) == [b"Trans"]
    assert writer.deadline() is None
    assert writer.finish() == []


def test_nothing_in_is_nothing_out():
    writer = TextWriter()
    assert writer.push("", 0.0) == []
    assert writer.finish() == []


LONG = {
    "ASCII words": "streaming is better " * 5000,
    "Chinese": "今天天气很好，我们去公园散步吧。" * 2000,
    "families of emoji": f"{FAMILY} " * 6000,
    "one word without end": "x" * 100_000,
    "emoji without spaces": "👍🏽" * 20_000,
    "Thai": "วันนี้อากาศดีมาก" * 1500,
    "decomposed letters": "e\u0301" * 30_000,
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in LONG.items()])
@pytest.mark.parametrize("max_write", [16_384, 1000])
def test_a_long_text_in_one_push_becomes_bounded_whole_writes(text, max_write):
    writes = wire([text], max_write=max_write)
    assert b"".join(writes).decode() == text
    assert max(map(len, writes)) <= max_write
    assert ends(writes) <= clusters(text)
    assert len(writes) < 3 * len(text.encode()) / max_write + 2


def test_a_long_text_is_cut_between_words():
    writes = wire(["streaming is better " * 5000])
    assert {word for write in writes for word in write.split()} == {b"streaming", b"is", b"better"}


SURROGATES = [
    ("a lone first half", ["a\ud83d", "b c"], "a\ufffdb c"),
    ("a lone second half", ["\ude00a"], "\ufffda"),
    ("halves in the wrong order", ["\ude00\ud83d"], "\ufffd\ufffd"),
    ("halves that meet in one push", ["\ud83d\ude00!"], "😀!"),
    ("halves that meet over two pushes", ["x \ud83d", "\ude00!"], "x 😀!"),
    ("half at the end", ["ok \ud83d"], "ok \ufffd"),
    ("half next to a whole emoji", ["😀\ud83d😀"], "😀\ufffd😀"),
]


@pytest.mark.parametrize(("parts", "text"), [pytest.param(*c[1:], id=c[0]) for c in SURROGATES])
def test_surrogates_become_text_or_the_replacement_character(parts, text):
    assert b"".join(wire(parts)).decode() == text


def test_halves_of_a_surrogate_pair_meet_across_a_stall():
    writer = TextWriter(hold=0.2)
    writes = writer.push("\ud83d", 0.0) + writer.tick(1.0) + writer.push("\ude00 ok", 2.0)
    assert b"".join(writes + writer.finish()).decode() == "😀 ok"


INTERRUPTIONS = [
    (
        "in the middle of a line",
        ["Hello wor"],
        "upstream stalled",
        "Hello wor\n[interrupted: upstream stalled]",
    ),
    ("at the start of a line", ["Hello\n"], "upstream stalled", "Hello\n[interrupted: upstream stalled]"),
    ("an empty push changes nothing", ["Hello\n", ""], "x", "Hello\n[interrupted: x]"),
    ("before any text", [], "upstream stalled", "[interrupted: upstream stalled]"),
    ("inside a CR LF", ["Hello\r"], "x", "Hello\r\n[interrupted: x]"),
    ("inside a flag", ["Hi 🇩"], "x", "Hi 🇩\n[interrupted: x]"),
    ("line ends in the reason", ["a"], "one\r\ntwo\u2028three\x85", "a\n[interrupted: one two three]"),
    ("a terminal sequence in the reason", ["a"], "\x1b[31mred\x07", "a\n[interrupted: [31mred]"),
    ("a lone surrogate in the reason", ["a"], "b\ud83d", "a\n[interrupted: b]"),
    ("a reason in Chinese", ["a"], "连接中断", "a\n[interrupted: 连接中断]"),
]


@pytest.mark.parametrize(("parts", "reason", "text"), [pytest.param(*c[1:], id=c[0]) for c in INTERRUPTIONS])
def test_an_interruption_is_a_last_line_of_its_own(parts, reason, text):
    writer = TextWriter()
    writes = [write for part in parts for write in writer.push(part, 0.0)]
    writes += writer.interrupted(reason)
    assert b"".join(writes).decode() == text


def test_a_reason_without_end_is_written_in_bounded_writes():
    writes = TextWriter(max_write=1000).interrupted("because " * 1000)
    assert max(map(len, writes)) <= 1000
    assert re.fullmatch(rb"\[interrupted: (because )+because\]", b"".join(writes))


def test_a_write_too_small_for_a_character_is_refused():
    with pytest.raises(ValueError):
        TextWriter(max_write=63)


alphabet = st.one_of(
    st.characters(),
    st.sampled_from([*MIXED]),
    st.sampled_from([" ", "\n", "\u200d", "\ud83d", "\ude00", "🇩", "👩", "\u0301"]),
)


@given(
    st.lists(st.tuples(st.text(alphabet, max_size=40), st.booleans()), max_size=25),
    st.integers(64, 400),
    st.none() | st.text(alphabet),
)
def test_writes_are_always_utf_8_bounded_and_the_text(steps, max_write, reason):
    writer, writes, now = TextWriter(hold=0.2, max_write=max_write), [], 0.0
    for text, stall in steps:
        writes += writer.push(text, now)
        due = writer.deadline()
        if stall and due is not None:
            now = due
            writes += writer.tick(now)
    writes += writer.finish() if reason is None else writer.interrupted(reason)
    whole = (
        "".join(text for text, _ in steps).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )
    assert all(0 < len(write) <= max_write for write in writes)
    joined = "".join(write.decode() for write in writes)
    assert joined == whole if reason is None else joined.startswith(whole)
    if reason is not None:
        assert re.fullmatch(r"\n?\[interrupted: [^\n\r]*\]", joined[len(whole) :])
