"""Content in fields that we do not know by name: audio, images, annotations, signatures, and what comes next year.

Text grows, objects grow field by field, lists grow by their items; so a value is a set of leaves, each at a path. A
repetition has to give every leaf again, in whatever pieces, and what goes beyond is new.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import DivergedError, MalformedEventError
from everytoken.recovery.cursor import Cursor

if TYPE_CHECKING:
    from everytoken.dialects.pieces import New
    from everytoken.dialects.pieces import Place as Path

__all__ = ["Fields", "RepeatedFields"]

_CONSTANT: Final = frozenset({"format", "index", "name", "object", "role", "type"})
"""Fields that a server repeats with every piece rather than continues."""

_IDENTITY: Final = frozenset({"id", "expires_at", "created"})
"""Fields that another attempt has otherwise without being another response; those delivered stand."""

_MAX_LEAVES: Final = 100_000
_LEAF: Final = 200  # bytes that a leaf takes beside its text
_MAX_DEPTH: Final = 64


class Fields:
    """What has been delivered; `size` is about how many bytes it takes.

    `wholes`: the values of fields that are given whole each time, such as the list of sources beside the choices.
    """

    __slots__ = ("_counts", "fixed", "size", "texts", "values", "wholes")

    def __init__(self) -> None:
        self.texts: dict[Path, list[str]] = {}
        self.values: dict[Path, list[Any]] = {}
        self.fixed: dict[Path, Any] = {}
        self.wholes: dict[str, list[Any]] = {}
        self._counts: dict[Path, int] = {}
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self.texts or self.values or self.wholes)

    def add_whole(self, name: str, value: Any) -> None:
        """Add a field that is given whole."""
        values = self.wholes.setdefault(name, [])
        if value not in values:
            values.append(value)
            self.size += _LEAF + len(repr(value))

    def add(self, path: Path, value: Any) -> None:
        """Add what the field at `path` has brought. Raises `MalformedEventError` for what has no end."""
        self._add(path, str(path[-1]), value)

    def _add(self, path: Path, name: str, value: Any) -> None:
        if len(path) > _MAX_DEPTH or len(self.texts) + len(self.values) > _MAX_LEAVES:
            raise MalformedEventError("a field of the answer has too many parts")
        if isinstance(value, dict):
            for key, item in value.items():
                self._add((*path, key), key, item)
        elif isinstance(value, list):
            for item in value:
                self._add((*path, self.place_of(path, item)), name, item)
        elif name in _CONSTANT or name in _IDENTITY:
            if value is not None and path not in self.fixed:
                self.fixed[path] = value
                self.size += _LEAF
        elif isinstance(value, str):
            if value:
                self.texts.setdefault(path, []).append(value)
                self.size += len(value) + _LEAF
        elif value is not None and not isinstance(value, bool):
            self.values.setdefault(path, []).append(value)
            self.size += _LEAF

    def place_of(self, path: Path, item: Any) -> str | int:
        """Return the place in a list that an item has by its `index`, or the next one."""
        index = item.get("index") if isinstance(item, dict) else None
        if isinstance(index, int):
            return f"index {index}"
        count = self._counts.get(path, 0)
        self._counts[path] = count + 1
        return count


class RepeatedFields:
    """What was delivered coming again; of `delivered`, which grows meanwhile, as it is now."""

    __slots__ = ("_fixed", "_places", "_texts", "_values", "_wholes")

    def __init__(self, delivered: Fields | None) -> None:
        delivered = delivered or Fields()
        self._texts = {path: Cursor(_shown(path), "".join(parts)) for path, parts in delivered.texts.items()}
        self._values = {path: deque(values) for path, values in delivered.values.items()}
        self._fixed = dict(delivered.fixed)
        self._wholes = {name: list(values) for name, values in delivered.wholes.items()}
        self._places = Fields()

    @property
    def caught_up(self) -> bool:
        """Whether everything has come again."""
        return not (self._texts or self._values)

    def new(self, path: Path, value: Any) -> New:
        """Return what of a field has to be passed on if anything of its chunk is, and whether it is new itself.

        Raises `DivergedError`. What is not new is None, but for flags: they tell of what they stand beside.
        """
        return self._new(path, str(path[-1]), value)

    def new_whole(self, name: str, value: Any) -> Any:
        """Return a field that is given whole if it is new, None if it has been delivered. Raises `DivergedError`."""
        delivered = self._wholes.setdefault(name, [])
        if value in delivered:
            return None
        last = delivered[-1] if delivered else None
        if isinstance(last, list) and isinstance(value, list) and value[: len(last)] != last:
            raise DivergedError(f"the repeated {name} differs")
        delivered.append(value)
        return value

    def _new(self, path: Path, name: str, value: Any) -> tuple[Any, bool]:
        """Return what has to be passed on of a value if anything beside it is new, and whether it is new itself."""
        if isinstance(value, dict):
            result, any_new = {}, False
            for key, item in value.items():
                found, is_new = self._new((*path, key), key, item)
                any_new = any_new or is_new
                if is_new or (found is not None and (key in _CONSTANT or isinstance(found, bool | dict))):
                    result[key] = found
            if not any_new:
                result = {key: found for key, found in result.items() if isinstance(found, bool | dict)}
            return result or None, any_new
        if isinstance(value, list):
            items = [self._new((*path, self._places.place_of(path, item)), name, item) for item in value]
            kept = [found for found, is_new in items if is_new]
            return kept or None, bool(kept)
        if name in _CONSTANT or name in _IDENTITY:
            return self._new_constant(path, name, value)
        if isinstance(value, bool):
            return value, False
        if isinstance(value, str):
            text = self._new_text(path, value)
            return text or None, bool(text)
        if value is None or not self._is_new_value(path, value):
            return None, False
        return value, True

    def _new_constant(self, path: Path, name: str, value: Any) -> tuple[Any, bool]:
        if value is None:
            return None, False
        if path not in self._fixed:
            return value, True
        if name in _CONSTANT and self._fixed[path] != value:
            raise DivergedError(f"the repeated {_shown(path)} differs")
        return value, False

    def _new_text(self, path: Path, piece: str) -> str:
        cursor = self._texts.get(path)
        if cursor is None:
            return piece
        new = cursor.advance(piece)
        if cursor.caught_up:
            del self._texts[path]
        return new

    def _is_new_value(self, path: Path, value: Any) -> bool:
        left = self._values.get(path)
        if left is None:
            return True
        if left[0] != value:
            raise DivergedError(f"the repeated {_shown(path)} differs")
        left.popleft()
        if not left:
            del self._values[path]
        return False


def _shown(path: Path) -> str:
    return str(path[0])
