"""The laws of smoothing: the pieces are the text, end between characters, and never wait for long."""

from __future__ import annotations

import itertools
import subprocess
import sys

import budoux
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from everytoken import smoothing
from everytoken.smoothing import Smoother

UNITS = ["character", "word", "line"]

FAMILY = "👨\u200d👩\u200d👧"
FLAGS = "🇩🇪🇫🇷"
TEXTS = {
    "English": "Don't stop: it's 3.14, well-known.",
    "German": "Die Straße führt über Köln",
    "decomposed accents": "Cafe\u0301 cre\u0300me bru\u0302le\u0301e",
    "simplified Chinese": "今天天气很好，我们去公园散步吧。",
    "traditional Chinese": "人工智慧讓機器能夠學習與推理。",
    "Japanese": "今日は天気がいいので、散歩に行きましょう。",
    "Thai": "วันนี้อากาศดีมาก ทำน้ำ",
    "Lao": "ສະບາຍດີ ພາສາລາວ",
    "Khmer": "ខ្ញុំស្រលាញ់\u200bភាសាខ្មែរ",
    "Burmese": "မြန်မာစာကို ချစ်တယ်",
    "Arabic": "مَرْحَبًا بالعالم",
    "Hebrew": "שָׁלוֹם עולם",
    "Hindi": "नमस्ते क्षत्रिय श्री",
    "Korean": "안녕하세요 세계",
    "Hangul jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af \u1100\u1161",
    "emoji families, flags, skin tones, keycaps": f"{FAMILY} {FLAGS}👍🏽 1\ufe0f\u20e3❤\ufe0f\u200d🔥",
    "a flag of tags": "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f!",
    "CR LF": "a\r\n\r\nb\rc\n\rd",
    "no-break space": "10\u00a0000\u202f€ und",
    "zero-width characters": "a\u200bb\u200cc\u200dd\u2060e\ufeff",
    "a mark on a space": "e \u0301 \u0301x",
    "a code block": "```py\nif x:\n\treturn 1\n```\n",
    "only spaces": "   \n \t ",
    "Chinese with Latin": "使用GPU加速 Python代码 2024年",
    "lone surrogates": "a\ud83d b\ude00 \ud83d",
    "a surrogate pair in halves": "x\ud83d\ude00y",
    "prepended mark": "\u0600١٢ ب",
    "nothing": "",
}


def texts():
    return pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in TEXTS.items()])


def units():
    return pytest.mark.parametrize("by", UNITS)


def boundaries(text):
    """Every place between two characters of the text, its ends included."""
    return {0, *itertools.accumulate(map(len, regex.findall(r"[\ud800-\udbff][\udc00-\udfff]|\X", text)))}


def ends(pieces):
    return set(itertools.accumulate(map(len, pieces)))


def smooth(by, parts, **options):
    smoother = Smoother(by, **options)
    return [*(smoother.push(part, 0.0) for part in parts), smoother.finish()]


def splits(text):
    """Whole, one by one, with empty pushes between, every split in two and, of the shorter texts, in three."""
    yield [text]
    yield list(text)
    yield [part for char in text for part in (char, "")]
    for i in range(len(text) + 1):
        for j in range(i, len(text) + 1) if len(text) <= 18 else (i,):
            yield [text[:i], text[i:j], text[j:]]


@texts()
@units()
def test_the_pieces_are_the_text_and_end_between_characters_for_every_split(by, text):
    allowed = boundaries(text)
    for parts in splits(text):
        pieces = smooth(by, parts)
        assert "".join(pieces) == text
        assert ends(pieces) <= allowed, parts


