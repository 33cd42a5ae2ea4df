"""What happens to a field: it is said, dropped because that is harmless, or refused. One row each, in a table per API and way.

Rows for reading have the fields of an API, rows for writing those of the neutral request. What happens to a caller's field
at an upstream of another API is what both say together: `docs/apis.md` is made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from everytoken.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.translation.request import NeutralRequest

__all__ = [
    "Fate",
    "Row",
    "Rows",
    "checked",
    "checked_type",
    "dropped",
    "fate_of",
    "refuse_unsaid",
    "refused",
    "rows",
    "said",
]

Fate = Literal["said", "dropped", "refused"]


class Row(msgspec.Struct, frozen=True, gc=False):
    """A field, `a.b` for one inside another, or a type of parts, items or tools.

    `neutral`: which field or kind it is read into. `note`: how it is said, why dropping it is harmless, or why it is
    refused. `harmless`: values that ask for nothing, and are not refused.
    """

    name: str
    fate: Fate
    neutral: str = ""
    note: str = ""
    harmless: tuple[Any, ...] = ()


Rows = dict[str, Row]


def said(name: str, neutral: str = "", note: str = "") -> Row:
    """Return a row of what can be said. `neutral`: as what, where that has another name."""
    return Row(name, "said", neutral or name, note)


def dropped(name: str, note: str) -> Row:
    """Return a row of what is left out. `note`: why that is harmless."""
    return Row(name, "dropped", "", note)


def refused(name: str, note: str, *harmless: Any) -> Row:
    """Return a row of what is refused, unless it is one of the `harmless` values or null."""
    return Row(name, "refused", "", note, harmless)


def rows(*given: Row) -> Rows:
    """Return a table."""
    table = {row.name: row for row in given}
    assert len(table) == len(given)
    return table


def checked(body: Mapping[str, Any], table: Rows, api: str, within: str = "") -> dict[str, str]:
    """Refuse what `table` refuses, and what is not in it; return where the neutral fields are.

    null asks for nothing. Raises `InvalidRequestError`, whose `param` names the field.
    """
    paths: dict[str, str] = {}
    for name, value in body.items():
        if value is None:
            continue
        path = within + name
        row = table.get(path)
        if row is None:
            if any(known.startswith(f"{path}.") for known in table):
                if not isinstance(value, dict):
                    raise InvalidRequestError(f"'{path}' must be an object", param=path)
                paths |= checked(value, table, api, f"{path}.")
                continue
            raise InvalidRequestError(
                f"'{path}' is not a field of {api} that can be translated for an upstream of another API",
                param=path,
            )
        if row.fate == "refused" and not any(_same(value, one) for one in row.harmless):
            raise InvalidRequestError(f"'{path}' cannot be translated: {row.note}", param=path)
        if row.fate == "said":
            paths[row.neutral] = path
    return paths


def checked_type(group: str, name: Any, table: Rows, api: str, at: str) -> Row:
    """Return the row of a type of `group`, such as `part`. Raises `InvalidRequestError` for one that cannot be translated.

    `at`: where the caller wrote what is of this type.
    """
    row = table.get(f"{group} {name}") if isinstance(name, str) else None
    if row is None:
        raise InvalidRequestError(
            f"'{at}' is of type {name!r}, which is not one of {api} that can be translated for an upstream of another API",
            param=at,
        )
    if row.fate == "refused":
        raise InvalidRequestError(f"'{at}' of type {name!r} cannot be translated: {row.note}", param=at)
    return row


def refuse_unsaid(request: NeutralRequest, table: Rows, api: str) -> None:
    """Refuse what is in `request` and cannot be written. Raises `InvalidRequestError`, whose `param` is the caller's."""
    for row in table.values():
        if row.fate == "refused" and getattr(request, row.name) not in (None, [], {}):
            path = request.path(row.name)
            raise InvalidRequestError(f"'{path}' cannot be said to {api}: {row.note}", param=path)


def fate_of(row: Row, writes: Rows) -> tuple[Fate, str]:
    """Return what happens to a caller's field at an upstream that writes by `writes`, and the note."""
    if row.fate != "said":
        return row.fate, row.note
    written = writes[row.neutral]
    if written.fate != "said":
        return written.fate, written.note
    return written.fate, "; ".join(dict.fromkeys(note for note in (row.note, written.note) if note))


def _same(value: Any, harmless: Any) -> bool:
    """Compare without taking 0 for false, or 1 for true."""
    return value == harmless and isinstance(value, bool) == isinstance(harmless, bool)
