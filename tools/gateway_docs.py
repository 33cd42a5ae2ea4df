# ruff: noqa: INP001  # a program, not a package
"""Write the table of error codes into docs/gateway.md: `python tools/gateway_docs.py`."""

from __future__ import annotations

import re
from pathlib import Path

from everytoken import errors

PAGE = Path(__file__).parent.parent / "docs" / "gateway.md"
_TABLE = re.compile(r"(<!-- error codes -->\n).*?(?=<!-- end of error codes -->)", re.DOTALL)
_SENTENCE = re.compile(r"(.*?)[.;](?: |\n|$)", re.DOTALL)
_OWN = {"internal-error": "a bug in everytoken; its log has more"}


def meanings() -> dict[str, str]:
    """Return what each code means: the beginning of its class's description."""
    found = dict.fromkeys(errors.TABLE, "")
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, errors.EverytokenError) and "code" in vars(kind):
            found[kind.code] = _beginning(kind)
    for code in found:
        if code.startswith("upstream-stalled-"):
            found[code] = _beginning(errors.StalledError)
    return found | _OWN


def _beginning(kind: type) -> str:
    match = _SENTENCE.match(kind.__doc__ or "")
    return match[1].replace("\n", " ") if match else ""


def table() -> str:
    """Return the table of error codes."""
    lines = ["| code | status | type | again? | what has happened |", "|---|---|---|---|---|"]
    for code, meaning in meanings().items():
        info = errors.TABLE[code]
        again = "yes" if info.retryable else "no"
        lines.append(f"| `{code}` | {info.status} | `{info.type}` | {again} | {meaning} |")
    return "\n".join(lines) + "\n"


def renewed(page: str) -> str:
    """Return `page` with the table as it is now."""
    return _TABLE.sub(lambda match: match[1] + table(), page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
