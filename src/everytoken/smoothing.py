"""Text as it is shown: by character, word or line, whole characters always, never held for long.

A *character* here is an extended grapheme cluster (UAX #29): an emoji family, a flag, a letter with its marks,
a Hangul syllable, CR LF. What is pushed comes out in pieces that joined are exactly what was pushed, whatever
the pushes were. Where a piece may end:

- `character`: after every character;
- `word`: where white space (or another mark that separates words) begins or ends, and, in scripts that write no
  spaces, where a library says that a word ends (docs/decisions/0003-segmentation.md);
- `line`: after a line feed.

The last character stays open until something follows that it cannot grow by: `e` may become `é`, half a flag a
flag. So the space that ends a word may itself come with the next piece; the word does not wait for it.

When the upstream stalls, all of it goes out after `hold` seconds, but for a character that announces that it
continues (half a flag, a zero-width joiner, a CR, half a surrogate pair): that waits for its other half or the end. A
character that was complete when the hold ended and grows afterwards is the one case in which a piece ends
inside a character; the alternative would be to withhold the last character of every stall.

A lone surrogate is a character like any other and stays as it is; code that encodes it has to replace it.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from budoux import Parser
    from regex import Pattern

# White space that breaks (so not U+00A0, U+2007, U+202F), the zero-width space by which Khmer, Lao and Thai writers
# mark words, the Tibetan tsheg and the Ethiopic wordspace.
_SEPARATORS = "\t\n\v\f\r \x85\u0f0b\u1361\u1680\u2000-\u2006\u2008-\u200b\u2028\u2029\u205f\u3000"
_SEPARATOR = re.compile(f"[{_SEPARATORS}]")
_LAST_SEPARATOR = re.compile(f"(?s:.*)[{_SEPARATORS}]")
# Controls that nothing can join (UAX #29, GB4), so never open.
_COMPLETE = frozenset("\t\n\u200b\u2028\u2029")
# Thai; nothing below it needs a look at its script.
_FIRST_UNSPACED = "\u0e00"
# What BudouX looks at on either side of a boundary.
_LOOKBEHIND = _LOOKAHEAD = 3
# Released characters that are kept to tell Japanese from Chinese and traditional from simplified.
_CONTEXT = 16


class Smoother:
    """Hold text back until a character, word or line is whole.

    `by`: the unit of a piece. `hold`: seconds after the last push at which held text goes out. `max_hold_chars`:
    code points that may stay held after a push; of a longer word or line, the part up to its last whole
    word or character goes out, and a longer character is cut.

    The cost of a push grows with the text pushed, not with the text so far.
    """

    def __init__(
        self,
        by: Literal["character", "word", "line"] = "word",
        *,
        hold: float = 0.2,
        max_hold_chars: int = 256,
    ) -> None:
        if by not in {"character", "word", "line"}:
            raise ValueError(f"by must be character, word or line, not {by!r}")
        if hold < 0 or max_hold_chars < 1:
            raise ValueError("hold must not be negative, max_hold_chars must be positive")
        self._by = by
        self._hold = hold
        self._limit = max_hold_chars
        self._reset()

    def _reset(self) -> None:
        self._text = ""  # some released context, then what is held
        self._shown = 0  # end of the released part
        self._closed = 0  # start of the last character when it is open, otherwise the end
        self._pending: list[int] = []  # ends of characters that wait for the segmenter's lookahead
        self._word_end = 0  # the last one, in line mode where a line may turn out to be too long
        self._deadline: float | None = None

    def push(self, text: str, now: float) -> str:
        """Take the next part of the text; return what may be shown at `now` (seconds on any clock), or ""."""
        if not text:
            return ""
        self._text += text
        piece = self._release(self._find_cut())
        self._deadline = now + self._hold if self._shown < len(self._text) else None
        return piece

    def deadline(self) -> float | None:
        """Return when to call `tick` if nothing more comes; None when nothing is held that can go out alone."""
        return self._deadline

    def tick(self, now: float) -> str:
        """Return the held text if its time has passed at `now`, or ""."""
        if self._deadline is None or now < self._deadline:
            return ""
        self._deadline = None
        unfinished = _announces_more(self._text[self._closed :])
        return self._release(self._closed if unfinished else len(self._text))

    def finish(self) -> str:
        """Return everything that is left; the text has ended."""
        piece = self._text[self._shown :]
        self._reset()
        return piece

    def _find_cut(self) -> int:
        """Close the characters that can be, and return the last place among them where a piece may end."""
        seen = self._closed
        if self._text.isascii():
            self._closed = len(self._text) - (self._text[-1] not in _COMPLETE)
            word_end = _spaced_word_end(self._text, seen, self._closed) if self._by != "character" else 0
        else:
            ends = self._close_characters()
            word_end = self._last_word_end(ends) if self._by != "character" else 0
        if self._by == "character":
            return self._closed
        if self._by == "word":
            return word_end
        self._word_end = max(self._word_end, word_end)
        return self._text.rfind("\n", seen) + 1

    def _close_characters(self) -> list[int]:
        """Return the ends of the characters that became closed."""
        found = _unicode().characters.findall(self._text[self._closed :])
        ends = list(accumulate(map(len, found), initial=self._closed))[1:]
        if self._text[-1] in _COMPLETE:
            self._closed = ends[-1]
        elif len(ends) > 1:
            self._closed = ends[-2]
            del ends[-1]
        else:
            ends.clear()
        return ends

    def _last_word_end(self, ends: list[int]) -> int:
        """Return the last of `ends` that ends a word, 0 if none; keep those for later that cannot be told yet."""
        text, undecided = self._text, []
        candidates = self._pending + ends
        told_from, told = len(text), set[int]()
        word_end = 0
        for i in reversed(candidates):
            if _SEPARATOR.search(text, i - 1, i + 1):
                word_end = i
                break
            before, after = text[i - 1], text[i : i + 1]
            if before < _FIRST_UNSPACED and after < _FIRST_UNSPACED:
                continue
            if _unicode().segmented.search(text, i - 1, i + 1):
                if i + _LOOKAHEAD > len(text):
                    undecided.append(i)
                    continue
                if i < told_from:
                    told_from = max(candidates[0], i - _CONTEXT)
                    told = _segment(text, told_from, i)
                if i in told:
                    word_end = i
                    break
            elif _unicode().unsegmented.match(text, i):
                word_end = i
                break
        self._pending = undecided[::-1]
        return word_end

    def _release(self, cut: int) -> str:
        """Return the held text up to `cut`, or further if too much would stay held."""
        size = len(self._text)
        for end in (cut, self._word_end, self._closed, size):
            cut = max(end, self._shown)
            if size - cut <= self._limit:
                break
        piece = self._text[self._shown : cut]
        if piece:
            self._shown = cut
            self._forget()
        return piece

    def _forget(self) -> None:
        """Drop released text that can no longer matter."""
        drop = min(self._closed, self._shown - _CONTEXT)
        if self._shown - drop > self._limit + _CONTEXT:  # a character without end: what follows is a new one
            self._closed = self._shown
            drop = self._shown - _CONTEXT
        if drop > 0:
            self._text = self._text[drop:]
            self._shown -= drop
            self._closed -= drop
        drop = max(drop, 0)
        self._word_end = max(self._word_end - drop, 0)
        self._pending = [end - drop for end in self._pending if end - drop > self._shown]


def preload() -> None:
    """Read the libraries and models that the first text beyond ASCII needs (some 30 ms): for a server's start."""
    _unicode()
    for language in ("zh-hans", "zh-hant", "ja", "th"):
        _model(language)


