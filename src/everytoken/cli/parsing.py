"""The Markdown of language models, as tokens: CommonMark with tables, emphasis beside Chinese, and LaTeX left as it is."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Scanned

if TYPE_CHECKING:
    from markdown_it.rules_block import StateBlock
    from markdown_it.token import Token
    from markdown_it.utils import EnvType

__all__ = ["markdown_parser"]

# Inline mathematics. Of `$`: nothing blank inside the signs and no digit behind them, or prices would be mathematics.
_MATH: Final = re.compile(
    r"\\\([^\n]*?\\\)|\\\[.*?\\\]|\$\$.+?\$\$|\$(?![\s$])(?:\\.|[^$\\\n])+?(?<!\s)\$(?!\d)", re.DOTALL
)
_SELECTORS: Final = re.compile(
    r"[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)  # of a variant of the character before
_BLOCK: Final = re.compile(r"\\\[|\$\$|\\begin(\{[^}]*\})")


def markdown_parser() -> MarkdownIt:
    """Return a parser. HTML is treated as text, or a terminal would show nothing of it."""
    parser = MarkdownIt()
    parser.inline = _Inline()
    parser.configure("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.inline.ruler.before("escape", "math", _math)
    parser.block.ruler.before(
        "fence", "math_block", _math_block, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    return parser


def _math(state: StateInline, silent: bool) -> bool:  # noqa: FBT001  # the parser's signature
    """Take mathematics as it is written: a backslash in it is LaTeX's, and an underscore is no emphasis."""
    if state.src[state.pos] not in "\\$":
        return False
    found = _MATH.match(state.src, state.pos, state.posMax)
    # Half of it may yet be missing: its brackets are no escapes even then.
    end = found.end() if found else state.pos + 2 if _is_bracket(state) else 0
    if not end:
        return False
    if not silent:
        state.pending += state.src[state.pos : end]
    state.pos = end
    return True


def _is_bracket(state: StateInline) -> bool:
    return state.src[state.pos] == "\\" and state.src[state.pos + 1 : min(state.pos + 2, state.posMax)] in {
        *"()[]"
    }


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001
    """Take a formula that begins a line; an open one ends with its paragraph."""
    first = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]].rstrip()
    found = _BLOCK.match(first)
    if found is None or state.is_code_block(start):
        return False
    closing = f"\\end{found[1]}" if found[1] else {"$$": "$$"}.get(found[0], "\\]")
    rest = first[found.end() :]
    after = start + 1
    if closing not in rest:
        while after < end and not state.isEmpty(after) and state.sCount[after] >= state.blkIndent:
            after += 1
            if state.src[state.bMarks[after - 1] : state.eMarks[after - 1]].rstrip().endswith(closing):
                break
    elif rest.find(closing) + len(closing) != len(rest):
        return False  # there is text behind it: it is part of a paragraph
    if silent:
        return True
    token = state.push("math_block", "math", 0)
    token.content = state.getLines(start, after, state.blkIndent, False).rstrip()
    token.map = [start, after]
    state.line = after
    return True


class _State(StateInline):
    """A paragraph's state. Chinese, Japanese and Korean have no spaces beside punctuation, so their letters count as such.

    Source: CommonMark 0.31, section 6.2, with the amendments of github.com/tats-u/markdown-cjk-friendly.
    """

    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:  # noqa: FBT001, N802, N803  # the parser's names
        """Return whether the run of markers at `start` can open emphasis, whether it can close it, and its length."""
        after = start
        while after < self.posMax and self.src[after] == self.src[start]:
            after += 1
        last = _SELECTORS.sub("", self.src[max(start - 3, 0) : start])
        before, behind = last[-1:] or " ", self.src[after] if after < self.posMax else " "
        blank_before, blank_behind = isWhiteSpace(ord(before)), isWhiteSpace(ord(behind))
        mark_before, mark_behind = _is_mark(before), _is_mark(behind)
        left = not blank_behind and (not mark_behind or blank_before or mark_before or _is_wide(before))
        right = not blank_before and (not mark_before or blank_behind or mark_behind or _is_wide(behind))
        opens = left and (canSplitWord or not right or _is_punctuation(before))
        closes = right and (canSplitWord or not left or _is_punctuation(behind))
        return Scanned(opens, closes, after - start)


class _Inline(ParserInline):
    """The parser of paragraphs, as it is but for its state."""

    def parse(self, src: str, md: MarkdownIt, env: EnvType, tokens: list[Token]) -> list[Token]:
        state = _State(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens


def _is_punctuation(character: str) -> bool:
    return isMdAsciiPunct(ord(character)) or isPunctChar(character)


def _is_mark(character: str) -> bool:
    return not _is_wide(character) and _is_punctuation(character)


def _is_wide(character: str) -> bool:
    """Whether a character is one of East Asia, punctuation included; emoji are not."""
    return (
        unicodedata.east_asian_width(character) in {"W", "F", "H"} and unicodedata.category(character) != "So"
    )
