"""`everytoken demo`: an answer, the kill of its gateway, and the count that nothing was lost."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from everytoken.cli.demo.model import embedded_or_scripted, scripted
from everytoken.cli.demo.play import play
from everytoken.cli.demo.stage import PlainStage, ScreenStage, Stage, can_draw
from everytoken.cli.ending import failed_output, status_of
from everytoken.cli.output import Output
from everytoken.cli.signals import Signals, StoppedError
from everytoken.errors import EverytokenError

if TYPE_CHECKING:
    from everytoken.cli.demo.model import Model
    from everytoken.cli.demo.proof import Proof

__all__ = ["demo"]

_STDOUT = 1
_INEXACT = 1


@click.command()
@click.option(
    "--kills",
    type=click.IntRange(1, 9),
    default=1,
    show_default=True,
    metavar="N",
    help="How often to kill the gateway.",
)
@click.option("--scripted", "wants_script", is_flag=True, help="Stream a scripted answer, not the model's.")
@click.option(
    "--pace",
    type=click.FloatRange(0.001, 1),
    default=0.03,
    show_default=True,
    metavar="SECONDS",
    help="Pause before each token of a scripted answer.",
)
@click.option("--json", "json_wanted", is_flag=True, help="Print the count as JSON, and nothing else.")
def demo(
    kills: int,
    wants_script: bool,  # noqa: FBT001  # click calls it by name
    pace: float,
    json_wanted: bool,  # noqa: FBT001
) -> None:
    """Kill a gateway in the middle of an answer, and count that nothing was lost.

    Starts a gateway of its own on a free port, with its journal in a temporary folder. An answer streams, the gateway is
    killed with kill -9, it is started again, and the answer goes on. At the end what has arrived is compared, byte for
    byte, with the journal's record and with the same answer without a kill.

    The answer comes from the embedded model, or is scripted where that is not installed. Nothing is left behind, even
    after Ctrl-C.

    Exit status: 0 when the count is exact, 1 when it is not or the demo could not run, 130 after Ctrl-C.
    """
    with Signals() as signals:
        output = Output(_STDOUT, lambda: signals.stopped)
        try:
            model = scripted(pace) if wants_script else embedded_or_scripted(pace)
            # Left at an exception, too, and so after every signal.
            with tempfile.TemporaryDirectory(prefix="everytoken-demo-") as folder:
                stage = Stage() if json_wanted else ScreenStage(output) if can_draw() else PlainStage(output)
                proof = signals.run(_played(model, kills, stage, Path(folder)))
            if json_wanted:
                output.write(json.dumps(proof.as_json(), indent=2, ensure_ascii=False).encode() + b"\n")
            if output.failure is not None:
                raise output.failure
            status = 0 if proof.exact else _INEXACT
        except EverytokenError as error:
            if json_wanted:
                told = {"exact": False, "problem": error.message}
                output.write(json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n")
            raise
        except StoppedError as error:
            status = status_of(error)
        except OSError as error:
            status = failed_output(error)
    sys.exit(status)


async def _played(model: Model, kills: int, stage: Stage, folder: Path) -> Proof:
    with suppress(NotImplementedError, AttributeError):  # Windows has none
        # The terminal was closed: clean up, as for Ctrl-C.
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, signal.raise_signal, signal.SIGTERM)
    with stage:
        return await play(model, kills, stage, folder)
