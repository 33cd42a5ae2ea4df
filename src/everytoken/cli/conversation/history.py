"""The questions that were asked before, for the arrow keys: in a file that nobody else can read, and that stays small."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import platformdirs
from prompt_toolkit.history import History

from everytoken.cli.kept import private
from everytoken.errors import EverytokenError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["KeptHistory"]

_MOST = 1000  # questions
_LONGEST = 20_000  # characters of one that is kept


class KeptHistory(History):
    """Each question is one line of JSON, the newest last. Nothing is written unless `save`."""

    def __init__(self, path: Path | None = None, *, save: bool) -> None:
        super().__init__()
        self._path = path or platformdirs.user_data_path("everytoken") / "history.jsonl"
        self._save = save

    def load_history_strings(self) -> Iterable[str]:
        """Return the questions, the newest first."""
        return reversed(self._read())

    def store_string(self, string: str) -> None:
        """Keep a question."""
        if not self._save or len(string) > _LONGEST:
            return
        questions = [one for one in self._read() if one != string][-_MOST + 1 :]
        lines = "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in [*questions, string])
        try:
            private(self._path, lines.encode("utf-8", "replace"))
        except EverytokenError:
            self._save = False  # a full disk must not end a conversation

    def _read(self) -> list[str]:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
            return [one for one in map(json.loads, lines) if isinstance(one, str)]
        except (OSError, ValueError):
            return []
