"""Write docs/limits.md anew from `everytoken.gateway.limits`."""  # noqa: INP001

from __future__ import annotations

from pathlib import Path

import msgspec

from everytoken.gateway import Config
from everytoken.gateway.limits import LIMITS

PAGE = Path(__file__).parents[1] / "docs" / "limits.md"

_HEAD = """# Limits

Everything that comes in has a limit: from callers, from web pages, from upstreams. This page is made by
`python tools/limits_docs.py` from the table in `everytoken.gateway.limits`. Where a setting is named, it is one of the
[configuration](gateway.md#configuration), and the number is its default.

| what | number | setting | at the limit | why this number |
|---|---|---|---|---|
"""


def page() -> str:
    """Return the page as it is now."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(Config)}
    rows = []
    for limit in LIMITS:
        number = limit.number or _shown(limit.what, defaults[limit.setting])
        setting = f"`{limit.setting}`" if limit.setting else ""
        rows.append(f"| {limit.what} | {number} | {setting} | {limit.overflow} | {limit.reason} |")
    return _HEAD + "\n".join(rows) + "\n"


def _shown(what: str, value: float) -> str:
    if what.startswith("bytes"):
        for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
            if value >= size and value % size == 0:
                return f"{int(value // size)} {unit}"
    return f"{value:,.0f} s" if what.startswith("seconds") else f"{value:,.0f}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