def _spaced_word_end(text: str, start: int, end: int) -> int:
    """Return the last word end in (`start`, `end`] of an ASCII text, 0 if none."""
    if _SEPARATOR.match(text, end):
        return end
    found = _LAST_SEPARATOR.match(text, start, end)
    return found.end() if found else 0


def _announces_more(character: str) -> bool:
    """Tell whether a character is visibly cut: CR, half a flag, a joiner, half a surrogate pair at its end."""
    half_flag = len(character) == 1 and "\U0001f1e6" <= character <= "\U0001f1ff"
    return half_flag or character.endswith(("\r", "\u200d")) or "\ud800" <= character[-1:] <= "\udbff"


class _Unicode(NamedTuple):
    characters: Pattern[str]
    segmented: Pattern[str]  # scripts whose words a model of BudouX finds
    unsegmented: Pattern[str]  # scripts without spaces and without a model: every character is a word
    thai: Pattern[str]
    kana: Pattern[str]


@cache
def _unicode() -> _Unicode:
    import regex  # noqa: PLC0415  # tens of ms that ASCII text never pays

    return _Unicode(
        # \X takes the halves of a surrogate pair for two characters; joined they are one.
        characters=regex.compile(r"[\ud800-\udbff][\udc00-\udfff]|\X"),
        segmented=regex.compile(
            r"[\p{Han}\p{Hira}\p{Kana}\p{Bopo}\p{Thai}\u3001-\u303f\u30fb\u30fc\uff01-\uff65]"
        ),
        unsegmented=regex.compile(r"\p{Line_Break=SA}"),
        thai=regex.compile(r"\p{Thai}"),
        kana=regex.compile(r"[\p{Hira}\p{Kana}]"),
    )


@cache
def _model(language: str) -> Parser:
    import budoux  # noqa: PLC0415  # only text in these scripts pays for it

    load = {
        "zh-hans": budoux.load_default_simplified_chinese_parser,
        "zh-hant": budoux.load_default_traditional_chinese_parser,
        "ja": budoux.load_default_japanese_parser,
        "th": budoux.load_default_thai_parser,
    }
    return load[language]()


def _language_at(text: str, index: int) -> str:
    """Guess the language around `index`: Thai by script, Japanese by kana nearby, Chinese by its characters."""
    if _unicode().thai.search(text, index - 1, index + 1):
        return "th"
    near = text[max(index - _CONTEXT, 0) : index + _LOOKAHEAD]
    if _unicode().kana.search(near):
        return "ja"
    # GB 2312 has the simplified characters and Big5 the traditional ones, so the better fit tells.
    traditional = len(near.encode("big5", "ignore")) > len(near.encode("gb2312", "ignore"))
    return "zh-hant" if traditional else "zh-hans"


def _segment(text: str, first: int, last: int) -> set[int]:
    """Return the word ends from `first` to `last` by the library.

    It looks three characters to either side of each, so what it says of them is final.
    """
    start = max(first - _LOOKBEHIND, 0)
    words: Sequence[str] = _model(_language_at(text, last)).parse(text[start : last + _LOOKAHEAD])
    return set(accumulate(map(len, words), initial=start))
