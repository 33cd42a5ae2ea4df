"""`everytoken fake-upstream`: a model server that breaks on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

import click

from everytoken.testing import ALL_POSITIONS, FAULTS, Answer, AtByte, ScriptedUpstream, ToolCall
from everytoken.testing.upstream import APIS

if TYPE_CHECKING:
    from everytoken.testing import FaultRule, Position

__all__ = ["fake_upstream"]


def _position(_context: click.Context, _option: click.Parameter, value: str) -> Position:
    digits = value.removeprefix("byte:")
    if value in ALL_POSITIONS:
        return value
    if digits.isascii() and digits.isdigit():
        return int(digits) if digits == value else AtByte(int(digits))
    raise click.BadParameter(
        f"{value!r} is not one of {', '.join(ALL_POSITIONS)}, a number of chunks, or byte:N"
    )


def _times(_context: click.Context, _option: click.Parameter, value: str) -> int | None:
    if value == "always":
        return None
    if value.isascii() and value.isdigit():
        return int(value)
    raise click.BadParameter(f"{value!r} is neither a number nor 'always'")


def _calls(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> tuple[ToolCall, ...]:
    calls = []
    for number, value in enumerate(values, 1):
        name, _, arguments = value.strip().partition(" ")
        try:
            fields = json.loads(arguments or "{}")
        except ValueError:
            fields = None
        if not (name and isinstance(fields, dict)):
            raise click.BadParameter(f"{value!r} is not a name, a space and a JSON object of arguments")
        calls.append(ToolCall(name, arguments.strip() or "{}", f"call_{number}"))
    return tuple(calls)


def _faults_by_name() -> str:
    # \b keeps click from wrapping the list into a paragraph.
    return "\b\nFaults:\n" + "\n".join(f"  {name:<30}{fault.description}" for name, fault in FAULTS.items())


@click.command("fake-upstream", epilog=_faults_by_name())
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option(
    "--fault",
    "name",
    type=click.Choice(sorted(FAULTS)),
    metavar="NAME",
    help="The fault; listed below.",
)
@click.option(
    "--at",
    callback=_position,
    metavar="POSITION",
    default="middle",
    show_default=True,
    help="Where it breaks: start, one, middle, last, end, a number of chunks, or byte:N.",
)
@click.option(
    "--times",
    callback=_times,
    metavar="N|always",
    default="always",
    show_default=True,
    help="How many attempts fail; later ones are healthy.",
)
@click.option(
    "--delay",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Pause before each chunk.",
)
@click.option("--chunks", type=click.IntRange(1), metavar="N", help="Length of the response, in chunks.")
@click.option(
    "--text",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="The response is the text of FILE; - is standard input.",
)
@click.option("--reasoning", default="", metavar="TEXT", help="What the model thinks before the response.")
@click.option(
    "--tool-call",
    "calls",
    callback=_calls,
    multiple=True,
    metavar="'NAME JSON'",
    help="A call of a tool behind the text, with its arguments; may be given several times.",
)
@click.option(
    "--api",
    "apis",
    type=click.Choice(sorted(APIS)),
    multiple=True,
    help="Offer only this API; may be given several times.  [default: all]",
)
def fake_upstream(
    host: str,
    port: int,
    name: str | None,
    at: Position,
    times: int | None,
    delay: float,
    chunks: int | None,
    text: TextIO | None,
    reasoning: str,
    calls: tuple[ToolCall, ...],
    apis: tuple[str, ...],
) -> None:
    """Serve a scripted response as OpenAI and Anthropic would, and break it where you choose.

    The response is the same in chat completions, Messages and Responses: what differs is how it is written.

    Prints one line with the base URL when it is ready.
    """
    faults: list[FaultRule] = []
    if name is not None and times is None:
        faults = [("always", name, at)]
    elif name is not None and FAULTS[name].address is not None:
        raise click.UsageError(
            f"{name} breaks the address itself, so no attempt arrives that could be counted."
        )
    elif name is not None:
        faults = [(attempt, name, at) for attempt in range(times or 0)]
    if text is not None and chunks:
        raise click.UsageError("--text and --chunks exclude each other.")
    answer = Answer.of_chunks(chunks) if chunks else Answer() if text is None else Answer(text.read())
    upstream = ScriptedUpstream(
        replace(answer, delay=delay, reasoning=reasoning, tool_calls=calls),
        faults=faults,
        host=host,
        port=port,
        apis=apis or tuple(APIS),
    )
    asyncio.run(_serve(upstream))


async def _serve(upstream: ScriptedUpstream) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    try:
        async with upstream:
            click.echo(f"fake upstream ready at {upstream.base_url}")
            await stop.wait()
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {upstream.host} port {upstream.port}: {error.strerror}"
        ) from error
