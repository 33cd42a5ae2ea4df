"""Certificates: expired, of an unknown authority, for another name, and good ones."""

from __future__ import annotations

import datetime as dt
import ssl
from contextlib import asynccontextmanager

import pytest
import trustme

from everytoken.cli.doctor.checks import found
from everytoken.cli.doctor.runner import NotRunError, Options, examine
from everytoken.errors import EverytokenError
from gateway_serving import ManualUpstream, limit, over, served

pytestmark = pytest.mark.blocking_allowed(
    "a command has a loop for itself, and an HTTP client that reads files"
)

KEY = "sk-caller-0123456789"
DAY = dt.timedelta(days=1)


def now():
    return dt.datetime.now(dt.UTC)


def certificates(tmp_path, name="localhost", **life):
    authority = trustme.CA()
    issued = authority.issue_cert(name, **life)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    return context, file


@asynccontextmanager
async def serving_tls(context):
    async with (
        limit(),
        over(ManualUpstream(), api_keys=[KEY]) as gateway,
        served(gateway, tls=context) as port,
    ):
        yield gateway, f"https://localhost:{port}"


async def examined(url):
    done = await examine(Options(base=url, key=KEY, idle=0.1, interval=0.02, events=0))
    return done, found(done.measured)


@pytest.mark.parametrize(
    ("name", "life", "code", "said"),
    [
        pytest.param("localhost", {"not_after": -DAY}, "tls-expired", "expired", id="expired"),
        pytest.param(
            "localhost", {"not_before": DAY}, "tls-not-yet-valid", "not valid yet", id="not yet valid"
        ),
        pytest.param(
            "other.example", {}, "tls-wrong-name", "for other.example, not for localhost", id="name"
        ),
        pytest.param("localhost", None, "tls-unknown-authority", "authority", id="authority"),
    ],
)
async def test_a_certificate_that_is_refused_is_named_and_no_key_is_sent(
    tmp_path, monkeypatch, name, life, code, said
):
    moments = {which: now() + span for which, span in (life or {}).items()}
    if "not_after" in moments:
        moments["not_before"] = now() - 9 * DAY
    if "not_before" in moments and "not_after" not in moments:
        moments["not_after"] = now() + 9 * DAY
    context, authority = certificates(tmp_path, name, **moments)
    if life is not None:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    async with serving_tls(context) as (gateway, url):
        done, [finding] = await examined(url)
        assert not gateway.probes._states
    assert (finding.code, finding.severity) == (code, "error")
    assert said in finding.what
    assert finding.change
    assert "the key was not sent" in done.unseen[0]


async def test_one_that_expires_soon_works_and_is_warned_of(tmp_path, monkeypatch):
    context, authority = certificates(tmp_path, not_before=now() - DAY, not_after=now() + 3.5 * DAY)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    async with serving_tls(context) as (_, url):
        _, [finding] = await examined(url)
    assert (finding.code, finding.severity) == ("tls-expires-soon", "warning")
    assert "in 3 days" in finding.what


async def test_nothing_is_found_with_a_good_one(tmp_path, monkeypatch):
    context, authority = certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    async with serving_tls(context) as (_, url):
        done, findings = await examined(url)
    assert findings == []
    assert done.measured.direct


async def test_no_tls_on_the_port():
    async with limit(), over(ManualUpstream()) as gateway, served(gateway) as port:
        _, [finding] = await examined(f"https://localhost:{port}")
    assert finding.code == "tls-failed"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_nobody_is_there(unused_tcp_port, scheme):
    async with limit():
        with pytest.raises(NotRunError, match="no server") as raised:
            await examined(f"{scheme}://localhost:{unused_tcp_port}")
    assert isinstance(raised.value, EverytokenError)
