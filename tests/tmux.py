"""A program in tmux: what a person types, and the screen as a person sees it."""

from __future__ import annotations

import itertools
import shlex
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LIMIT = 20.0  # seconds until a test gives up
_PAUSE = 0.1
_numbers = itertools.count()


class Pane:
    """A terminal of tmux."""

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)

    def tmux(self, *command: str, given: bytes | None = None) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, "-f", "/dev/null", *command],
            input=given,
            capture_output=True,
            check=True,
        )
        return done.stdout.decode("utf-8", "replace")

    @property
    def text(self) -> str:
        """What is on the screen and above it, without trailing blanks; wrapped lines are one."""
        lines = self.tmux("capture-pane", "-p", "-J", "-S", "-500").split("\n")
        return "\n".join(line.rstrip() for line in lines).rstrip("\n")

    @property
    def styled(self) -> str:
        return self.tmux("capture-pane", "-p", "-e", "-J", "-S", "-500").rstrip("\n")

    def ask(self, about: str) -> str:
        """Return a format of tmux, such as `#{cursor_flag}`."""
        return self.tmux("display-message", "-p", about).strip()

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def enter(self, text: str) -> None:
        self.type(text)
        self.press("Enter")

    def paste(self, text: str, *, told: bool = True) -> None:
        """Paste; `told`: the terminal says that it is a paste, if the program wants to know."""
        self.tmux("load-buffer", "-", given=text.encode())
        self.tmux("paste-buffer", *(["-p"] if told else []))

    def wait(self, seen: Callable[[str], bool]) -> str:
        """Wait until `seen` says so of the text."""
        deadline = time.monotonic() + LIMIT
        while not seen(text := self.text):
            if time.monotonic() > deadline:
                how = self.ask("dead: #{pane_dead}, command: #{pane_current_command}")
                pytest.fail(f"it does not come to ({how}):\n{text}")
            time.sleep(_PAUSE)
        return text

    def wait_for(self, *parts: str) -> str:
        """Wait until all parts are in the text."""
        return self.wait(lambda text: all(part in text for part in parts))


@contextmanager
def tmux(
    folder: Path, command: Sequence[str], env: dict[str, str], *, columns: int = 80, rows: int = 24
) -> Iterator[Pane]:
    """Run a command in a tmux of its own, which keeps the screen when it has ended."""
    if shutil.which("tmux") is None:
        pytest.skip("there is no tmux here")
    # A server that was told to end is still there for a moment; one that comes to it then is turned away.
    socket = folder / f"tmux-{next(_numbers)}"
    pane = Pane(socket)
    given = [f"{name}={value}" for name, value in env.items()]
    # With nothing but this environment, whatever the server of tmux was started with.
    line = shlex.join(["env", "-i", *given, "TERM=tmux-256color", *command])
    subprocess.run(
        ["tmux", "-S", str(socket), "-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), line],
        env={"PATH": env["PATH"], "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "HOME": str(folder), "SHELL": "/bin/sh"},
        check=True,
    )  # fmt: skip
    try:
        pane.tmux("set-option", "-g", "remain-on-exit", "on")
        yield pane
    finally:
        subprocess.run(["tmux", "-S", str(socket), "kill-server"], capture_output=True, check=False)
