"""The doctor on real paths: nginx, HAProxy and Caddy with one fault each, and without."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from command_line import gateway
from doctor_proxies import CADDY, HAPROXY, NEXTJS, NGINX, hops
from everytoken.cli.doctor import runner
from everytoken.cli.doctor.checks import found
from everytoken.cli.doctor.measured import Stream
from everytoken.cli.doctor.runner import Options, examine
from everytoken.testing import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from everytoken.cli.doctor.findings import Finding
    from everytoken.cli.doctor.runner import Examination

pytestmark = pytest.mark.blocking_allowed("the proxies and the gateway are other processes")

KEY = "sk-caller-0123456789"
AT_ONCE = 6  # paths that are looked at together; with more the machine would be what holds events up

# What is found on each path, and a word of the line that mends it.
EXPECTED = {
    "nginx": {},
    "nginx, buffering": {"buffering": "proxy_buffering off;", "http-1.0": "proxy_http_version 1.1;"},
    "nginx, as it is by default": {
        "buffering-unasked": "proxy_buffering off;",
        "http-1.0": "proxy_http_version 1.1;",
        "body-refused": "client_max_body_size",
        "host-changed": "proxy_set_header Host",
    },
    "nginx, gzip": {"compression": "gzip off;"},
    "nginx, gzip and buffering": {"buffering": "gzip off;"},
    "nginx, a short time-out": {"idle-timeout": "proxy_read_timeout"},
    "nginx, HTTP/1.0": {"http-1.0": "proxy_http_version 1.1;"},
    "nginx, small bodies": {"body-refused": "client_max_body_size"},
    "nginx, another Host": {"host-changed": "proxy_set_header Host"},
    "nginx, a header hidden": {"headers-lost": "proxy_hide_header"},
    "nginx, a request header dropped": {"request-headers-lost": "proxy_set_header"},
    "nginx, the key dropped": {"key-missing": "proxy_set_header"},
    "nginx, events rewritten": {"ids-lost": "byte for byte"},
    "nginx, clients that leave ignored": {"leaving-unnoticed": "proxy_ignore_client_abort off;"},
    "nginx, below a prefix": {"location-elsewhere": "proxy_redirect / /llm/;"},
    "nginx, below a prefix, mended": {},
    "nginx, no gateway": {"gateway-unreachable": "proxy_pass"},
    "nginx, another path": {"path-not-passed": "location /"},
    "nginx, a login": {"proxy-refuses": "/v1/"},
    "haproxy": {},
    "haproxy, delays": {"buffering": "option http-no-delay"},
    "haproxy, clients that leave ignored": {"leaving-unnoticed": "option abortonclose"},
    "haproxy, a short time-out": {"idle-timeout": "timeout server"},
    "haproxy, compression": {"compression-unasked": "compression type"},
    "haproxy, another Host": {"host-changed": "set-header Host"},
    "caddy": {},
    "caddy, gzip": {"buffering": "encode @pages gzip"},
    "caddy, gzip for pages only": {},
    "caddy, flush": {"leaving-unnoticed": "flush_interval -1"},
    "caddy, a short time-out": {"idle-timeout": "read_timeout", "cut-looks-whole": "read_timeout"},
    "caddy, small bodies": {"body-refused": "max_size 32MiB"},
    "nextjs": {},
    "nextjs, a short time-out": {"idle-timeout": "proxyTimeout"},
}
NAMES = {"nginx": "nginx", "haproxy": "HAProxy", "caddy": "Caddy", "nextjs": "Next.js"}
# Where it is not the product that is named, but what is lost.
UNNAMED = {"headers-lost", "location-elsewhere", "request-headers-lost", "ids-lost", "host-changed"}


def test_every_configuration_is_expected_to_have_something():
    assert set(EXPECTED) == {*NGINX, *HAPROXY, *CADDY, *NEXTJS}


async def look(ports: dict[str, int]) -> dict[str, tuple[Examination, list[Finding]]]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, port: int) -> tuple[Examination, list[Finding]]:
        async with turn:
            done = await examine(
                Options(
                    base=f"http://localhost:{port}{'/llm' if 'prefix' in name else ''}",
                    key=KEY,
                    idle=0.9,
                    interval=0.1,
                    events=4,
                )
            )
            return done, found(done.measured)

    results = await asyncio.gather(*(one(name, port) for name, port in ports.items()))
    return dict(zip(ports, results, strict=True))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Examination, list[Finding]]]]:
    directory: Path = tmp_path_factory.mktemp("hops")
    with (
        ScriptedUpstream("Hello") as upstream,
        gateway("--upstream", upstream.base_url, EVERYTOKEN_API_KEYS=KEY) as (_, url),
        hops(directory, int(url.rsplit(":", 1)[-1])) as ports,
    ):
        yield asyncio.run(look({"nothing in between": int(url.rsplit(":", 1)[-1]), **ports}))


def test_nothing_is_found_without_a_proxy(seen):
    done, findings = seen["nothing in between"]
    assert findings == []
    assert done.measured.direct
    assert done.unseen == [
        "the gateway itself and its upstreams: that needs --admin-key or EVERYTOKEN_ADMIN_KEY"
    ]


@pytest.mark.parametrize("path", EXPECTED)
def test_what_is_wrong_is_named_and_nothing_else(seen, path):
    product = path.partition(",")[0]
    if path not in seen:
        pytest.skip(f"{product} is not installed, or its example is not built")
    done, findings = seen[path]
    assert done.measured.products == (product,)
    if product == "nextjs":  # on by default, and harmless as long as nothing drops a header
        assert "compress: false," in {c.line for f in findings if f.severity == "note" for c in f.change}
    wrong = [finding for finding in findings if finding.severity != "note"]
    assert {finding.code for finding in wrong} == set(EXPECTED[path]), [
        (f.what, f.evidence) for f in findings
    ]
    for finding in wrong:
        assert any(EXPECTED[path][finding.code] in change.line for change in finding.change), finding.change
        if finding.code not in UNNAMED:
            assert NAMES[product] in finding.what


@pytest.mark.parametrize(
    ("statuses", "asked", "status"), [((504, 200), 2, 200), ((504, 504, 200), 2, 504), ((503, 200), 1, 503)]
)
async def test_a_first_probe_that_was_too_late_for_a_hop_is_repeated_once(
    statuses: tuple[int, ...], asked: int, status: int
) -> None:
    probes = iter([Stream(status=one, seen={"probe": "p"} if one == 200 else {}) for one in statuses])
    count = 0

    async def probe() -> Stream:
        nonlocal count
        count += 1
        return next(probes)

    path: Any = SimpleNamespace(probe=probe)
    greeting = await runner._greet(path, Options(base="http://127.0.0.1:1"))
    assert (count, greeting.status) == (asked, status)
