# ruff: noqa: INP001  # a program, not a package
"""Write what is made of the tables of settings in the docs: `python tools/settings_docs.py`.

The tables say what each setting means. The commands `check` and `config` say it too, and so does the schema for editors.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
MEANINGS = ROOT / "src" / "everytoken" / "gateway" / "meanings.py"
SCHEMA = ROOT / "deploy" / "everytoken.schema.json"
TABLES = {
    "Config": ("gateway.md", "## Configuration"),
    "PriceConfig": ("gateway.md", '### `[prices."MODEL"]`'),
    "Policy": ("gateway.md", "### `[policy]`"),
    "BreakerConfig": ("gateway.md", "### `[breaker]`"),
    "UpstreamConfig": ("gateway.md", "### `[[upstream]]`"),
    "Rates": ("operations.md", "## Limits"),
}
LIMITS = {
    "all": "what all together may use",
    "each_key": "what each key may use that has no limits of its own",
    "models": "what one model may be asked for, by its name",
}
_ROW = re.compile(r"^\| (`[a-z0-9_]+`(?:, `[a-z0-9_]+`)*) \|(?: (?:`[^|]*`)? ?\|)? ([^|]+) \|$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def meanings() -> dict[str, dict[str, str]]:
    """Return what each setting means: kind -> name -> meaning."""
    found = {}
    for kind, (page, heading) in TABLES.items():
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        section = re.split(r"^##", text.split(f"\n{heading}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
        found[kind] = {
            name: _LINK.sub(r"\1", meaning)
            for names, meaning in _ROW.findall(section)
            for name in re.findall(r"`([a-z0-9_]+)`", names)
        }
    return {**found, "LimitsConfig": LIMITS}


def module() -> str:
    """Return the module that holds them."""
    lines = [
        '"""What each setting means, from the tables of the docs; `python tools/settings_docs.py` writes this."""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Final",
        "",
        '__all__ = ["MEANINGS"]',
        "",
        "MEANINGS: Final[dict[str, dict[str, str]]] = {",
    ]
    for kind, of in meanings().items():
        lines.append(f'    "{kind}": {{')
        lines += [f"        {_quoted(name)}: {_quoted(meaning)}," for name, meaning in of.items()]
        lines.append("    },")
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    """Return a text as the formatter would write it."""
    if text.count('"') > text.count("'"):
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return json.dumps(text, ensure_ascii=False)


def schema() -> str:
    """Return the schema for editors."""
    from everytoken.gateway.schema import schema as made  # noqa: PLC0415  # it reads what was written just now

    return json.dumps(made(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    MEANINGS.write_text(module(), encoding="utf-8")
    SCHEMA.parent.mkdir(exist_ok=True)
    SCHEMA.write_text(schema(), encoding="utf-8")
