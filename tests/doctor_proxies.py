"""nginx, HAProxy and Caddy with one fault each, for the tests of `everytoken doctor`: one process of each, many ports."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from proxies import proxied
from redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_SBIN = os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin"
PROGRAMS = {name: shutil.which(name, path=_SBIN) for name in ("nginx", "haproxy", "caddy")}

# What is right, line by line; a fault leaves one out or adds one.
GOOD = {
    "version": "proxy_http_version 1.1;",
    "connection": 'proxy_set_header Connection "";',
    "host": "proxy_set_header Host $http_host;",
    "buffering": "proxy_buffering off;",
    "time": "proxy_read_timeout 3600s;",
    "size": "client_max_body_size 32m;",
    "pass": "proxy_pass http://127.0.0.1:BACKEND;",
}
NGINX = {
    "nginx": {},
    # With HTTP/1.1 to the gateway it passes on what it has even where it buffers.
    "nginx, buffering": {
        "version": "",
        "connection": "",
        "buffering": "proxy_ignore_headers X-Accel-Buffering;",
    },
    "nginx, as it is by default": dict.fromkeys(
        ("version", "connection", "host", "buffering", "time", "size"), ""
    ),
    "nginx, gzip": {"more": "gzip on; gzip_types *; gzip_proxied any; gzip_min_length 0;"},
    "nginx, gzip and buffering": {
        "buffering": "proxy_ignore_headers X-Accel-Buffering;",
        "more": "gzip on; gzip_types text/event-stream;",
    },
    "nginx, a short time-out": {"time": "proxy_read_timeout 500ms;"},
    "nginx, HTTP/1.0": {"version": "", "connection": ""},
    "nginx, small bodies": {"size": ""},
    "nginx, another Host": {"host": ""},
    "nginx, a header hidden": {"more": "proxy_hide_header Location;"},
    "nginx, a request header dropped": {"more": 'proxy_set_header Last-Event-ID "";'},
    "nginx, the key dropped": {"more": 'proxy_set_header Authorization "";'},
    "nginx, events rewritten": {
        "more": "sub_filter '\nid: ' '\nnot: '; sub_filter_types *; sub_filter_once off;"
    },
    "nginx, clients that leave ignored": {"more": "proxy_ignore_client_abort on;"},
    "nginx, below a prefix": {"pass": "proxy_pass http://127.0.0.1:BACKEND/;"},
    "nginx, below a prefix, mended": {
        "pass": "proxy_pass http://127.0.0.1:BACKEND/; proxy_redirect / /llm/;"
    },
    "nginx, no gateway": {"pass": "proxy_pass http://127.0.0.1:NOBODY;"},
    "nginx, another path": {"pass": "return 404;"},
    "nginx, a login": {"pass": "return 401;"},
}
HAPROXY = {
    "haproxy": "",
    "haproxy, delays": "no option http-no-delay",
    "haproxy, clients that leave ignored": "no option abortonclose",
    "haproxy, a short time-out": "timeout server 500ms",
    "haproxy, compression": "compression algo gzip\n  compression type text/event-stream",
    "haproxy, another Host": "http-request set-header Host other.localhost",
}
CADDY = {
    "caddy": "reverse_proxy 127.0.0.1:BACKEND",
    "caddy, gzip": "encode gzip\nreverse_proxy 127.0.0.1:BACKEND",
    "caddy, gzip for pages only": "@pages not path /v1/* /api/*\nencode @pages gzip\nreverse_proxy 127.0.0.1:BACKEND",
    "caddy, flush": "reverse_proxy 127.0.0.1:BACKEND {\n flush_interval -1\n}",
    "caddy, a short time-out": "reverse_proxy 127.0.0.1:BACKEND {\n transport http {\n  read_timeout 500ms\n }\n}",
    "caddy, small bodies": "request_body {\n max_size 1MB\n}\nreverse_proxy 127.0.0.1:BACKEND",
}
NEXTJS = {
    "nextjs": "",
    "nextjs, a short time-out": "experimental: { proxyTimeout: 500 }",
}
EXAMPLE = Path(__file__).parents[1] / "examples" / "nextjs"
HOPS = {"nginx": NGINX, "haproxy": HAPROXY, "caddy": CADDY}


def _nginx(directory: Path, ports: dict[str, int], backend: int) -> list[str]:
    servers = []
    for name, change in NGINX.items():
        lines = " ".join({**GOOD, **change}.values())
        place = "/llm/" if "prefix" in name else "/"
        servers.append(f"server {{ listen 127.0.0.1:{ports[name]}; location {place} {{ {lines} }} }}")
    places = " ".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = "\n".join(servers).replace("BACKEND", str(backend)).replace("NOBODY", str(free_port()))
    config = directory / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {places}\n{text}\n}}\n",
        encoding="utf-8",
    )
    return [str(PROGRAMS["nginx"]), "-c", str(config), "-e", f"{directory}/error.log"]


def _haproxy(directory: Path, ports: dict[str, int], backend: int) -> list[str]:
    parts = ["defaults\n  mode http\n  timeout connect 5s\n  timeout client 1h"]
    for name, line in HAPROXY.items():
        parts.append(
            f"listen p{ports[name]}\n  bind 127.0.0.1:{ports[name]}\n  timeout server 1h\n  option http-no-delay\n  option abortonclose\n"
            f"  {line}\n  server gateway 127.0.0.1:{backend}"
        )
    config = directory / "haproxy.cfg"
    config.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return [str(PROGRAMS["haproxy"]), "-db", "-f", str(config)]


def _caddy(directory: Path, ports: dict[str, int], backend: int) -> list[str]:
    sites = [
        f"http://localhost:{ports[name]} {{\nbind 127.0.0.1\n{lines}\n}}" for name, lines in CADDY.items()
    ]
    config = directory / "Caddyfile"
    text = "{\n admin off\n auto_https off\n}\n" + "\n".join(sites).replace("BACKEND", str(backend))
    config.write_text(text, encoding="utf-8")
    return [str(PROGRAMS["caddy"]), "run", "--config", str(config), "--adapter", "caddyfile"]


_COMMANDS = {"nginx": _nginx, "haproxy": _haproxy, "caddy": _caddy}


@contextmanager
def hops(directory: Path, backend: int) -> Iterator[dict[str, int]]:
    """Run all that is installed in front of a gateway; gives the port of each configuration by its name."""
    found: dict[str, int] = {}
    with ExitStack() as stack:
        for program, configurations in HOPS.items():
            if PROGRAMS[program] is None:
                continue
            ports = {name: free_port() for name in configurations}
            command = _COMMANDS[program](directory, ports, backend)
            stack.enter_context(proxied(command, directory, next(iter(ports.values()))))
            found |= ports
        if (node := shutil.which("node")) is not None and (EXAMPLE / ".next" / "BUILD_ID").exists():
            for number, (name, lines) in enumerate(NEXTJS.items()):
                found[name] = port = free_port()
                app = directory / f"next-{number}"
                stack.enter_context(proxied(_nextjs(node, app, port, backend, lines), directory, port))
        yield found


def _nextjs(node: str, app: Path, port: int, backend: int, lines: str) -> list[str]:
    """Serve the example as it was built, with rewrites that lead to this gateway, and another configuration."""
    built = app / ".next"
    built.mkdir(parents=True)
    for entry in (EXAMPLE / ".next").iterdir():
        if entry.name not in {"routes-manifest.json", "trace", "cache"}:
            (built / entry.name).symlink_to(entry)
    (app / "node_modules").symlink_to(EXAMPLE / "node_modules")
    manifest = (EXAMPLE / ".next" / "routes-manifest.json").read_text(encoding="utf-8")
    ours = re.sub(r"http://127\.0\.0\.1:\d+/(api|v1)\b", rf"http://127.0.0.1:{backend}/\1", manifest)
    (built / "routes-manifest.json").write_text(ours, encoding="utf-8")
    (app / "next.config.mjs").write_text(f"export default {{ {lines} }}\n", encoding="utf-8")
    program = str(EXAMPLE / "node_modules" / "next" / "dist" / "bin" / "next")
    return [node, program, "start", str(app), "--hostname", "127.0.0.1", "--port", str(port)]
