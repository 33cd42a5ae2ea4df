"""Who asks, as another provider takes it."""

from __future__ import annotations

import hashlib

import pytest

from everytoken.translation.identity import identifier


@pytest.mark.parametrize("value", ["u-1", "8f14e45f", "a" * 64, "user:42", "42"])
def test_an_identifier_stays_as_it_is(value):
    assert identifier(value) == value


@pytest.mark.parametrize(
    "value", ["a" * 65, "ann@example.com", "+44 20 7946 0958", '{"device_id":"' + "0" * 90 + '"}']
)
def test_what_a_provider_refuses_is_sent_as_its_hash(value):
    assert identifier(value) == hashlib.sha256(value.encode()).hexdigest()


@pytest.mark.parametrize("value", [None, ""])
def test_nobody(value):
    assert identifier(value) is None
