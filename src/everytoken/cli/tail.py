"""`everytoken tail`: a stream of the gateway, from any offset to its end."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import click

from everytoken.cli.address import api_key, base_url_option, is_url
from everytoken.cli.address import base_url as chosen_base_url
from everytoken.cli.ending import failed_output, report, status_of
from everytoken.cli.following import follow
from everytoken.cli.output import Output
from everytoken.cli.server import Server
from everytoken.cli.signals import Signals, StoppedError

if TYPE_CHECKING:
    from everytoken.cli.ending import Outcome

__all__ = ["tail"]

_STDOUT = 1
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._~:@-]*")


@click.command()
@click.argument("stream", metavar="URL")
@click.option(
    "--offset",
    metavar="OFFSET",
    default="-1",
    help="Where to begin: an offset of this stream, or `now` for new records only.  [default: the start]",
)
@base_url_option
def tail(stream: str, offset: str, base_url: str | None) -> None:
    """Show a stream from any offset, and follow it to its end.

    URL is that of a stream: http://127.0.0.1:8000/v1/stream/ID, with or without /events at the end. Its path (from a
    Location header) or the ID is enough: the server is then that of --base-url.

    A model's response is shown as `everytoken chat` shows it: rendered on a terminal, as plain text in a pipe or
    a file. Any other stream is shown as it was written, JSON with one message per line. After a broken connection,
    reading resumes where it stopped. Ctrl-C only stops reading: the response continues.

    The API key is taken from EVERYTOKEN_API_KEY or OPENAI_API_KEY.

    Exit status: 0 when the stream was shown to its end, 1 when it was not (standard error says why), 2 for a wrong
    command line, 130 after Ctrl-C.
    """
    url, server = _addresses(stream, base_url)
    with Signals() as signals:
        output = Output(_STDOUT, lambda: signals.stopped)
        try:
            status = report(signals.run(_follow(url, offset, output)), server)
        except StoppedError as error:
            status = status_of(error)
        except OSError as error:
            status = failed_output(error)
    sys.exit(status)


async def _follow(url: str, offset: str, output: Output) -> Outcome:
    server = Server(url, api_key(url))
    try:
        return await follow(server, url, offset, output)
    finally:
        await server.close()


def _addresses(stream: str, base_url: str | None) -> tuple[str, str]:
    """Return the stream's URL, and the server's URL for the message that it cannot be reached."""
    if is_url(stream):
        return stream, stream
    server = chosen_base_url(base_url)
    if stream.startswith("/"):
        return urljoin(server, stream), server
    if _ID.fullmatch(stream) is None:
        raise click.UsageError(f"{stream!r} is neither the URL nor the ID of a stream")
    return f"{server.rstrip('/')}/stream/{stream}", server
