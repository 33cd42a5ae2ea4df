"""Write into each page a link to every module that it needs: `python tools/preload.py`.

Without them a browser learns of the modules one import after the other, and each takes a journey of its own.
"""  # noqa: INP001

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, normpath

PAGES = Path(__file__).parents[1] / "src" / "everytoken" / "gateway" / "pages"
HTML = (PAGES / "index.html", PAGES / "console" / "index.html")

_LINK = re.compile(r' *<link rel="modulepreload" href="[^"]+">\n')
_MODULE = re.compile(r' *<script type="module" src="assets/([^"]+)">')
# Static imports only: what is imported when it is needed is not needed before.
_IMPORT = re.compile(r"""^(?:import|export)\b(?!\()[^;]*?["'](\.{1,2}/[^"']+)["']""", re.MULTILINE)


def needed(entry: str) -> list[str]:
    """Return the modules that one imports, and they import, by their paths below the pages."""
    found = [entry]
    for name in found:  # it grows
        text = (PAGES / name).read_text(encoding="utf-8")
        others = dict.fromkeys(
            normpath(f"{dirname(name)}/{other}".lstrip("/")) for other in _IMPORT.findall(text)
        )
        found += [other for other in others if other not in found]
    return found[1:]


def linked(html: str) -> str:
    """Return a page with its links."""
    bare = _LINK.sub("", html)
    entry = _MODULE.search(bare)
    if entry is None:
        return html
    links = [f'    <link rel="modulepreload" href="assets/{name}">\n' for name in sorted(needed(entry[1]))]
    return bare[: entry.start()] + "".join(links) + bare[entry.start() :]


if __name__ == "__main__":
    for page in HTML:
        page.write_text(linked(page.read_text(encoding="utf-8")), encoding="utf-8")
