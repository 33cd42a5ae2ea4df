"""The line of configuration that mends a problem, for each product that can cause it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from everytoken.cli.doctor.findings import Change
from everytoken.cli.doctor.products import NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LINES", "able", "changes", "setting"]

_ELSE: Final = ""

LINES: Final[dict[str, dict[str, str]]] = {
    "buffering": {
        "nginx": "proxy_buffering off;  # and no proxy_ignore_headers X-Accel-Buffering",
        "haproxy": "option http-no-delay",
        "caddy": "reverse_proxy …  # without response_buffers",
        "nextjs": "compress: false,",
        "cloudflare": "Compression Rules: no compression for the paths /v1/* and /api/*",
        "apache": "ProxyPass / http://127.0.0.1:8000/ flushpackets=on",
        "traefik": "responseForwarding.flushInterval: 1ms  # and no buffering middleware",
        _ELSE: "switch the buffering of responses off for /v1/ and /api/",
    },
    "compression": {
        "nginx": "gzip off;",
        "haproxy": "compression type text/html text/css application/javascript  # not text/event-stream",
        "caddy": "@pages not path /v1/* /api/*  # and then: encode @pages gzip",
        "nextjs": "compress: false,",
        "cloudflare": "Compression Rules: no compression for the paths /v1/* and /api/*",
        "cloudfront": "Compress: false  # in the cache behavior of /v1/* and /api/*",
        "apache": "SetEnvIf Request_URI ^/(v1|api)/ no-gzip",
        "traefik": "compress.excludedContentTypes: [text/event-stream]",
        _ELSE: "switch compression off for the type text/event-stream",
    },
    "silence": {
        "nginx": "proxy_read_timeout 3600s;",
        "haproxy": "timeout server 1h  # and: timeout client 1h",
        "caddy": "reverse_proxy …  # without read_timeout, write_timeout and stream_timeout",
        "nextjs": "experimental: { proxyTimeout: 3_600_000 },",
        "alb": "idle_timeout.timeout_seconds = 3600",
        "apache": "ProxyTimeout 3600",
        "envoy": "timeout: 0s  # and: stream_idle_timeout: 3600s",
        "cloudfront": "OriginReadTimeout: 60",
        _ELSE: "set its read or idle time-out to 3600 seconds",
    },
    "http-1.0": {
        "nginx": 'proxy_http_version 1.1;  # and: proxy_set_header Connection "";',
        "apache": "SetEnv force-proxy-request-1.0 0",
        _ELSE: "have it speak HTTP/1.1 to the gateway",
    },
    "body": {
        "nginx": "client_max_body_size 32m;",
        "caddy": "request_body { max_size 32MiB }",
        "nextjs": "experimental: { proxyClientMaxBodySize: '32mb' },",
        "apache": "LimitRequestBody 33554432",
        _ELSE: "allow request bodies of 32 MiB",
    },
    "host": {
        "nginx": "proxy_set_header Host $http_host;",
        "haproxy": "# remove: http-request set-header Host …",
        "caddy": "reverse_proxy …  # without header_up Host",
        "apache": "ProxyPreserveHost On",
        _ELSE: "pass on the Host header as it came",
    },
    "leaving": {
        "nginx": "proxy_ignore_client_abort off;",
        "caddy": "reverse_proxy …  # without flush_interval -1",
        "haproxy": "option abortonclose",
        _ELSE: "have it close its connection to the gateway when a client leaves",
    },
    "headers": {
        "nginx": "# remove: proxy_hide_header …, more_clear_headers …",
        "haproxy": "# remove: http-response del-header …",
        "caddy": "# remove: header -…, header_down -…",
        _ELSE: "pass on all headers of the response",
    },
    "location": {
        "nginx": "proxy_redirect / PREFIX/;",
        "haproxy": "http-response replace-header Location ^/(.*) PREFIX/\\1",
        "caddy": "header_down Location ^/(.*) PREFIX/$1  # in reverse_proxy",
        _ELSE: "rewrite Location as it rewrites the path",
    },
    "request-headers": {
        "nginx": 'proxy_pass_request_headers on;  # and no proxy_set_header … "" for it',
        "haproxy": "# remove: http-request del-header …",
        "caddy": "# remove: header_up -…",
        _ELSE: "pass on all headers of the request",
    },
    "ids": {_ELSE: "pass on event streams byte for byte"},
    "unreachable": {
        "nginx": "proxy_pass http://127.0.0.1:8000;  # where the gateway listens",
        "haproxy": "server everytoken 127.0.0.1:8000  # where the gateway listens",
        "caddy": "reverse_proxy 127.0.0.1:8000  # where the gateway listens",
        "nextjs": "destination: 'http://127.0.0.1:8000/v1/:path*',  // where the gateway listens",
        _ELSE: "point it to where the gateway listens (127.0.0.1:8000)",
    },
    "path": {
        "nginx": "location / { proxy_pass http://127.0.0.1:8000; }",
        "haproxy": "default_backend everytoken",
        "caddy": "reverse_proxy 127.0.0.1:8000  # for all paths",
        "nextjs": "rewrites: async () => [{ source: '/v1/:path*', destination: 'http://127.0.0.1:8000/v1/:path*' }],",
        _ELSE: "pass /v1/, /api/ and /admin/ to the gateway",
    },
}
"""By problem, by product; "" is for a product that is not known, or has no such setting."""

_FILES: Final = {"nextjs": "next.config.js"}


def able(problem: str, products: Sequence[str]) -> list[str]:
    """Return which of the products on the path have a setting that causes a problem."""
    return [product for product in products if product in LINES[problem]]


def changes(problem: str, products: Sequence[str]) -> tuple[Change, ...]:
    """Return what to write, for each product on the path that can be the cause."""
    found = able(problem, products)
    if not found:
        return (Change("the proxy", LINES[problem][_ELSE]),)
    return tuple(
        Change(
            f"{NAMES[product]} ({_FILES[product]})" if product in _FILES else NAMES[product],
            LINES[problem][product],
        )
        for product in found
    )


def setting(line: str) -> tuple[Change, ...]:
    """Return a line of the gateway's own configuration."""
    return (Change("everytoken.toml", line),)
