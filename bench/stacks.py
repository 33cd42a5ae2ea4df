"""The stacks that are compared: one row each in `STACKS`."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.redis_server import REDIS, RedisServer

from bench.peers import python_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@dataclass(frozen=True)
class Place:
    """What a stack needs to know to start."""

    directory: Path  # its own, empty, deleted afterwards
    port: int
    upstream: str  # http://127.0.0.1:PORT, without /v1
    spare_port: int
    beside: str = ""  # the URL of what runs beside it


@dataclass(frozen=True)
class Command:
    """How a stack is started."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)


class Absent(Exception):  # noqa: N818  # it is not an error, it is a word in the report
    """This stack cannot run here, and why."""


@dataclass(frozen=True)
class Stack:
    """One row of the comparison."""

    name: str
    what: str
    command: Callable[[Place], Command]
    keeps_up: bool = True  # with the many paced responses; if not, it is measured with the few only
    quick: bool = False  # part of a quick run
    api: str = "chat"  # what its readers speak
    beside_chat: bool = False  # in the table of other APIs, and in no other
    beside: Callable[[Path], AbstractContextManager[str]] | None = None  # what it needs, run in a directory


def nginx(place: Place) -> Command:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Absent("nginx is not installed")
    temporary = "".join(
        f"{kind}_temp_path {place.directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = place.directory / "nginx.conf"
    config.write_text(f"""daemon off;
worker_processes 1;
pid {place.directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 32768; }}
http {{
{temporary}access_log off;
upstream model {{ server {place.upstream.removeprefix("http://")}; keepalive 512; }}
server {{
listen 127.0.0.1:{place.port} backlog=1024;
location / {{
proxy_pass http://model;
proxy_http_version 1.1;
proxy_set_header Connection "";
proxy_buffering off;
}}
}}
}}
""")
    return Command([program, "-p", str(place.directory), "-c", str(config), "-e", "stderr"])


def haproxy(place: Place) -> Command:
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Absent("HAProxy is not installed")
    config = place.directory / "haproxy.cfg"
    config.write_text(f"""global
    nbthread 1
    maxconn 4096
defaults
    mode http
    option http-no-delay
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend bench
    bind 127.0.0.1:{place.port} backlog 1024
    default_backend model
backend model
    http-reuse always
    server model {place.upstream.removeprefix("http://")}
""")
    return Command([program, "-f", str(config)])


def everytoken(*options: str) -> Callable[[Place], Command]:
    """Return how to start `everytoken serve` with these options.

    `{dir}` in them is its own directory, `{beside}` the URL of what runs beside it.
    """

    def command(place: Place) -> Command:
        program = Path(sys.executable).with_name("everytoken")
        if not program.exists():
            raise Absent("everytoken is not installed in this environment")
        rest = [option.format(dir=place.directory, beside=place.beside) for option in options]
        upstream = f"{place.upstream}/v1"
        quiet = ["--log-level", "warning"]  # as its peers are
        return Command(
            [str(program), "serve", "--port", str(place.port), "--upstream", upstream, *quiet, *rest]
        )

    return command


def over_api(api: str) -> Callable[[Place], Command]:
    """Return how to start `everytoken serve` over an upstream that offers only one API."""

    def command(place: Place) -> Command:
        config = place.directory / "gateway.toml"
        config.write_text(f'[[upstream]]\nname = "model"\nurl = "{place.upstream}/v1"\napi = "{api}"\n')
        found = everytoken("--journal", "memory", "--config", str(config))(place)
        at = found.arguments.index("--upstream")
        return Command(found.arguments[:at] + found.arguments[at + 2 :])

    return command


@contextmanager
def redis(directory: Path) -> Iterator[str]:
    """Run a Redis server that writes its log of commands to disk; yield its URL. Raises Absent."""
    if REDIS is None:
        raise Absent("redis-server is not installed")
    server = RedisServer(directory)
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


def vllm_router(place: Place) -> Command:
    python = python_of("vllm-router")
    arguments = (
        f"-m vllm_router.launch_router --host 127.0.0.1 --port {place.port} --worker-urls {place.upstream} "
        f"--policy round_robin --log-level error --prometheus-port {place.spare_port} --max-concurrent-requests 4096"
    )
    return Command([python, *arguments.split()])


def sglang_router(place: Place) -> Command:
    python = python_of("sglang-router")
    arguments = (
        f"-m sglang_router.launch_router --host 127.0.0.1 --port {place.port} --worker-urls {place.upstream} "
        f"--policy round_robin --log-level error --prometheus-port {place.spare_port} --max-concurrent-requests -1"
    )
    return Command([python, *arguments.split()])


def litellm(place: Place) -> Command:
    python = python_of("litellm")
    config = place.directory / "config.yaml"
    config.write_text(f"""model_list:
  - model_name: bench
    litellm_params: {{model: openai/bench, api_base: "{place.upstream}/v1", api_key: bench}}
litellm_settings: {{num_retries: 0, turn_off_message_logging: true}}
general_settings: {{disable_spend_logs: true, disable_error_logs: true,
  dangerously_permit_weak_or_unset_master_key: true}}
""")
    program = str(Path(python).with_name("litellm"))
    arguments = f"--host 127.0.0.1 --port {place.port} --num_workers 1 --telemetry False --config {config}"
    return Command(
        [program, *arguments.split()], {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    )


NAMES = {"chat": "chat", "messages": "Messages", "responses": "Responses"}
STACKS = (
    Stack("nginx", "1 worker, proxy_buffering off, no log: the floor", nginx, quick=True),
    Stack("everytoken", "`everytoken serve --journal memory`", everytoken("--journal", "memory"), quick=True),
    Stack(
        "everytoken, SQLite",
        "`everytoken serve`: every record is in the file before a reader sees it",
        everytoken("--journal", "sqlite:///{dir}/journal.sqlite"),
        quick=True,
    ),
    Stack(
        "everytoken, Redis",
        "`everytoken serve --journal redis://…`: Redis has acknowledged every record before a reader sees it; its own "
        "CPU is not counted",
        everytoken("--journal", "{beside}"),
        beside=redis,
    ),
    *(
        Stack(
            f"everytoken, {'' if caller == upstream else f'{NAMES[caller]} over '}{NAMES[upstream]}",
            f"`everytoken serve --journal memory`, asked for {NAMES[caller]}, over a server of {NAMES[upstream]}",
            over_api(upstream),
            api=caller,
            beside_chat=True,
        )
        for caller, upstream in (
            ("messages", "messages"),
            ("responses", "responses"),
            ("messages", "chat"),
            ("responses", "chat"),
            ("chat", "messages"),
        )
    ),
    Stack("HAProxy", "1 thread, `option http-no-delay`, no log", haproxy),
    Stack("vllm-router", "Rust, passes bytes on and keeps nothing", vllm_router),
    Stack("sglang-router", "Rust, passes bytes on and keeps nothing", sglang_router),
    Stack("LiteLLM proxy", "Python, 1 worker, no database, no callbacks", litellm, keeps_up=False),
)
FLOOR = "nginx"
