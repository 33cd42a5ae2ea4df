"""Values of a request, read with their paths."""

from __future__ import annotations

import pytest

from everytoken.errors import InvalidRequestError
from everytoken.translation import values


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data:image/png;base64,AA==", ("image/png", "AA==")),
        ("DATA:Image/PNG;charset=x;base64,AA==", ("image/png", "AA==")),
        ("data:;base64,AA==", ("text/plain", "AA==")),
        ("data:text/plain,hello", None),
        ("data:image/png;base64", None),
        ("https://example.com/data:image/png;base64,AA==", None),
    ],
)
def test_data_urls(url, expected):
    assert values.split_data_url(url) == expected


@pytest.mark.parametrize("read", [values.number, values.integer, values.flag, values.optional_text])
def test_nothing_is_none(read):
    assert read({}, "x") is read({"x": None}, "x") is None


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (values.number, True),
        (values.number, "1"),
        (values.integer, 1.5),
        (values.integer, False),
        (values.flag, 1),
        (values.text, None),
        (values.text, 1),
        (values.optional_text, []),
    ],
)
def test_another_type_is_refused_by_its_path(read, value):
    with pytest.raises(InvalidRequestError) as caught:
        read({"x": value}, "x")
    assert caught.value.param == "x"


def test_whole_numbers_may_be_written_with_a_point():
    assert values.integer({"x": 3.0}, "x") == 3


@pytest.mark.parametrize("data", ["!", "/w=="])
def test_what_is_no_text_in_base64(data):
    with pytest.raises(InvalidRequestError):
        values.text_of_base64(data, "x")