CASES = [
    ("a word waits until it is whole", "word", ["Hel", "lo"], ["", ""], "Hello"),
    (
        "a space before the next token ends a word",
        "word",
        ["Hello", " wor", "ld"],
        ["", "Hello ", ""],
        "world",
    ),
    ("a word does not wait for its space to close", "word", ["Hello ", "x"], ["Hello", " "], "x"),
    ("a line feed is complete at once", "word", ["Hello\n"], ["Hello\n"], ""),
    ("a tab is complete at once", "word", ["a\tb"], ["a\t"], "b"),
    ("a CR waits for its LF", "word", ["a\r", "\nb"], ["a", "\r\n"], "b"),
    ("a mark joins the space before it", "word", ["a ", "\u0301 b"], ["a", " \u0301 "], "b"),
    ("many words in a push go out together", "word", ["one two three"], ["one two "], "three"),
    ("a no-break space does not end a word", "word", ["10\u00a0000 €"], ["10\u00a0000 "], "€"),
    ("punctuation belongs to its word", "word", ["Yes", ",", " no"], ["", "", "Yes, "], "no"),
    ("a zero-width space ends a word", "word", ["ab\u200b", "c"], ["ab\u200b", ""], "c"),
    (
        "a Chinese word is out three characters later",
        "word",
        ["今天", "天", "气很"],
        ["", "", "今天"],
        "天气很",
    ),
    ("a Chinese word at a space does not wait", "word", ["今天 "], ["今天"], " "),
    ("Thai is not cut inside a cluster", "word", list("วันนี้อา"), ["", "", "", "", "", "วัน", "", ""], "นี้อา"),
    (
        "traditional characters are segmented as such",
        "word",
        ["機器能夠學習與推理"],
        ["機器能夠學習"],
        "與推理",
    ),
    (
        "Latin words are not cut in a Chinese sentence",
        "word",
        ["说hello worldwide吧"],
        ["说hello "],
        "worldwide吧",
    ),
    ("Lao, without a model, goes by characters", "word", ["ສະບາຍ", "ດີ"], ["ສະບາ", "ຍ"], "ດີ"),
    ("Tibetan syllables end with their tsheg", "word", ["བཀྲ་ཤིས་བདེ"], ["བཀྲ་ཤིས་"], "བདེ"),
    ("a character waits for what may join it", "character", ["ab", "c"], ["a", "b"], "c"),
    (
        "an accent arriving later is in the same piece",
        "character",
        ["e", "\u0301", "x"],
        ["", "", "e\u0301"],
        "x",
    ),
    ("a flag in halves is one piece", "character", ["🇩", "🇪", "🇫"], ["", "", "🇩🇪"], "🇫"),
    ("a family is one piece", "character", [*FAMILY, "!"], ["", "", "", "", "", FAMILY], "!"),
    (
        "jamo join to a syllable",
        "character",
        [*"\u1112\u1161\u11ab", "."],
        ["", "", "", "\u1112\u1161\u11ab"],
        ".",
    ),
    ("a conjunct is one piece", "character", [*"क्षि", "।"], ["", "", "", "", "क्षि"], "।"),
    ("a surrogate pair is one piece", "character", ["\ud83d", "\ude00", "x"], ["", "", "\ud83d\ude00"], "x"),
    ("a line waits for its end", "line", ["a b", "c\nd e", "f"], ["", "a bc\n", ""], "d ef"),
    ("several lines go out together", "line", ["a\nb\nc"], ["a\nb\n"], "c"),
    ("CR LF is not cut", "line", ["a\r", "\nb"], ["", "a\r\n"], "b"),
]


@pytest.mark.parametrize(("by", "pushes", "shown", "left"), [pytest.param(*c[1:], id=c[0]) for c in CASES])
def test_what_is_shown_after_each_push(by, pushes, shown, left):
    smoother = Smoother(by)
    assert [smoother.push(text, 0.0) for text in pushes] == shown
    assert smoother.finish() == left


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("simplified_chinese", "今天天气很好，我们去公园散步吧。机器学习模型使用注意力机制来处理语言数据。"),
        (
            "traditional_chinese",
            "電腦科學的分支，它讓機器能夠學習與推理。變換器模型使用注意力機制來處理語言資料。",
        ),
        (
            "japanese",
            "これは変換器モデルが注意機構を使って言語データを処理します。東京都庁は新宿にあります。",
        ),
        ("japanese", "これからの人工知能技術研究開発機構です。"),
        ("thai", "วันนี้อากาศดีมากเราไปเดินเล่นกันเถอะ"),
    ],
)
def test_words_pushed_in_any_portions_are_those_of_the_library_on_the_whole_text(language, text):
    parser = getattr(budoux, f"load_default_{language}_parser")()
    words = parser.parse(text)
    lookahead = 3
    decided = {end for end in ends(words) if end <= len(text) - lookahead}
    one_by_one = ends(smooth("word", text)) - {0, len(text)}
    assert one_by_one == decided
    for size in range(2, 12):
        found = ends(smooth("word", [text[i : i + size] for i in range(0, len(text), size)]))
        assert found - {0, len(text)} <= decided


def test_a_stalled_upstream_gets_its_words_shown_after_the_hold():
    smoother = Smoother("word", hold=0.2)
    assert smoother.deadline() is None
    assert smoother.push("Hello wor", 10.0) == "Hello "
    assert smoother.deadline() == pytest.approx(10.2)
    assert smoother.tick(10.1) == ""
    assert smoother.tick(smoother.deadline()) == "wor"
    assert smoother.deadline() is None
    assert smoother.tick(99.0) == ""
    assert smoother.push("ld ", 11.0) == "ld"


