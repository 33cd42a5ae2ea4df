"""From measurements to findings, as a table: each check by itself, without a network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from everytoken.cli.doctor.advice import LINES
from everytoken.cli.doctor.checks import found
from everytoken.cli.doctor.checks.headers import SENT
from everytoken.cli.doctor.measured import Arrival, Large, Measured, Stream, Tls
from everytoken.cli.doctor.output import as_text
from everytoken.cli.doctor.products import NAMES
from everytoken.cli.doctor.runner import Examination

ROOT = Path(__file__).parents[4]
NOW = 1_795_845_600.0
DATE = "Sat, 28 Nov 2026 06:00:00 GMT"
MIB = 1024**2
OWN = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "location": "/v1/probe/p",
    "stream-next-offset": "0",
    "x-request-id": "doctor-1",
}


def stream(*, lags=(0.01,) * 7, ids=True, end=True, sent=OWN, got=None, seen=None, late=0.0, **more):
    """Return a probe whose events were sent 0.2 s apart, and took `lags` seconds."""
    moments = [NOW + 0.2 * number + (late if number > 2 else 0) for number in range(len(lags))]
    told = {
        "http_version": "1.1",
        "keep_alive": 15,
        "probe": "p",
        "sent": sent,
        "headers": {**SENT, "host": "llm.example", "x-request-id": "doctor-1"},
        **(seen or {}),
    }
    events = [
        Arrival(number, at, at + lag, str(number) if ids else "")
        for number, (at, lag) in enumerate(zip(moments, lags, strict=True))
    ]
    headers = {"date": DATE, **(OWN if got is None else got)}
    values = {"status": 200, "http_version": "HTTP/1.1", "interval": 0.2, "complete": end, "clean": end}
    return Stream(**{**values, "headers": headers, "seen": told, "events": events, **more})


def refused(status, message="", code="invalid-request", **more):
    body = json.dumps({"error": {"message": message, "code": code}}) if code else message
    return Stream(status=status, body=body, **more)


def measured(**more):
    values = {
        "url": "https://llm.example",
        "now": NOW,
        "own_host": "llm.example",
        "request_id": "doctor-1",
        "has_key": True,
        "products": ("nginx",),
        "greeting": stream(lags=(0.01, 0.01)),
        "paced": [stream(), stream(method="POST")],
        "bare": stream(hints=False),
        "silent": stream(lags=(0.01, 0.01), idle=6.0),
        "left": "left",
        "large": Large(1_572_878, 200, 1_572_878),
        "models": ["m"],
        "health": health(),
    }
    return Measured(**{**values, **more})


def health(**more):
    return {
        "ready": {"status": "ready"},
        "journal": {"kind": "sqlite", "durability": "process"},
        "disk": {
            "directory": "/var",
            "free": 50 * 1024**3,
            "total": 100 * 1024**3,
            "max_journal": 2 * 1024**3,
        },
        "descriptors": {"soft": 65_536, "hard": 65_536, "open": 30, "max_connections": 16_384},
        **more,
    }


def redis(durability="process", **settings):
    return health(journal={"kind": "redis", "durability": durability, "settings": settings})


HELD = (1.2, 1.0, 0.8, 0.6, 0.4, 0.2, 0.01)
KEPT = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
CASES = {
    "nothing": ({}, set()),
    "a slow but steady path": ({"paced": [stream(lags=(0.9,) * 7)]}, set()),
    "a path that jitters": ({"paced": [stream(lags=(0.01, 0.12, 0.02, 0.09, 0.01, 0.13, 0.04))]}, set()),
    "held to the end": ({"paced": [stream(lags=HELD)]}, {"buffering"}),
    "held for POST only": ({"paced": [stream(), stream(lags=HELD, method="POST")]}, {"buffering"}),
    "held in pairs": ({"paced": [stream(lags=(0.21, 0.01) * 3 + (0.01,))]}, {"buffering"}),
    "held without anything between": (
        {"direct": True, "products": (), "paced": [stream(lags=HELD)]},
        {"bunches"},
    ),
    "compressed": ({"paced": [stream(got={**OWN, "content-encoding": "gzip"})]}, {"compression"}),
    "compressed and held": (
        {"paced": [stream(lags=HELD, got={**OWN, "content-encoding": "br"})]},
        {"buffering"},
    ),
    "compressed by name only": ({"paced": [stream(got={**OWN, "content-encoding": "identity"})]}, set()),
    "held unless forbidden": ({"bare": stream(lags=HELD, hints=False)}, {"buffering-unasked"}),
    "compressed unless forbidden": (
        {"bare": stream(hints=False, got={**OWN, "content-encoding": "gzip"})},
        {"compression-unasked"},
    ),
    "the gateway is late": ({"paced": [stream(late=0.8)]}, {"gateway-late"}),
    "cut when silent": (
        {"silent": stream(lags=(0.01,), end=False, problem="reset", idle=6.0, ended=NOW + 5.01)},
        {"idle-timeout"},
    ),
    "cut when silent for long": (
        {"silent": stream(lags=(0.01,), end=False, problem="reset", idle=90.0, ended=NOW + 60)},
        {"idle-timeout-long"},
    ),
    "a time-out before the head": (
        {"silent": Stream(status=504, body="<html>", idle=6.0, ended=NOW + 5)},
        {"idle-timeout"},
    ),
    "cut without a silence": ({"paced": [stream(end=False, problem="reset")]}, {"stream-cut"}),
    "HTTP/1.0 to the gateway": (
        {"greeting": stream(lags=(0.01,), seen={"http_version": "1.0"})},
        {"http-1.0"},
    ),
    "HTTP/1.0 to the client": ({"greeting": stream(lags=(0.01,), http_version="HTTP/1.0")}, {"http-1.0"}),
    "cut and ended properly": (
        {"silent": stream(lags=(0.01,), end=False, clean=True, idle=6.0, ended=NOW + 5)},
        {"idle-timeout", "cut-looks-whole"},
    ),
    "ids lost": ({"paced": [stream(ids=False)]}, {"ids-lost"}),
    "Location lost": (
        {"greeting": stream(lags=(0.01,), got={k: v for k, v in OWN.items() if k != "location"})},
        {"headers-lost"},
    ),
    "the offset changed": (
        {"greeting": stream(lags=(0.01,), got={**OWN, "stream-next-offset": "9"})},
        {"headers-lost"},
    ),
    "a Location without the prefix": ({"url": "https://llm.example/llm"}, {"location-elsewhere"}),
    "a Location at another server": (
        {"greeting": stream(lags=(0.01,), got={**OWN, "location": "http://127.0.0.1:8000/v1/probe/p"})},
        {"location-elsewhere"},
    ),
    "a Location that is whole": (
        {"greeting": stream(lags=(0.01,), got={**OWN, "location": "https://llm.example/v1/probe/p"})},
        set(),
    ),
    "no-transform lost": (
        {"greeting": stream(lags=(0.01,), got={**OWN, "cache-control": "no-cache"})},
        {"headers-lost"},
    ),
    "a header of the request lost": (
        {
            "greeting": stream(
                lags=(0.01,), seen={"headers": {**SENT, "last-event-id": None, "x-request-id": "doctor-1"}}
            )
        },
        {"request-headers-lost"},
    ),
    "another Host": (
        {
            "greeting": stream(
                lags=(0.01,), seen={"headers": {**SENT, "host": "b", "x-request-id": "doctor-1"}}
            )
        },
        {"host-changed"},
    ),
    "another Host, as Next.js has it": (
        {
            "products": ("nextjs",),
            "greeting": stream(
                lags=(0.01,), seen={"headers": {**SENT, "host": "b", "x-request-id": "doctor-1"}}
            ),
        },
        set(),
    ),
    "leaving unnoticed": ({"left": "running"}, {"leaving-unnoticed"}),
    "leaving unknown": ({"left": ""}, set()),
    "large requests refused": ({"large": Large(1_572_878, 413)}, {"body-refused"}),
    "large requests too slow": ({"large": Large(1_572_878, 504)}, {"body-refused"}),
    "large requests too slow for what cuts silence": (
        {
            "large": Large(1_572_878, 504),
            "silent": stream(lags=(0.01,), end=False, problem="reset", idle=6.0, ended=NOW + 0.61),
        },
        {"idle-timeout"},
    ),
    "large requests cut": ({"large": Large(1_572_878, 200, 1000)}, {"body-refused"}),
    "the gateway's clock": (
        {"greeting": stream(lags=(30, 30)), "paced": [], "bare": None, "silent": None},
        {"clock-skew"},
    ),
    "the proxy's clock": (
        {"greeting": stream(lags=(0.01,), got={**OWN, "date": "Sat, 28 Nov 2026 06:10:00 GMT"})},
        {"clock-skew-proxy"},
    ),
    "a Date that is none": ({"greeting": stream(lags=(0.01,), got={**OWN, "date": "today"})}, set()),
    "no key": (
        {"has_key": False, "greeting": refused(401, "an API key is needed: send it")},
        {"key-missing"},
    ),
    "the key lost": ({"greeting": refused(401, "an API key is needed: send it")}, {"key-missing"}),
    "a wrong key": ({"greeting": refused(401, "unknown API key")}, {"key-refused"}),
    "another name": ({"greeting": refused(421, "not that Host", "host-not-allowed")}, {"host-refused"}),
    "an older gateway": (
        {"greeting": refused(404, "Unknown path /v1/probe", "route-not-found")},
        {"no-probe"},
    ),
    "the gateway refuses": ({"greeting": refused(503, "too many probes", "overloaded")}, {"probe-refused"}),
    "no gateway": ({"greeting": refused(502, "<h1>502</h1>", "")}, {"gateway-unreachable"}),
    "a login in front": ({"greeting": refused(401, "<h1>401</h1>", "")}, {"proxy-refuses"}),
    "a redirect": (
        {"greeting": refused(308, "", "", headers={"location": "https://llm.example/v1/probe?events=0"})},
        {"redirected"},
    ),
    "another path": ({"greeting": refused(404, "<h1>404</h1>", "")}, {"path-not-passed"}),
    "a model that is served": ({"model": "m"}, set()),
    "a model that is not": ({"model": "n"}, {"model-not-served"}),
    "models that any name stands for": ({"model": "n", "models": []}, set()),
    "no models in time for what cuts silence": (
        {
            "models": None,
            "models_problem": "status 504",
            "models_status": 504,
            "silent": stream(lags=(0.01,), end=False, problem="reset", idle=6.0, ended=NOW + 0.61),
        },
        {"idle-timeout"},
    ),
    "no models: a hop that is late": (
        {"models": None, "models_problem": "status 504", "models_status": 504},
        {"no-models"},
    ),
    "no models": ({"models": None, "models_problem": "cannot connect"}, {"no-models"}),
    "a certificate for long": ({"tls": Tls(valid_until=NOW + 90 * 86_400)}, set()),
    "a certificate for days": ({"tls": Tls(valid_until=NOW + 3 * 86_400)}, {"tls-expires-soon"}),
    "Redis that keeps": ({"health": redis(**KEPT)}, set()),
    "Redis that forgets": ({"health": redis(**{**KEPT, "appendonly": "no"})}, {"redis-forgets"}),
    "Redis and a loss of power": ({"health": redis("power", **KEPT)}, {"redis-not-power-safe"}),
    "Redis that is safe": ({"health": redis("power", **{**KEPT, "appendfsync": "always"})}, set()),
    "Redis that drops": (
        {"health": redis(**{**KEPT, "maxmemory": "100", "maxmemory-policy": "allkeys-lru"})},
        {"redis-evicts"},
    ),
    "a journal that is silent": (
        {"health": health(journal={"kind": "redis", "problem": "it does not answer"})},
        {"journal-silent"},
    ),
    "a full disk": (
        {"health": health(disk={"directory": "/var", "free": MIB, "total": 9 * MIB, "max_journal": MIB})},
        {"disk-full"},
    ),
    "a disk that is nearly full": (
        {
            "health": health(
                disk={
                    "directory": "/var",
                    "free": 900 * MIB,
                    "total": 99 * 1024 * MIB,
                    "max_journal": 2048 * MIB,
                }
            )
        },
        {"disk-nearly-full"},
    ),
    "a disk that fails": (
        {"health": health(disk={"directory": "/var", "problem": "no answer"})},
        {"disk-problem"},
    ),
    "few files": ({"health": health(descriptors={"soft": 1024, "open": 30})}, {"few-files"}),
    "files used up": ({"health": health(descriptors={"soft": 4096, "open": 4000})}, {"files-nearly-used-up"}),
    "files without a limit": ({"health": health(descriptors={"soft": -1, "open": 4000})}, set()),
    "not ready": (
        {"health": health(ready={"reasons": ["no upstream can be tried: all of them failed"]})},
        {"not-ready"},
    ),
    "an upstream set aside": (
        {"health": health(ready={"set_aside": [{"upstream": "u", "model": "m", "seconds": 3}]})},
        {"upstream-set-aside"},
    ),
}
NOTES = {
    "no TLS": ({"url": "http://llm.example"}, {"no-tls"}),
    "a journal in memory": ({"health": health(journal={"kind": "memory"})}, {"journal-in-memory"}),
    "Redis that tells nothing": ({"health": redis()}, {"redis-settings-unknown"}),
    "only the request's id lost": (
        {"greeting": stream(lags=(0.01,), seen={"headers": {**SENT, "host": "llm.example"}})},
        {"request-headers-lost"},
    ),
    "Next.js compresses by default": (
        {"products": ("nextjs",), "bare": stream(hints=False, got={**OWN, "content-encoding": "gzip"})},
        {"compression-unasked"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_measured_becomes_what_is_found(case):
    changed, codes = CASES[case]
    findings = found(measured(**changed))
    assert {finding.code for finding in findings} == codes, findings
    for finding in findings:
        assert finding.severity in {"error", "warning"}
        assert finding.what.endswith(".")
        assert finding.why.endswith(".")
        assert finding.change or finding.code in {"probe-refused", "not-ready"}


@pytest.mark.parametrize("case", NOTES)
def test_what_is_good_to_know_is_a_note(case):
    changed, codes = NOTES[case]
    assert {(finding.code, finding.severity) for finding in found(measured(**changed))} == {
        (code, "note") for code in codes
    }


def test_the_worst_comes_first():
    findings = found(
        measured(
            paced=[stream(lags=HELD)], tls=Tls(valid_until=NOW + 1), health=health(journal={"kind": "memory"})
        )
    )
    assert [finding.severity for finding in findings] == ["error", "warning", "note"]


@pytest.mark.parametrize("product", [None, *NAMES])
@pytest.mark.parametrize(
    "problem", [{"paced": [stream(lags=HELD)]}, {"left": "running"}, {"large": Large(9, 413)}]
)
def test_every_product_has_a_line_or_there_is_one_for_all(product, problem):
    [finding] = found(measured(products=(product,) if product else (), **problem))
    assert finding.change[0].line


def test_lines_are_for_products_that_can_be_recognised():
    assert {product for lines in LINES.values() for product in lines} - {""} <= set(NAMES)
    assert all(lines[""] for lines in LINES.values())


def test_the_page_has_every_code_and_an_example_as_it_is_printed():
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("## Doctor")[2]
    codes = set()
    for module in (ROOT / "src/everytoken/cli/doctor/checks").glob("*.py"):
        codes |= set(re.findall(r'Finding\(\s*"([a-z0-9.-]+)"', module.read_text(encoding="utf-8")))
    rows = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    told = set(re.findall(r"`([a-z0-9.-]+)`", rows))
    assert codes <= told, codes - told
    example = re.search(r"```text\n\$ everytoken doctor .*?\n(.*?)```", page, re.DOTALL)[1]
    cut = "peer closed connection without sending complete message body (incomplete chunked read)"
    silent = stream(lags=(0.01,), end=False, problem=cut, idle=6.0, ended=NOW + 5.01)
    greeting = stream(lags=(0.01,), seen={"everytoken": "0.1.0"})
    unseen = ["the gateway itself and its upstreams: that needs --admin-key or EVERYTOKEN_ADMIN_KEY"]
    done = Examination(measured(silent=silent, greeting=greeting, health=None), unseen)
    assert click.unstyle(as_text(done, found(done.measured), 6.3)) + "\n" == example
