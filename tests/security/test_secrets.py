"""A secret does not leave, however an upstream writes it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html
import json
import logging
import string
import time
import warnings
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everytoken.errors import ConfigurationError
from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.redaction import Redactor
from everytoken.testing import Send, Status
from everytoken.upstream.http import HttpUpstream
from gateway_serving import HELLO, ManualUpstream, Wire, event, limit, serving

CHAT = "/v1/chat/completions"
KEY = 'sk-/ab=cd+ef"gh&01234567'
ONCE = Policy(attempts=1)


def every_escape(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" for char in text)


FORMS = {
    "as it is": json.dumps,
    "slashes escaped": lambda key: json.dumps(key).replace("/", "\\/"),
    "equals signs escaped": lambda key: json.dumps(key).replace("=", "\\u003d"),
    "all escaped": lambda key: f'"{every_escape(key)}"',
    "all escaped in capitals": lambda key: '"' + "".join(f"\\u{ord(c):04X}" for c in key) + '"',
    "JSON in a string": lambda key: json.dumps(json.dumps({"key": key})),
    "JSON in a string in a string": lambda key: json.dumps(json.dumps(json.dumps({"key": key}))),
    "all escaped twice": lambda key: json.dumps(f'{{"key": "{every_escape(key)}"}}'),
    "in a URL": lambda key: json.dumps("https://x.example/?api-key=" + quote(key, safe="")),
    "in HTML": lambda key: json.dumps(html.escape(f"Bearer {key}")),
    "in base64": lambda key: json.dumps("Basic " + base64.b64encode(f"user:{key}".encode()).decode()),
    "behind Bearer": lambda key: json.dumps(f"Authorization: Bearer {key}."),
}


def holds(text: str, key: str) -> bool:
    """Whether somebody who decodes `text` in any of these ways finds the key."""
    seen = [text]
    for _ in range(3):
        more = []
        for one in seen:
            more += [one, html.unescape(one)]
            with contextlib.suppress(UnicodeDecodeError):
                more.append(one.encode().decode("unicode_escape"))
            more.append(one.replace("\\/", "/").replace('\\"', '"'))
        seen = list(dict.fromkeys(more))
    return any(key in one or quote(key, safe="") in one for one in seen)


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


@pytest.mark.parametrize(
    ("key", "text", "clean"),
    [
        ("test", "the latest test, contested", "the latest ***, contested"),
        ("test", "Bearer test", "Bearer ***"),
        ("ab", "a cab, ab and absolute", "a cab, ab and absolute"),
        ("ab", "Bearer ab", "Bearer ***"),
        ("ab", "?api_key=ab&x=1", "?api_key=***&x=1"),
        ("12345678", '{"id": 12345678}', '{"id": ***}'),
        ("sk-0123456789abcdef", "xsk-0123456789abcdefx", "x***x"),
    ],
)
def test_a_short_key_does_not_shred_words(key, text, clean):
    assert Redactor([key]).text(text) == clean


KEYS = st.text(string.ascii_letters + string.digits + "-_./+=&\"'<>%$#:é", min_size=8, max_size=40)


@given(KEYS, st.sampled_from(sorted(FORMS)), st.integers(0, 3))
def test_whatever_the_key_and_the_form(key, form, depth):
    told = FORMS[form](key)
    for _ in range(depth):
        told = f'{{"a": [{told}]}}'
    body = Redactor([key]).body(told.encode()).decode()
    assert not holds(body, key)


@given(
    st.recursive(
        st.text() | st.integers() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_has_no_secret_in_it_stays_as_it_is(value):
    data = json.dumps(value).encode()
    assert Redactor(["sk-0123456789abcdef"]).body(data) == data
    assert Redactor([]).value(value) == value


# Whatever is encoded in whatever

ENCODERS = {
    "json": lambda text: json.dumps(text)[1:-1],
    "json with slashes escaped": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "json all escaped": every_escape,
    "python": lambda text: "".join(f"\\x{ord(char):02x}" for char in text),
    "url": lambda text: quote(text, safe=""),
    "url all escaped": lambda text: "".join(f"%{ord(char):02x}" for char in text),
    "html": html.escape,
    "html all escaped": lambda text: "".join(f"&#x{ord(char):X};" for char in text),
    "html in decimals": lambda text: "".join(f"&#0{ord(char)};" for char in text),
}


def decoded(text: str) -> set[str]:
    """Return everything that somebody who undoes up to four encodings may see."""
    seen = {text}
    for _ in range(4):
        more = set(seen)
        for one in seen:
            more |= {html.unescape(one), unquote(one)}
            with contextlib.suppress(UnicodeError), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes that are none
                more.add(
                    one.encode("latin-1", "backslashreplace").decode("unicode_escape").replace("\\/", "/")
                )
        seen = more
    return seen


ASCII_KEYS = st.text(string.ascii_letters + string.digits + "-_./+=&\"'<>%$#:\\", min_size=16, max_size=40)


@given(ASCII_KEYS, st.lists(st.sampled_from(sorted(ENCODERS)), max_size=3), st.text(" abc,{\"'", max_size=9))
def test_no_order_of_encodings_hides_a_key(key, order, beside):
    told = f"{beside}{key}{beside}"
    for name in order:
        told = ENCODERS[name](told)
    clean = Redactor([key]).text(f"it said: {told} and no more")
    assert not any(key in one for one in decoded(clean))
    assert clean.startswith("it said: ")
    assert clean.endswith(" and no more")


@given(ASCII_KEYS, st.text(max_size=9), st.sampled_from(sorted(ENCODERS)))
def test_base64_hides_no_key(key, before, form):
    for text in (key, f"user:{key}", f'{before}{{"key": "{key}"}}', before + ENCODERS[form](key)):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            told = encode(text.encode("utf-8", "replace")).decode()
            for quoted in (told, told.rstrip("="), told.replace("/", "\\/"), quote(told, safe="")):
                assert Redactor([key]).text(f"Basic {quoted} is no") == "Basic *** is no"


@pytest.mark.parametrize("key", ["abcd", "s3cr3t", "hunter2", "p@ss w0rd"])
def test_a_short_key_is_found_in_base64_too(key):
    for text in (key, f"user:{key}", f"{key}:"):
        told = base64.b64encode(text.encode()).decode()
        assert Redactor([key]).text(f"bad: {told}") == "bad: ***"


@given(st.text(max_size=300), st.lists(st.text("abc/:=%", min_size=4, max_size=20), max_size=3))
def test_nothing_else_changes(text, keys):
    clean = Redactor(keys).text(text)
    if clean == text:
        return
    assert any(key in one for key in keys for one in decoded(text)) or any(
        base64.b64encode(key.encode()).decode().rstrip("=")[:4] in text for key in keys
    )
    # What stands around the masks is what stood there.
    parts = clean.split("***")
    assert text.startswith(parts[0])
    assert text.endswith(parts[-1])


HOSTILE = [
    "\\",
    "%",
    "&",
    "%25",
    "&amp;",
    "\\\\u005c",
    "\\u005c%25&amp;",
    "&#0",
    "A",
    "key=",
    "bearer ",
    "\"' ",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_a_hostile_text_costs_what_its_length_costs(unit):
    """As much of an error as is read, 64 KiB, took a minute where an expression tried each place anew."""
    redactor = Redactor(["sk-0123456789abcdef", "another-secret", "word1", "ab"])
    text = (unit * 65_536)[:65_536]
    begun = time.process_time()
    assert redactor.text(text) == text
    assert time.process_time() - begun < 5


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
        gateway.gateway.change(
            gateway.gateway.config, gateway.gateway.keys, {"manual": ONCE}, {"manual": new}
        )
        attempt.sink.on_data(b'data: {"error": {"message": "refused sk-old-0123456789abcdef"}}\n\n')
        await wire.rest(answer)
    assert "refused ***" in answer.body.decode()
