"""No form and no encoding hides a secret from the redactor, and nothing else changes."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import string
import time
import warnings
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everytoken.redaction import Redactor
from secret_forms import FORMS, every_escape, holds


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
