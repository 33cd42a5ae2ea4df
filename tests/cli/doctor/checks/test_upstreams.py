"""Upstreams with one fault each, as the doctor has the gateway find it."""

from __future__ import annotations

import json

import pytest

from everytoken.cli.doctor.checks.access import access
from everytoken.cli.doctor.checks.machine import machine
from everytoken.cli.doctor.checks.model import model as model_served
from everytoken.cli.doctor.checks.upstreams import upstreams
from everytoken.cli.doctor.measured import Measured
from everytoken.cli.doctor.runner import Options, examine
from everytoken.gateway import UpstreamConfig
from everytoken.testing import Answer, CleanEnd, Head, ScriptedUpstream, Send, Status, Wait
from gateway_serving import event, limit, serving

pytestmark = pytest.mark.virtual_time

ADMIN = "sk-admin-0123456789"
TEXT = Answer(" ".join(map(str, range(1, 21))))
END = event(finish="stop") + b"data: [DONE]\n\n"
CHUNKS = b"".join(event(f" {number}") for number in range(12)) + END


def refusal(status, message):
    return Status(status, body=json.dumps({"error": {"message": message}}).encode())


async def findings_of(upstream, model="", **more):
    async with upstream, limit():
        configured = UpstreamConfig(name="u", url=upstream.base_url, **{"api": "chat", **more})
        async with serving(configured, admin_keys=[ADMIN]) as gateway:
            options = Options(
                base=gateway.url, admin_key=ADMIN, model=model, idle=0.1, interval=0.02, events=1
            )
            done = await examine(options)
    assert done.unseen == []
    # In virtual time nothing is to be said of the pace of the path.
    return [
        finding for check in (access, machine, model_served, upstreams) for finding in check(done.measured)
    ]


CASES = {
    "healthy": (ScriptedUpstream, (TEXT,), {}, "", ""),
    "healthy, in every API": (ScriptedUpstream, (TEXT,), {"api": None}, "", ""),
    "healthy, in one API that has to be found": (
        lambda text: ScriptedUpstream(text, apis=["chat"]),
        (TEXT,),
        {"api": None},
        "",
        "",
    ),
    "wrong key": (
        ScriptedUpstream,
        ([refusal(401, "Incorrect API key")],),
        {},
        "upstream-key-refused",
        "key_env",
    ),
    "no such model": (
        ScriptedUpstream,
        (TEXT,),
        {"models": {"big": "scriptet"}},
        "upstream-no-such-model",
        'models = ["scripted"]',
    ),
    "a model that is refused": (
        ScriptedUpstream,
        ([refusal(404, "The model `m` does not exist")],),
        {},
        "upstream-no-such-model",
        "models = ",
    ),
    "buffered": (
        ScriptedUpstream,
        ([Head(), Wait(1.0), Send(CHUNKS), CleanEnd()],),
        {},
        "upstream-buffered",
        "proxy_buffering off",
    ),
    "buffered, a buffer at a time": (
        ScriptedUpstream,
        ([Head(), Wait(0.5), Send(CHUNKS[:1100]), Wait(0.5), Send(CHUNKS[1100:]), CleanEnd()],),
        {},
        "upstream-buffered",
        "proxy_buffering off",
    ),
    "quick": (ScriptedUpstream, ([Head(), Wait(0.2), Send(CHUNKS), CleanEnd()],), {}, "", ""),
    "steady": (
        ScriptedUpstream,
        (
            [
                Head(),
                *(step for number in range(12) for step in (Wait(0.05), Send(event(f" {number}")))),
                Send(END),
            ],
        ),
        {},
        "",
        "",
    ),
    "lacks an API": (
        lambda text: ScriptedUpstream(text, apis=["chat"]),
        (TEXT,),
        {"api": ["chat", "messages"]},
        "upstream-lacks-api",
        'api = ["chat"]',
    ),
    "has no API": (
        lambda text: ScriptedUpstream(text, apis=[]),
        (TEXT,),
        {"api": None},
        "upstream-lacks-api",
        "url",
    ),
    "cut": (
        lambda text: ScriptedUpstream(text, faults=[("always", "reset", "middle")]),
        (TEXT,),
        {},
        "upstream-cut",
        "log",
    ),
    "silent": (
        lambda text: ScriptedUpstream(text, faults=[("always", "silent", "one")]),
        (TEXT,),
        {},
        "upstream-silent",
        "first_content",
    ),
    "in one piece": (
        ScriptedUpstream,
        ([Status(200, body=b'{"choices":[{"index":0,"message":{"content":"1"},"finish_reason":"stop"}]}')],),
        {},
        "upstream-does-not-stream",
        "streaming",
    ),
    "no credit": (ScriptedUpstream, ([refusal(402, "pay first")],), {}, "upstream-refuses", "pay"),
    "busy": (ScriptedUpstream, ([refusal(429, "slow down")],), {}, "upstream-refuses", "weight"),
    "not there": (
        lambda text: ScriptedUpstream(text, faults=[("always", "connection-refused", "start")]),
        (TEXT,),
        {},
        "upstream-unreachable",
        "url",
    ),
    "no TLS": (
        lambda text: ScriptedUpstream(text, faults=[("always", "tls-plain-text", "start")]),
        (TEXT,),
        {},
        "upstream-unreachable",
        "https://",
    ),
}


@pytest.mark.blocking_allowed("reads the system's certificates")
@pytest.mark.parametrize("case", CASES)
async def test_what_is_wrong_with_it_is_named_and_nothing_else(case):
    make, arguments, more, code, line = CASES[case]
    findings = await findings_of(make(*arguments), **more)
    assert [finding.code for finding in findings] == ([code] if code else []), findings
    for finding in findings:
        assert "'u'" in finding.what
        assert any(line in change.line for change in finding.change)
        assert finding.evidence or case == "silent"


def test_a_clock_that_is_far_off():
    one = {"api": "chat", "outcome": "streamed", "date": "Sat, 28 Nov 2026 06:00:00 GMT", "head": 0.1}
    told = {"upstream": "u", "at": 1795845600.0 + 300, "apis": [one]}
    [finding] = upstreams(Measured(url="http://x", now=0, upstreams=[told]))
    assert (finding.code, "300 s" in finding.what) == ("clock-skew-upstream", True)
    told["at"] -= 290
    assert not list(upstreams(Measured(url="http://x", now=0, upstreams=[told])))


def test_one_that_the_gateway_cannot_probe():
    told = {"upstream": "u", "problem": "an internal error"}
    [finding] = upstreams(Measured(url="http://x", now=0, upstreams=[told]))
    assert finding.code == "upstream-not-probed"


@pytest.mark.parametrize(
    ("reason", "what", "line"),
    [
        ("certificate has expired", "has expired", "renew"),
        ("certificate is not yet valid", "not valid yet", "timedatectl"),
        ("Hostname mismatch, certificate is not valid for 'u.example'", "for another name", "url"),
        ("IP address mismatch, certificate is not valid for '10.0.0.1'", "for another name", "url"),
        ("self-signed certificate in certificate chain", "unknown authority", "SSL_CERT_FILE"),
        ("unable to get local issuer certificate", "chain is incomplete", "SSL_CERT_FILE"),
    ],
)
def test_which_part_of_a_certificate_is_wrong(reason, what, line):
    said = f"cannot connect to upstream 'u': [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {reason}"
    told = {"upstream": "u", "apis": [{"api": "chat", "outcome": "failed", "message": said}]}
    [finding] = upstreams(Measured(url="http://x", now=0, upstreams=[told]))
    assert (finding.code, what in finding.what) == ("upstream-unreachable", True)
    assert line in finding.change[0].line
