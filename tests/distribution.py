"""A package as `pip` would install it, for tests of entry points: metadata, and a module."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def install(
    patch: pytest.MonkeyPatch, folder: Path, name: str, code: str, entry_points: dict[str, str]
) -> str:
    """Put a distribution on `sys.path`: `code` is its module, and `entry_points` maps `group:name` to what is in it.

    Returns the folder. What the module has is called `name.thing`.
    """
    site = folder / name
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    lines = []
    for key, thing in entry_points.items():
        group, _, entry = key.partition(":")
        lines += [f"[{group}]", f"{entry} = {name}:{thing}"]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (site / f"{name}.py").write_text(code, encoding="utf-8")
    patch.syspath_prepend(site)
    patch.delitem(sys.modules, name, raising=False)
    return str(site)
