"""Ids of calls that every API takes."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from everytoken.translation.ids import CallIds


@given(st.lists(st.text(max_size=90) | st.sampled_from(("", "call_0", "a.b", "a:b", "a_b")), max_size=8))
def test_ids_are_valid_and_used_once_and_results_find_their_calls(given_ids):
    ids, written = CallIds(), []
    for one in given_ids:
        written.append(ids.call(one))
        assert ids.result(one) == written[-1]
    assert len(set(written)) == len(written)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", one) for one in written)


def test_a_good_id_stays_as_it_is():
    ids = CallIds()
    assert ids.call("toolu_01-A") == "toolu_01-A"
    assert ids.result("another") is None