def test_the_hold_counts_from_the_last_text_and_an_empty_push_is_none():
    smoother = Smoother("line", hold=1.0)
    smoother.push("a", 0.0)
    smoother.push("b", 0.9)
    assert smoother.push("", 1.5) == ""
    assert smoother.deadline() == pytest.approx(1.9)
    assert smoother.tick(1.9) == "ab"


def test_nothing_is_waited_for_when_everything_is_out():
    smoother = Smoother("word")
    assert smoother.push("done\n", 0.0) == "done\n"
    assert smoother.deadline() is None


HALVES = [
    ("half a flag", "a🇩", "🇪"),
    ("a joiner without its right side", "a👩\u200d", "👧"),
    ("a CR", "a\r", "\n"),
    ("half a surrogate pair", "a\ud83d", "\ude00"),
]


@pytest.mark.parametrize(("start", "rest"), [pytest.param(*c[1:], id=c[0]) for c in HALVES])
@units()
def test_a_visibly_half_character_waits_beyond_the_hold_for_its_other_half(by, start, rest):
    smoother = Smoother(by, hold=0.2)
    shown = smoother.push(start, 0.0) + smoother.tick(0.2)
    assert shown == "a"
    assert smoother.deadline() is None
    assert smoother.push(rest, 5.0) + smoother.tick(5.2) == start[1:] + rest


@pytest.mark.parametrize(("start", "rest"), [pytest.param(*c[1:], id=c[0]) for c in HALVES])
def test_a_half_character_is_out_at_the_end(start, rest):
    smoother = Smoother("word", hold=0.2)
    smoother.push(start, 0.0)
    smoother.tick(1.0)
    assert smoother.finish() == start[1:]


def test_a_character_that_grows_after_the_hold_is_not_cut_a_second_time():
    smoother = Smoother("character", hold=0.2)
    smoother.push("👩", 0.0)
    assert smoother.tick(0.2) == "👩"
    assert smoother.push("\u200d", 1.0) == ""
    assert smoother.push("👧", 1.0) == ""
    assert smoother.push("🇩🇪", 1.0) == "\u200d👧"


def test_a_flag_is_not_paired_with_one_shown_before():
    smoother = Smoother("character", hold=0.2)
    smoother.push("🇩🇪", 0.0)
    assert smoother.tick(0.2) == "🇩🇪"
    assert smoother.push("🇫🇷x", 1.0) == "🇫🇷"


@units()
def test_a_word_without_end_goes_out_in_bounded_pieces(by):
    limit = 50
    pieces = smooth(by, ["xyz"] * 3000, max_hold_chars=limit)
    assert "".join(pieces) == "xyz" * 3000
    assert max(map(len, pieces)) <= limit + 3


def test_a_line_that_is_too_long_is_cut_at_a_word():
    pieces = [piece for piece in smooth("line", ["ab", "c de", "f "] * 20, max_hold_chars=30) if piece]
    assert len(pieces) > 1
    assert {word for piece in pieces for word in piece.split()} == {"abc", "def"}


