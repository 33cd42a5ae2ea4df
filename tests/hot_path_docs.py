"""The lists of calls in docs/architecture.md: `python tests/hot_path_docs.py` writes them anew."""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path

from everytoken.journal.memory import MemoryJournal
from everytoken.journal.sqlite import SqliteJournal
from hot_path import calls_of_one_chunk

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"


def block(calls: list[tuple[str, str]]) -> str:
    lines = [f"{number:2}  {name:40} {path}" for number, (path, name) in enumerate(calls, 1)]
    files = len({path for path, _ in calls})
    return "\n".join(["```text", *lines, "```", "", f"{len(calls)} calls in {files} files.", ""])


def renewed(page: str, journal: str, calls: list[tuple[str, str]]) -> str:
    """Return `page` with the calls for one chunk on this journal."""
    place = re.compile(rf"(<!-- calls:{journal} -->\n).*?(?=<!-- /calls:{journal} -->)", re.DOTALL)
    return place.sub(lambda match: match[1] + block(calls), page)


async def _main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    page = renewed(page, "memory", await calls_of_one_chunk(MemoryJournal()))
    with tempfile.TemporaryDirectory() as folder:
        page = renewed(
            page, "sqlite", await calls_of_one_chunk(SqliteJournal(Path(folder) / "journal.sqlite"))
        )
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(_main())
