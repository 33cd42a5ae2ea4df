"""A secret does not leave, however an upstream writes it."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from urllib.parse import quote

import pytest

from everytoken.errors import ConfigurationError
from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.redaction import Redactor
from everytoken.testing import Send, Status
from everytoken.upstream.http import HttpUpstream
from gateway_serving import HELLO, ManualUpstream, Wire, event, limit, serving
from secret_forms import FORMS, every_escape, holds

CHAT = "/v1/chat/completions"
KEY = 'sk-/ab=cd+ef"gh&01234567'
ONCE = Policy(attempts=1)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("place", ["message", "code", "param", "nested", "name", "event"])
async def test_no_form_of_a_key_leaves(form, place, scripted_upstream, caplog):
    caplog.set_level(logging.DEBUG)
    told = form(KEY)
    fields = {"message": '"no"', "type": '"x"', "code": "null", "param": "null"}
    if place in fields:
        fields[place] = told
    elif place == "nested":
        fields["metadata"] = f'[{{"deep": [{told}]}}]'
    elif place == "name":
        fields[told] = "1"  # as the name of a field
    error = ", ".join(
        f"{name if name.startswith(chr(34)) else json.dumps(name)}: {value}" for name, value in fields.items()
    )
    body = f'{{"error": {{{error}}}}}'
    if place == "event":
        body = f'{{"error": {{"message": {told}}}}}'
        script = [Send(event("Hi")), Send(f"data: {body}\n\n".encode())]
    else:
        script = [Status(400, body=body.encode())]
    upstream = await scripted_upstream(script)
    configured = UpstreamConfig(name="it", url=upstream.base_url, key=KEY)
    async with limit(), serving(configured, policy=ONCE) as gateway:
        for stream in (True, False):
            answer = await gateway.ask("POST", CHAT, {**HELLO, "stream": stream})
            assert not holds(answer.body.decode(), KEY)
            if "location" in answer.headers:
                again = await gateway.ask("GET", f"{answer.headers['location']}/events")
                assert not holds(again.body.decode(), KEY)
        await asyncio.sleep(0)
    for record in caplog.records:
        assert not holds(record.getMessage() + repr(record.__dict__), KEY)
    encoded = base64.b64encode(f"user:{KEY}".encode()).decode()
    assert encoded[8:-4] not in answer.body.decode()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
async def test_no_form_of_a_key_leaves_in_a_list_of_models(form):
    callers = "key-of-a-caller-0123456789"
    told, theirs = form(KEY), form(callers)
    models = (
        f'{{"id": "m-1", "owned_by": {told}, "meta": [{{{told}: [1, {theirs}]}}]}}, '
        f'{{"id": {told}}}, {{"id": "m-2", "created": 7, "ok": true}}'
    )
    body = f'{{"data": [{models}]}}'.encode()

    async def lists(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)
        await writer.drain()
        writer.close()

    async with limit(), await asyncio.start_server(lists, "127.0.0.1") as listening:
        port = listening.sockets[0].getsockname()[1]
        configured = UpstreamConfig(name="it", url=f"http://127.0.0.1:{port}/v1", key=KEY)
        async with serving(configured, api_keys=[callers]) as gateway:
            headers = {"Authorization": f"Bearer {callers}"}
            answer = await gateway.ask("GET", "/v1/models", None, headers)
    assert answer.status == 200
    assert answer.json["data"][0]["id"] == "m-1"
    assert answer.json["data"][-1] == {"id": "m-2", "created": 7, "ok": True}
    for key in (KEY, callers):
        assert not holds(answer.body.decode(), key)
        assert base64.b64encode(f"user:{key}".encode()).decode()[8:-4] not in answer.body.decode()


async def test_secret_headers_and_what_is_in_the_url_are_secrets(scripted_upstream):
    header, password = "another-secret-0123", "pass word/0123"
    echo = json.dumps({"error": {"message": f"bad {header} or {password} or qq-0123456789"}}).encode()
    upstream = await scripted_upstream([Status(401, body=echo)])
    url = (
        upstream.base_url.replace("http://", f"http://me:{quote(password, safe='')}@")
        + "?api-key=qq-0123456789"
    )
    configured = UpstreamConfig(name="it", url=url, headers={"X-Api-Key": header, "x-plain": "or"})
    async with limit(), serving(configured, policy=ONCE) as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO)
    assert answer.error["message"] == "bad *** or *** or ***"


# Whatever is encoded in whatever


# Where secrets are, and where they would leave


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("Authorization", "Bearer token-of-the-proxy", "token-of-the-proxy"),
        ("Authorization", "Basic " + base64.b64encode(b"me:a-password").decode(), "a-password"),
        ("Proxy-Authorization", "Bearer token-of-the-proxy", "token-of-the-proxy"),
        ("Ocp-Apim-Subscription-Key", "0123456789", "0123456789"),
        ("X-Auth", "0123456789", "0123456789"),
        ("Cookie", "theme=dark; sid=0123456789; more=1", "0123456789"),
    ],
)
async def test_what_a_header_holds_is_secret(name, value, secret, scripted_upstream):
    echo = json.dumps({"error": {"message": f"you sent {value!r}, with {secret!r}, in dark mode"}}).encode()
    upstream = await scripted_upstream([Status(401, body=echo)])
    configured = UpstreamConfig(name="it", url=upstream.base_url, headers={name: value})
    async with limit(), serving(configured, policy=ONCE) as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO)
    assert secret not in answer.body.decode()
    assert answer.error["message"].startswith("you sent '")


@pytest.mark.parametrize(
    "url",
    [
        "http://tok-0123456789@{}",
        "http://{}?sig=tok-0123456789",
        "http://{}?a=1&code=tok-0123456789",
    ],
)
async def test_what_a_url_holds_is_secret(url, scripted_upstream):
    echo = json.dumps({"error": {"message": "no tok-0123456789 here"}}).encode()
    upstream = await scripted_upstream([Status(401, body=echo)])
    configured = UpstreamConfig(name="it", url=url.format(upstream.base_url.removeprefix("http://")))
    async with limit(), serving(configured, policy=ONCE) as gateway:
        assert (await gateway.ask("POST", CHAT, HELLO)).error["message"] == "no *** here"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://me:tok-0123456789@x",
        "http://me:tok-0123456789@x:port",
        "tok-0123456789@x",
        "x?key=tok-0123456789",
    ],
)
def test_a_url_that_cannot_be_used_is_shown_without_its_secrets(url):
    with pytest.raises(ConfigurationError) as caught:
        HttpUpstream("it", url)
    assert "tok-0123456789" not in str(caught.value)


async def test_the_keys_of_callers_are_secrets_too(scripted_upstream, caplog):
    """A caller may have put it into the conversation."""
    caplog.set_level(logging.DEBUG)
    key = "key-of-a-caller-0123456789"
    echo = f'{{"error": {{"message": "bad {every_escape(key)}", "param": "{key}"}}}}'.encode()
    upstream = await scripted_upstream([Status(400, body=echo)])
    headers = {"Authorization": f"Bearer {key}"}
    async with limit(), serving(upstream, policy=ONCE, api_keys=[key]) as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO, headers)
        assert answer.status == 400
        assert answer.error["message"] == "bad ***"
        assert answer.error["param"] == "***"
        unknown = await gateway.ask("POST", CHAT, {**HELLO, "metadata": {key: 2**70}}, headers)
        assert unknown.status == 400
        assert key not in unknown.body.decode()
    assert not any(holds(record.getMessage(), key) for record in caplog.records)


async def test_a_traceback_in_the_log_has_no_secret(scripted_upstream, caplog):
    upstream = await scripted_upstream("fine")
    configured = UpstreamConfig(name="it", url=upstream.base_url, key=KEY)
    logger, formatter = logging.getLogger("everytoken.relay"), logging.Formatter()
    async with limit(), serving(configured, policy=ONCE):
        try:
            int(f"with {KEY}")
        except ValueError:
            logger.exception("a bug: %s", KEY, extra={"attempt": {"cause": [KEY]}})
    [record] = [record for record in caplog.records if "a bug" in record.getMessage()]
    assert "ValueError" in formatter.format(record)
    assert KEY not in formatter.format(record)
    assert KEY not in repr(vars(record))
    # The gateway is gone, and so is what it did to the log.
    logger.warning("again: %s", KEY)
    assert KEY in caplog.records[-1].getMessage()


async def test_after_a_reload_the_old_key_is_still_a_secret():
    class Keyed(ManualUpstream):
        def __init__(self, key: str) -> None:
            super().__init__()
            self.redact = Redactor([key]).text

    old, new = Keyed("sk-old-0123456789abcdef"), Keyed("sk-new-0123456789abcdef")
    async with limit(), serving(old, policy=ONCE) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO)
        attempt = await old.attempt()
        attempt.accept()
        attempt.send("Hi")
        answer = await wire.head()
        gateway.gateway.change(gateway.gateway.config, {"manual": ONCE}, {"manual": new})
        attempt.sink.on_data(b'data: {"error": {"message": "refused sk-old-0123456789abcdef"}}\n\n')
        await wire.rest(answer)
    assert "refused ***" in answer.body.decode()
