"""`everytoken serve`: the gateway as a server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import click
import msgspec
import uvicorn

from everytoken.cli.address import with_v1
from everytoken.cli.admin import own_admin_key
from everytoken.cli.logformat import JsonFormatter
from everytoken.cli.process import (
    allow_many_connections,
    give_memory_back,
    listen,
    loop_factory,
    within_descriptors,
)
from everytoken.cli.welcome import welcome
from everytoken.cli.workers.starting import Count, check_shared, cores, supervise
from everytoken.cli.workers.worker import Place, Worker
from everytoken.errors import ConfigurationError, EverytokenError
from everytoken.gateway import Config, Gateway, UpstreamConfig
from everytoken.gateway.checking import explained
from everytoken.gateway.config import (
    SETTINGS,
    check_open,
    is_loopback,
    load,
    named,
    plain_text_keys,
    unknown_variables,
)
from everytoken.gateway.health import Watchdog
from everytoken.gateway.making import configured_journal, configured_upstream
from everytoken.gateway.reload import Reloading
from everytoken.gateway.server import DirectProtocol
from everytoken.gateway.settings import reads_files
from everytoken.gateway.tls import TlsServer, tls_context

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    _AllAtOnce = Callable[[], AbstractContextManager[None]]

__all__ = ["serve"]

logger = logging.getLogger("everytoken.serve")

_COLLECT = 10_000  # objects made between two garbage collections: most live as long as their response
_GRACEFUL = 5  # seconds to finish writing responses when the server stops


@click.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [default: 8000]")
@click.option(
    "--workers",
    type=Count(),
    metavar="N|auto",
    help="Processes that serve together; auto: one for each core. More than one need a journal in Redis or PostgreSQL.  [default: 1]",
)
@click.option("--as-worker", "place", type=Place.parse, hidden=True)
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    metavar="URL",
    help="An OpenAI-compatible server, such as https://api.openai.com/v1; /v1 is added if it has no path. The key of the first one is taken from "
    "OPENAI_API_KEY. Repeat the option to add servers to fail over to. Without any: the embedded model.",
)
@click.option(
    "--model", metavar="NAME", help="The model of a request that names none.  [default: the only one served]"
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file (TOML).",
)
@click.option(
    "--connect", type=float, metavar="SECONDS", help="Limit for connecting to an upstream.  [default: 10]"
)
@click.option(
    "--first-content", type=float, metavar="SECONDS", help="Limit until the first content.  [default: 30]"
)
@click.option(
    "--content-gap", type=float, metavar="SECONDS", help="Limit between two pieces of content.  [default: 30]"
)
@click.option(
    "--journal",
    metavar="URL",
    help="Where responses are stored: memory, sqlite:///PATH, redis://HOST or postgresql://HOST/DB.  "
    "[default: a SQLite file in your data directory]",
)
@click.option(
    "--durability",
    type=click.Choice(["process", "power", "replicated"]),
    help="What a stored response survives: the end of the process, a loss of power, or of Redis's master.  [default: process]",
)
@click.option(
    "--drain",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="How long responses may continue after SIGTERM before they are handed over.  [default: 20]",
)
@click.option("--tls-cert", metavar="FILE", help="Certificate chain (PEM), to serve TLS. Needs --tls-key.")
@click.option("--tls-key", metavar="FILE", help="Private key of the certificate (PEM), without a password.")
@click.option(
    "--no-auth",
    is_flag=True,
    help="Listen beyond this machine without API keys: anyone who can reach the gateway can use it.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="Lines of text, or of JSON with an entry for each response and each refusal.  [default: text]",
)
@click.option(
    "--log-content", is_flag=True, help="Have the request log keep what was asked and answered, too."
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What to log on standard error.",
)
def serve(
    host: str | None,
    port: int | None,
    workers: int | None,
    place: Place | None,
    upstreams: tuple[str, ...],
    model: str | None,
    config_file: Path | None,
    connect: float | None,
    first_content: float | None,
    content_gap: float | None,
    journal: str | None,
    durability: Literal["process", "power", "replicated"] | None,
    drain: float | None,
    tls_cert: str | None,
    tls_key: str | None,
    no_auth: bool,  # noqa: FBT001  # click calls it by name
    log_format: Literal["text", "json"] | None,
    log_content: bool,  # noqa: FBT001
    log_level: str,
) -> None:
    """Serve the gateway: an OpenAI-compatible API and a chat page.

    Prints one line with its URL when it is ready, and on standard error how to use it. Ctrl-C stops it at once, SIGTERM after responses have had time to
    finish. Unfinished responses continue at the next start, unless the journal is in memory.
    """
    who = "" if place is None else f"[worker {place.number}] "
    logging.basicConfig(
        level=logging.WARNING,
        format=f"%(asctime)s {who}%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("everytoken").setLevel(log_level.upper())
    limits = {"connect": connect, "first_content": first_content, "content_gap": content_gap}
    given = {
        "host": host,
        "port": port,
        "workers": workers,
        "default_model": model,
        "journal": journal,
        "durability": durability,
        "drain": drain,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "no_auth": no_auth or None,
        "log_format": log_format,
        "log_content": log_content or None,
    }
    options = {name: value for name, value in given.items() if value is not None}

    @contextlib.contextmanager
    def all_at_once() -> Iterator[None]:
        """Tell all that is wrong with the configuration in place of the first mistake."""
        try:
            yield
        except ConfigurationError as error:
            raise explained(error, config_file, options) from error

    def configured() -> Config:
        config = _settings(load(config_file), options, upstreams, limits)
        if not config.admin_keys:
            try:
                config = msgspec.structs.replace(config, admin_keys=[own_admin_key()])
            except EverytokenError as error:
                logger.warning("nobody can administer: %s", error.message)
        for warning in [*unknown_variables(os.environ), *plain_text_keys(config, os.environ)]:
            if place is None:  # who has started the workers has said it
                logger.warning("%s", warning)
        return config

    again = configured if config_file is not None or reads_files(os.environ, SETTINGS) else None
    with all_at_once():
        config = configured()
        if config.log_format == "json":
            for handler in logging.getLogger().handlers:
                handler.setFormatter(JsonFormatter(worker=None if place is None else place.number))
        _run(config, again, all_at_once, None if place is None else Worker(place))


def _settings(
    config: Config,
    options: dict[str, Any],
    upstreams: tuple[str, ...],
    limits: dict[str, float | None],
) -> Config:
    """Return the configuration with the options applied."""
    config = msgspec.structs.replace(config, **options)
    if upstreams:
        # The key belongs to the first server (OpenAI, or its replacement): no other may see it.
        key = os.environ.get("OPENAI_API_KEY")
        given = [
            UpstreamConfig(url=_complete(url), key=None if n else key) for n, url in enumerate(upstreams)
        ]
        config = msgspec.structs.replace(config, upstream=named([*config.upstream, *given]))
    if not config.upstream:
        # With a seed its responses repeat exactly, after a prefill they do not: so only replay.
        config = msgspec.structs.replace(
            config, upstream=[UpstreamConfig(url="embedded:", name="embedded", prefill="no")]
        )
    changes = {name: value for name, value in limits.items() if value is not None}
    if changes:
        try:
            config = msgspec.structs.replace(config, policy=msgspec.structs.replace(config.policy, **changes))
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    return config


def _complete(url: str) -> str:
    """Return the URL of an upstream, with `/v1` if it has no path, and say so."""
    complete = with_v1(url)
    if complete != url:
        shown = urlsplit(complete)
        # Not the rest: there may be a key in it.
        logger.info(
            "--upstream has no path: /v1 is added to %s://%s", shown.scheme, shown.netloc.rpartition("@")[2]
        )
    return complete


class _Server(uvicorn.Server):
    """uvicorn's server, which hands responses over when it stops."""

    def __init__(
        self,
        config: uvicorn.Config,
        gateway: Gateway,
        tls: ssl.SSLContext | None,
        ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._tls = tls
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to us: uvicorn would raise them again before the upstreams have stopped."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell that it serves."""
        await super().startup([] if self._tls else sockets)
        if self._tls:
            servers: list[Any] = self.servers  # uvicorn only closes them
            servers += [TlsServer(self, one, self._tls) for one in sockets or ()]
        if self.started:
            # Objects that live as long as the process exist now: keep the garbage collector from scanning them again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(_COLLECT, 20, 20)
            self._ready()

    def stop(self, *, gently: bool) -> None:
        """Stop; if `gently`, give responses time to finish. A second call does not wait."""
        if self.should_exit or not gently:
            self._gateway.relays.hurry()
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let responses finish, hand over the rest and disconnect their readers, then stop the server."""
        await self._gateway.relays.drain(self._gateway.config.drain)
        if self._gateway.journal.durable:
            # Handed-over responses do not end here, so their readers would stay connected.
            for protocol in list(self.server_state.connections):
                if isinstance(protocol, DirectProtocol):
                    protocol.break_off_streams()
        await super().shutdown(sockets)


def _run(
    config: Config, configured: Callable[[], Config] | None, all_at_once: _AllAtOnce, worker: Worker | None
) -> None:
    """Serve with `config`. `configured` reads it again on SIGHUP; None if there is no file to read."""
    allow_many_connections()
    give_memory_back()
    tls = tls_context(config)
    config = within_descriptors(config)
    listening = listen(config.host, config.port) if worker is None else worker.listening
    address, port = listening.getsockname()[:2]
    loopback = is_loopback(address)
    check_open(config, loopback=loopback)
    shown = f"[{config.host}]" if ":" in config.host else config.host
    url = f"{'http' if tls is None else 'https'}://{shown}:{port}"
    count = config.workers or cores()
    if worker is None and count > 1:
        check_shared(config, port)
        supervise(count, listening, lambda: _say_ready(config, url, needs_key=bool(config.api_keys)))
    gateway = Gateway(config, journal=configured_journal(config, port=port))
    gateway.on_loopback = loopback
    gateway.reloading = _reloading(gateway, configured, all_at_once)
    server = _Server(
        uvicorn.Config(
            gateway,
            http=DirectProtocol,
            ws="none",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",  # the gateway is started and stopped around the server
            timeout_graceful_shutdown=_GRACEFUL,
            timeout_keep_alive=config.idle_timeout,  # type: ignore[arg-type]  # call_later takes any number
        ),
        gateway,
        tls,
        worker.ready
        if worker is not None
        else lambda: _say_ready(config, url, needs_key=gateway.keys.required),
    )
    # Cancelled: stopped before it was ready.
    with contextlib.suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(server, gateway, listening, worker))


def _say_ready(config: Config, url: str, *, needs_key: bool) -> None:
    click.echo(f"everytoken is ready at {url}")
    if config.log_format != "json" and logger.isEnabledFor(logging.INFO):
        click.echo(welcome(url, needs_key=needs_key), err=True)


def _reloading(
    gateway: Gateway, configured: Callable[[], Config] | None, all_at_once: _AllAtOnce
) -> Reloading | None:
    """Return what reads the configuration again, None if there is no file to read."""
    if configured is None:
        return None

    def read() -> Config:
        with all_at_once():
            config = within_descriptors(configured())
            check_open(config, loopback=gateway.on_loopback)
            for upstream in config.upstream:
                configured_upstream(upstream)  # so that all mistakes are told, not only the first
            return config

    return Reloading(gateway, lambda: asyncio.to_thread(read))


async def _reload(gateway: Gateway) -> None:
    if gateway.reloading is None:
        logger.warning("SIGHUP: there is no configuration file to reload")
        return
    try:
        await gateway.reloading()
    except EverytokenError as error:
        logger.error("the configuration stays as it was: %s", error.message)  # noqa: TRY400  # it says all
    except Exception:
        logger.exception("the configuration stays as it was")


async def _serve(
    server: _Server,
    gateway: Gateway,
    listening: socket.socket,
    worker: Worker | None,
) -> None:
    task = asyncio.current_task()
    assert task is not None

    def stop(number: signal.Signals) -> None:
        if server.started:
            server.stop(gently=number is signal.SIGTERM)
        else:
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGHUP, lambda: gateway.in_background(_reload(gateway)))
    siblings = (
        contextlib.nullcontext()
        if worker is None
        else worker.connected(gateway, lambda: stop(signal.SIGTERM))
    )
    # Started here rather than by the lifespan, so that the user sees an error as it was raised.
    async with siblings, gateway:
        watchdog = Watchdog(getattr(gateway.journal, "commits", None))
        watchdog.start()
        try:
            await server.serve(sockets=[listening])
        finally:
            watchdog.stop()
