"""Write docs/limits.md anew from `everytoken.gateway.limits`."""  # noqa: INP001

from __future__ import annotations

from pathlib import Path

import msgspec

from everytoken.gateway import Config
from everytoken.gateway.limits import LIMITS

PAGE = Path(__file__).parents[1] / "docs" / "limits.md"

_BYTES = {
    "max_head",
    "max_url",
    "max_body",
    "max_bodies",
    "max_response",
    "max_stream",
    "max_key_bytes",
    "max_journal",
}
_SECONDS = {"grace", "max_grace", "max_duration"}
_HEAD = """# Limits

Everything that comes in has a limit: from callers, from web pages, from upstreams. The settings are those of the
[configuration](gateway.md#configuration), and the numbers are their defaults. `python tools/limits_docs.py` makes this
page from the table in `everytoken.gateway.limits`.

| what | number | setting | at the limit | why this number |
|---|---|---|---|---|
"""


def page() -> str:
    """Return the page as it is now."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(Config)}
    rows = []
    for limit in LIMITS:
        number = limit.number or _shown(limit.setting, defaults[limit.setting])
        setting = f"`{limit.setting}`" if limit.setting else ""
        rows.append(f"| {limit.what} | {number} | {setting} | {limit.overflow} | {limit.reason} |")
    return _HEAD + "\n".join(rows) + "\n"


def _shown(setting: str, value: float) -> str:
    if value == 0:
        return "none"
    if setting in _BYTES:
        for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
            if value >= size and value % size == 0:
                return f"{int(value // size)} {unit}"
    return f"{value:,.0f} s" if setting in _SECONDS or setting.endswith("_timeout") else f"{value:,.0f}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
