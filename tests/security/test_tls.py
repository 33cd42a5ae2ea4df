"""TLS of our own, and what is said of files that cannot be used."""

from __future__ import annotations

import http.client
import json
import ssl
from urllib.parse import urlsplit

import pytest
import trustme

from command_line import gateway, run
from everytoken.testing import ScriptedUpstream

BODY = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return the authority, and the files of a certificate for 127.0.0.1."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    cert, key = directory / "cert.pem", directory / "key.pem"
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(cert, append=True)
    return authority, str(cert), str(key)


def test_a_response_streams_over_tls(certificate):
    authority, cert, key = certificate
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with (
        ScriptedUpstream() as upstream,
        gateway(
            "--upstream", upstream.base_url, "--tls-cert", cert, "--tls-key", key, "--journal", "memory"
        ) as (_, url),
    ):
        assert url.startswith("https://")
        connection = http.client.HTTPSConnection("127.0.0.1", urlsplit(url).port, context=context, timeout=10)
        for _ in range(2):  # on one connection
            connection.request("POST", "/v1/chat/completions", BODY, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.read().endswith(b"data: [DONE]\n\n")
            assert answer.headers["date"]
        connection.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tls-cert", "CERT"], "needs both"),
        (["--tls-key", "KEY"], "needs both"),
        (["--tls-cert", "CERT", "--tls-key", "CERT"], "cannot be used"),
        (["--tls-cert", "/nowhere/cert.pem", "--tls-key", "KEY"], "cannot read /nowhere/cert.pem"),
        (["--tls-cert", "CERT", "--tls-key", "/nowhere/key.pem"], "cannot read /nowhere/key.pem"),
    ],
)
def test_files_that_cannot_be_used_are_one_line(certificate, arguments, said):
    _, cert, key = certificate
    given = [{"CERT": cert, "KEY": key}.get(argument, argument) for argument in arguments]
    done = run("serve", "--port", "0", "--upstream", "http://127.0.0.1:9/v1", "--journal", "memory", *given)
    assert done.returncode == 1
    assert said in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
