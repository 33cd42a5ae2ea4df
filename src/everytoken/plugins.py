"""What other packages add, by Python's entry points; loaded when its name is used and is not built in.

A package says what it adds in its metadata, for example in `pyproject.toml`:

    [project.entry-points."everytoken.journals"]
    dynamodb = "my_package.journal:journal_at"
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Final, Literal, get_args

from everytoken.errors import ConfigurationError

__all__ = ["GROUPS", "Group", "load"]

Group = Literal[
    "everytoken.upstreams",
    "everytoken.journals",
    "everytoken.formats",
    "everytoken.observers",
    "everytoken.dialects",
]

GROUPS: Final[tuple[Group, ...]] = get_args(Group)


def load(group: Group, name: str) -> Any:
    """Return what an installed package adds under `name`, or None if none does. Reads files: call it at the start.

    Raises `ConfigurationError` if it cannot be loaded, or if two packages add the same name.
    """
    found = tuple(entry_points(group=group, name=name))
    if not found:
        return None
    if len(found) > 1:
        packages = " and ".join(sorted(one.dist.name if one.dist else "?" for one in found))
        raise ConfigurationError(f"{name!r} of {group} is in two packages: {packages}")
    [only] = found
    try:
        return only.load()
    except Exception as error:
        package = f"the package {only.dist.name}" if only.dist else "a package"
        raise ConfigurationError(
            f"{name!r} of {group}, from {package}, cannot be loaded: {type(error).__name__}: {error}"
        ) from error
