"""How the demo looks: lines with a live count on a terminal, plain lines in a pipe, nothing for JSON."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Self

from everytoken.cli.demo.lines import BAD, DIM, GOOD, HEAD, MARK, Column, folded, painted
from everytoken.cli.region import LiveRegion
from everytoken.cli.text import visible

if TYPE_CHECKING:
    from types import TracebackType

    from everytoken.cli.demo.model import Model
    from everytoken.cli.demo.proof import Kill, Proof
    from everytoken.cli.output import Output

__all__ = ["PlainStage", "ScreenStage", "Stage", "can_draw"]

_STDOUT = 1
_WIDEST = 88  # columns: longer lines of text are hard to read
_FRAME = 0.1  # seconds between two drawings of the count
_HIDE, _SHOW = b"\x1b[?25l", b"\x1b[?25h"
_NAMES = 10  # columns for the name of a fact
_ABOUT = "An answer streams. Its gateway is killed with kill -9. Not one token is lost."


class Stage:
    """Is told what happens, in this order; the middle as often as it happens. This one shows nothing.

    `token` and `asked_again` raise `OSError` once nothing can be shown any more, so that the demo ends.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def begin(self, model: Model) -> None:
        """A gateway is being started for this model."""

    def ready(self, pid: int, url: str) -> None:
        """The gateway is ready, and the model is asked."""

    def token(self, text: str) -> None:
        """A token has come."""

    def killed(self, kill: Kill) -> None:
        """The gateway has been killed."""

    def restarted(self, kill: Kill) -> None:
        """It is ready again."""

    def asked_again(self, tokens: int) -> None:
        """The same is asked without a kill; so many tokens have come."""

    def counted(self, proof: Proof) -> None:
        """This is the count."""


class PlainStage(Stage):
    """Plain lines, each written once: for pipes, files, and terminals that cannot move their cursor."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def begin(self, model: Model) -> None:
        """Say what will happen."""
        self._write(f"{_ABOUT}\n\n")
        self._write("".join(f"{name:<{_NAMES}}{value}\n" for name, value in _facts(model)))

    def ready(self, pid: int, url: str) -> None:
        """Say where the gateway is."""
        self._write(f"{'gateway':<{_NAMES}}process {pid} at {url}\n\n")

    def token(self, text: str) -> None:
        """Write the token at once."""
        self._write(visible(text))
        _raise_failure(self._output)

    def asked_again(self, tokens: int) -> None:
        """Show nothing, but notice that nobody reads."""
        del tokens
        _raise_failure(self._output)

    def killed(self, kill: Kill) -> None:
        """Say so in a line of its own."""
        self._write(f"\n[{_killed(kill)}]\n")

    def restarted(self, kill: Kill) -> None:
        """Say so; the answer goes on in the next line."""
        self._write(f"[{_restarted(kill)}]\n")

    def counted(self, proof: Proof) -> None:
        """Write the count and what it was compared with."""
        self._write("\n\n" + "\n".join([_verdict(proof), *_details(proof)]) + "\n")

    def _write(self, text: str) -> None:
        self._output.write(text.encode("utf-8", "replace"))


class ScreenStage(Stage):
    """The answer beside a bar; under it a live count, which is drawn in place."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._region = LiveRegion(output.write, lambda: _columns(output))
        self._column: Column | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._began = time.monotonic()
        self._tokens = 0
        self._doing = "starting a gateway"
        self._shown = False

    def __enter__(self) -> Self:
        self._output.write(_HIDE)
        self._tick()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._print(*self._rest(), live=False)
        if self._shown:
            self._output.write(b"\n")
        self._output.write(_SHOW)

    def begin(self, model: Model) -> None:
        """Say what will happen."""
        self._print("", *self._said(_ABOUT, HEAD), "")
        for name, value in _facts(model):
            self._print(*self._fact(name, value))

    def ready(self, pid: int, url: str) -> None:
        """Say where the gateway is, and wait for the first token."""
        self._doing = "waiting for the first token"
        self._print(*self._fact("gateway", f"process {pid} at {url}"), "")

    def token(self, text: str) -> None:
        """Show the token."""
        self._tokens += 1
        self._doing = ""
        if self._column is None:
            self._column = Column(self._width() - 2)
        self._print(*(_bar(line) for line in self._column.push(visible(text))))
        _raise_failure(self._output)

    def killed(self, kill: Kill) -> None:
        """Say so in a line of its own; the text goes on below it."""
        self._doing = "no gateway: it is being started again"
        rest = self._rest()
        self._print(*rest, *self._said(f"✗ {_killed(kill)}", MARK))

    def restarted(self, kill: Kill) -> None:
        """Say so."""
        self._doing = "the answer is repeated, and compared with what is here"
        self._print(*self._said(f"↻ {_restarted(kill)}", GOOD))

    def asked_again(self, tokens: int) -> None:
        """Show how far the answer without a kill is."""
        if self._column is not None:
            rest, self._column = [_bar(self._column.open)], None
            self._print(*rest, "")
        self._doing = f"the same again, without a kill: {tokens}"
        _raise_failure(self._output)

    def counted(self, proof: Proof) -> None:
        """Show the count and what it was compared with."""
        self._shown = True
        mark, colour = ("✓", GOOD) if proof.exact else ("✗", BAD)
        lines = [line for detail in _details(proof) for line in self._said(f"  {detail}", DIM)]
        self._print(*self._said(f"{mark} {_verdict(proof)}", colour), *lines, live=False)

    def _rest(self) -> list[str]:
        """Return the line of text that is not finished; what follows it goes on in the same column, below."""
        return [] if self._column is None else [_bar(line) for line in self._column.cut()]

    def _print(self, *lines: str, live: bool = True) -> None:
        """Print lines for good, and draw what is live below them."""
        self._region.draw([f"  {line}".rstrip() for line in lines], self._live() if live else [])

    def _live(self) -> list[str]:
        lines = [] if self._column is None else [f"  {_bar(self._column.open)}", ""]
        count = f"{self._tokens} tokens   {time.monotonic() - self._began:.1f} s"
        return [*lines, *(f"  {line}" for line in self._said(f"{count}   {self._doing}".rstrip(), DIM)[:1])]

    def _tick(self) -> None:
        self._print()
        self._timer = asyncio.get_running_loop().call_later(_FRAME, self._tick)

    def _fact(self, name: str, value: str) -> list[str]:
        first, *more = folded(value, self._width() - _NAMES)
        return [f"{painted(f'{name:<{_NAMES}}', DIM)}{first}", *(f"{'':<{_NAMES}}{line}" for line in more)]

    def _said(self, text: str, colour: str) -> list[str]:
        return [painted(line, colour) for line in folded(text, self._width(), "  ")]

    def _width(self) -> int:
        """Return the columns for text: two are its margin, and the last one stays free."""
        return max(min(_columns(self._output) - 3, _WIDEST), 20)


