"""The report as a page, of which one section is written anew."""

from __future__ import annotations

__all__ = ["into"]


def into(page: str, title: str, section: str) -> str:
    """Return the page with `section` in place of the one of this title, or before the one on decoding."""
    before, found, rest = page.partition(f"{title}\n")
    if not found:
        before, _, rest = page.partition("## SSE decoding\n")
        return f"{before}{section}\n\n## SSE decoding\n{rest}"
    _, _, behind = rest.partition("\n## ")
    return f"{before}{section}\n\n## {behind}"
