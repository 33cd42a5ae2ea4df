"""A secret does not leave, however an upstream writes it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html
import json
import logging
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.redaction import Redactor
from everytoken.testing import Send, Status
from gateway_serving import HELLO, event, limit, serving

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
