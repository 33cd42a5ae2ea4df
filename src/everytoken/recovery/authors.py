"""Which models have written the delivered text, and whether another attempt is of the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.dialects.dialect import Dialect

__all__ = ["Author", "is_same", "names_of", "reported_in", "with_author"]


class Author(NamedTuple):
    """A model, by the name that its upstream was asked for, and by the one that the upstream reported.

    `asked` is None where another process asked, `reported` "" where nothing was reported.
    """

    asked: str | None
    reported: str = ""


def with_author(authors: tuple[Author, ...], author: Author, *, continued: bool) -> tuple[Author, ...]:
    """Return whose text it is once `author` has delivered a part of it.

    An attempt that has `continued` the text shares it. Any other has written all of it: what was delivered before came
    again, byte for byte.
    """
    if not continued:
        return (author,)
    known = author in authors or is_same(authors, author)
    return authors if known else (*authors, author)


def is_same(authors: Sequence[Author], author: Author) -> bool:
    """Whether everything delivered is, by all that is known, of the same model as `author`."""
    return bool(authors) and all(_is_same(known, author) for known in authors)


def _is_same(known: Author, other: Author) -> bool:
    if other.asked != known.asked and not (known.reported and other.asked == known.reported):
        return False
    # Some servers report whatever name they were asked for, which says nothing.
    said = known.reported not in {"", known.asked, other.asked}
    says = other.reported not in {"", known.asked, other.asked}
    return not (said and says) or known.reported == other.reported


def names_of(authors: Sequence[Author]) -> str:
    """Return the names of the models that have written a text."""
    return ", ".join(author.reported or author.asked or "unknown" for author in authors) or "unknown"


def reported_in(dialect: Dialect, record: bytes | None) -> str:
    """Return what a record says the model is called; "" where it does not say, or its dialect cannot tell."""
    find = getattr(dialect, "model_in", None)  # dialects of other packages may be older than it
    if record is None or find is None:
        return ""
    found: str = find(record)
    return found
