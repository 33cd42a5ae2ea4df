"""Write the blocking client anew from the asynchronous one: `python tools/unasync.py`; with `--check`, only compare.

Names are replaced word by word. Where the two differ by more than a name, the lines stand in `_PASSAGES`; a passage that is
no longer found is an error, so that the table cannot grow stale.
"""  # noqa: INP001

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ruff import find_ruff_bin

CLIENT = Path(__file__).parents[1] / "src" / "everytoken" / "client"
FILES = {"aio.py": "sync.py", "network_aio.py": "network_sync.py"}

_HEAD = "# Made from {source} by tools/unasync.py; edit that one, then run: make unasync\n"

# Words of the asynchronous files, as regular expressions, and what stands in their place; applied in this order.
_WORDS = {
    r"async (?=def|for|with)": "",
    r"await ": "",
    r"\bAwaitable\[([\w.]+)\]": r"\1",
    r"\bAsyncByteStream\b": "SyncByteStream",
    r"\bAsync(?=(Client|Iterator|NetworkStream|NetworkBackend|Options)\b)": "",
    r"\b_AsyncStream\b": "_SyncStream",
    r"\bAsyncBackend\b": "SyncBackend",
    r"\baiter_raw\b": "iter_raw",
    r"\baread\b": "read",
    r"\baclose\b": "close",
    r"\banext\b": "next",
    r"\b__aiter__\b": "__iter__",
    r"\banyio\.sleep\b": "time.sleep",
    r"\banyio\.current_time\b": "time.monotonic",
    r"\bimport anyio\b": "import time",
    r"  # noqa: ASYNC109": "",
}
_LEFT_OVER = re.compile(r"\b(?:async|await|anyio)\b|Async|ASYNC")

# What is more than a name: passages of the asynchronous files, and what stands in their place.
_PASSAGES = {
    "aio.py": {
        '"""`AsyncClient`: carries out a driver\'s effects in an event loop."""': (
            '"""`Client`: carries out a driver\'s effects with blocking calls."""'
        ),
        "        self._shared = Shared(policy, prefill=prefill, upstreams=upstreams)\n": (
            "        self._shared = Shared(policy, prefill=prefill, upstreams=upstreams)\n"
            "\n"
            "    def __del__(self) -> None:\n"
            "        # Like the SDKs' own clients: most programs never close theirs.\n"
            "        with suppress(Exception):\n"
            "            self.close()\n"
        ),
        "closed by another task": "closed by another thread",
        "        except GeneratorExit:\n"
        "            raise  # the coroutine is being discarded: nothing can be awaited\n": "",
        "            # A cancelled task closes its connection before it ends.\n"
        "            with anyio.CancelScope(shield=True):\n"
        "                await self.aclose()\n": "            self.close()\n",
    },
    "network_aio.py": {
        '"""Asynchronous network streams that keep to the current deadline."""': (
            '"""Blocking network streams that keep to the current deadline."""'
        ),
    },
}


def made(source: str, folder: Path = CLIENT) -> str:
    """Return what the blocking file made from `source` in `folder` has to contain."""
    text = (folder / source).read_text(encoding="utf-8")
    for passage, instead in _PASSAGES[source].items():
        if text.count(passage) != 1:
            sys.exit(f"unasync: {source} must contain this passage once:\n{passage}")
        text = text.replace(passage, instead)
    for word, instead in _WORDS.items():
        text = re.sub(word, instead, text)
    if left := _LEFT_OVER.search(text):
        sys.exit(
            f"unasync: what does {left[0]!r} in {source} become in {FILES[source]}? Add it to the tables"
        )
    return _formatted(_HEAD.format(source=source) + text, FILES[source])


def _formatted(text: str, name: str) -> str:
    """Sort the imports, drop those that are not used, and break the lines as `make fmt` would."""
    path = str(CLIENT / name)  # whose settings Ruff uses
    for command in (("check", "--fix-only", "--select=I,F401"), ("format",)):
        ruff = [find_ruff_bin(), *command, "--quiet", "--stdin-filename", path, "-"]
        text = subprocess.run(ruff, input=text, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout  # noqa: S603
    return text


def main(arguments: list[str], folder: Path = CLIENT) -> None:
    """Write the blocking files into `folder`, or with `--check` exit with an error that names those that are not up to date."""
    check = "--check" in arguments
    texts = {folder / name: made(source, folder) for source, name in FILES.items()}
    changed = [path for path, text in texts.items() if path.read_text(encoding="utf-8") != text]
    if check and changed:
        names = ", ".join(path.name for path in changed)
        sys.exit(f"unasync: not made from the asynchronous client as it is now: {names}; run: make unasync")
    for path in changed:
        path.write_text(texts[path], encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