@pytest.mark.parametrize("start", range(12, 30))
def test_a_long_word_after_a_long_line_is_cut_between_characters(start):
    parts = ["ab " * (start // 3), "x" * (start % 3), *["e\u0301"] * 100]
    assert ends(smooth("line", parts, max_hold_chars=30)) <= boundaries("".join(parts))


@pytest.mark.parametrize("mark", ["\u0301", "\u200d👧", "्क"])
@units()
def test_a_character_without_end_is_bounded_too(by, mark):
    smoother = Smoother(by, max_hold_chars=20)
    out = smoother.push("e", 0.0)
    for _ in range(500):
        out += smoother.push(mark, 0.0)
        assert len(smoother._text) <= 20 + 20 + 2 * 16
    assert out + smoother.finish() == "e" + mark * 500


def test_a_character_that_grows_by_one_mark_per_stall_is_bounded_too():
    smoother = Smoother("word", hold=0.2, max_hold_chars=20)
    out = smoother.push("e", 0.0)
    for second in range(500):
        out += smoother.tick(second + 0.5) + smoother.push("\u0301", second + 1.0)
        assert len(smoother._text) <= 20 + 20 + 2 * 16
    assert out + smoother.finish() == "e" + "\u0301" * 500


@pytest.mark.parametrize("bad", [{"hold": -1.0}, {"max_hold_chars": 0}, {"by": "sentence"}])
def test_senseless_settings_are_refused(bad):
    with pytest.raises(ValueError):
        Smoother(**bad)


def test_a_smoother_is_as_new_after_the_end():
    smoother = Smoother("word")
    smoother.push("one 今天天气", 0.0)
    smoother.finish()
    assert smoother.deadline() is None
    assert smoother.push("two three", 0.0) == "two "


alphabet = st.one_of(
    st.sampled_from([char for text in TEXTS.values() for char in text]),
    st.characters(),
    st.sampled_from(["\u200d", "🇩", "\u0301", " ", "\n", "\r", "👩"]),
)
parts = st.lists(st.text(alphabet, max_size=8), max_size=25)


@given(parts, st.sampled_from(UNITS), st.integers(8, 300))
def test_any_text_in_any_portions_comes_out_exactly_and_bounded(portions, by, limit):
    smoother, text = Smoother(by, max_hold_chars=limit), "".join(portions)
    pieces, taken, given_out = [], 0, 0
    for part in portions:
        pieces.append(smoother.push(part, 0.0))
        taken, given_out = taken + len(part), given_out + len(pieces[-1])
        assert taken - given_out <= limit
        assert (smoother.deadline() is None) == (taken == given_out)
    pieces.append(smoother.finish())
    assert "".join(pieces) == text
    longest = max(map(len, regex.findall(r"\X", text)), default=0)
    if longest * 2 < limit:
        assert ends(pieces) <= boundaries(text)


@given(
    st.lists(st.tuples(st.text(alphabet, max_size=6), st.floats(0, 0.5)), max_size=25), st.sampled_from(UNITS)
)
def test_with_stalls_pieces_end_between_characters_or_where_the_text_stalled(steps, by):
    smoother, text = Smoother(by, hold=0.2), "".join(part for part, _ in steps)
    now, taken, pieces, stalled_at = 0.0, 0, [], set()
    for part, pause in steps:
        pieces.append(smoother.push(part, now))
        taken += len(part)
        now += pause
        due = smoother.deadline()
        piece = smoother.tick(now)
        pieces.append(piece)
        if piece:
            assert due is not None
            assert due <= now
            stalled_at.add(taken)
        if due is not None and due <= now:
            held = text[sum(map(len, pieces)) : taken]
            assert len(regex.findall(r"\X", held)) <= 1
            assert (
                held == "" or held[-1] in "\r\u200d" or "\ud800" <= held[-1] <= "\udbff" or "🇦" <= held <= "🇿"
            )
            assert smoother.deadline() is None
    pieces.append(smoother.finish())
    assert "".join(pieces) == text
    assert ends(pieces) <= boundaries(text) | stalled_at


class Counting:
    """Count the code points that a library is asked to look at."""

    def __init__(self, monkeypatch):
        self.looked_at = 0
        unicode = smoothing._unicode()
        monkeypatch.setattr(smoothing, "_unicode", lambda: unicode._replace(characters=self))
        self._characters = unicode.characters
        model = smoothing._model
        monkeypatch.setattr(smoothing, "_model", lambda language: CountingModel(model(language), self))

    def findall(self, text):
        self.looked_at += len(text)
        return self._characters.findall(text)


class CountingModel:
    def __init__(self, model, counter):
        self._model, self._counter = model, counter

    def parse(self, text):
        self._counter.looked_at += len(text)
        return self._model.parse(text)


@pytest.mark.parametrize(
    "text", ["今天天气很好我们去公园散步", "straßeführt", "วันนี้อากาศดีมาก", "การ" * 3, "ភាសាខ្មែរ"]
)
@units()
def test_the_libraries_look_at_each_character_a_bounded_number_of_times(monkeypatch, by, text):
    counter, times = Counting(monkeypatch), 12
    whole = text * times
    smooth(by, whole)
    assert 0 < counter.looked_at <= 14 * len(whole)
    one_by_one, counter.looked_at = counter.looked_at, 0
    smooth(by, whole * 2)
    assert counter.looked_at <= 2.1 * one_by_one


@units()
def test_a_long_answer_in_one_push_is_segmented_only_at_its_end(monkeypatch, by):
    counter, text = Counting(monkeypatch), "今天天气很好我们去公园散步" * 1000
    smooth(by, [text])
    assert counter.looked_at <= len(text) + 100


def test_ascii_never_loads_the_libraries():
    program = (
        "import sys; from everytoken.smoothing import Smoother\n"
        "for by in ('character', 'word', 'line'):\n"
        "    s = Smoother(by); s.push('Hello wor', 0); s.push('ld\\n', 0); s.tick(9); s.finish()\n"
        "assert not {'regex', 'budoux'} & set(sys.modules)\n"
        "s.push('é', 0); assert 'regex' in sys.modules and 'budoux' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_preload_leaves_nothing_to_load():
    smoothing._model.cache_clear()
    smoothing.preload()
    loaded = smoothing._model.cache_info().misses
    smooth("word", "今天天气很好" + "變換器模型使用" + "これは変換器モデル" + "วันนี้อากาศดี")
    assert smoothing._model.cache_info().misses == loaded
