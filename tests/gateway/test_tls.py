"""TLS of our own, and what is said of files that cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import ssl
from urllib.parse import urlsplit

import pytest
import trustme

from command_line import gateway, run
from everytoken.testing import ScriptedUpstream
from gateway_serving import ManualUpstream, Wire, limit, over, served

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


SECOND = 1  # of virtual time
GET = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"


def contexts(certificate):
    """Return a client's context and the gateway's."""
    authority, cert, key = certificate
    client = ssl.create_default_context()
    authority.configure_trust(client)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(cert, key)
    return client, server


@contextlib.asynccontextmanager
async def speaking_tls(server, **settings):
    gateway = over(ManualUpstream(), **settings)
    async with limit(), gateway, served(gateway, tls=server) as port:
        yield port


async def is_closed(reader):
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def asked(port, client):
    """Make a connection that has been answered once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
    writer.write(GET)
    assert (await Wire(reader, writer).answer()).status == 200
    return writer


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "a part of it"])
@pytest.mark.virtual_time
async def test_a_handshake_has_to_come_in_time(certificate, sent):
    _, server = contexts(certificate)
    loop = asyncio.get_running_loop()
    async with speaking_tls(server) as port, Wire.to(port) as wire:
        since = loop.time()
        wire.writer.write(sent)
        assert await is_closed(wire.reader)
        assert 9 <= loop.time() - since <= 12


@pytest.mark.parametrize("settings", [{"max_connections": 3}, {"max_address_connections": 3}])
async def test_handshakes_count_as_connections(certificate, settings):
    client, server = contexts(certificate)
    async with speaking_tls(server, **settings) as port, contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(Wire.to(port))
        kept = await asked(port, client)  # the third one, whose handshake is over, counts once
        async with Wire.to(port) as one_more:
            assert await is_closed(one_more.reader)
        await stack.aclose()
        for _ in range(5):  # what fails is not counted for ever
            async with Wire.to(port) as plain:
                plain.writer.write(GET)
                assert await is_closed(plain.reader)
        kept.transport.abort()
        writers = []
        while len(writers) < 3:  # until the server has noticed
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                writers.append(await asked(port, client))
        for writer in writers:
            writer.transport.abort()


@pytest.mark.virtual_time
async def test_no_handshake_outlives_the_server(certificate):
    _, server = contexts(certificate)
    async with contextlib.AsyncExitStack() as stack:
        async with speaking_tls(server) as port:
            wire = await stack.enter_async_context(Wire.to(port))
            await asyncio.sleep(SECOND)  # it has been accepted
        assert await is_closed(wire.reader)