def can_draw() -> bool:
    """Whether standard output is a terminal whose cursor can be moved."""
    return os.isatty(_STDOUT) and os.environ.get("TERM", "dumb") not in {"dumb", "unknown", ""}


def _raise_failure(output: Output) -> None:
    if output.failure is not None:
        raise output.failure


def _columns(output: Output) -> int:
    try:
        return os.get_terminal_size(output.descriptor).columns or 80
    except OSError:
        return 80


def _bar(line: str) -> str:
    return f"{painted('│', DIM)} {line}"


def _facts(model: Model) -> list[tuple[str, str]]:
    why = [("note", f"{model.why}: so the answer is a scripted one")] if model.why else []
    return [*why, ("model", model.description), ("question", model.question)]


def _killed(kill: Kill) -> str:
    return f"kill -9 {kill.pid}: the gateway is gone, {kill.tokens} tokens have arrived"


def _restarted(kill: Kill) -> str:
    return f"started again after {kill.gone:.1f} s as process {kill.next_pid}"


def _verdict(proof: Proof) -> str:
    return proof.sentence


def _details(proof: Proof) -> list[str]:
    """Return what the count was compared with, and how long the gateway was missed."""

    def equal(same: bool) -> str:  # noqa: FBT001
        return "the same as" if same else "NOT the same as"

    missed = [
        f"killed after {kill.tokens} tokens: gone for {kill.gone:.1f} s, the next token after {kill.silent:.1f} s"
        for kill in proof.kills
    ] or ["never killed: the answer ended too early"]
    return [
        f"{equal(proof.equals_journal)} the journal's record, byte for byte ({proof.size:,} bytes)",
        f"{equal(proof.equals_uninterrupted)} the answer without a kill, byte for byte",
        *([] if proof.complete else ["NOT complete: no end has come"]),
        *missed,
    ]
