"""Where a form names its model, however it is cut."""

from __future__ import annotations

import pytest

from everytoken.errors import InvalidRequestError
from everytoken.gateway.forms import ModelField

TYPE = "multipart/form-data; boundary=xyz"
FILE = (
    b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a; name=model"\r\n\r\n--xy\r\n--xy\r\n'
)
MODEL = b'--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
END = b"--xyz--\r\n"


@pytest.mark.parametrize("form", [MODEL + FILE + END, FILE + MODEL + END, b"preamble\r\n" + MODEL + END])
def test_the_model_is_found_however_the_form_is_cut(form):
    for cut in range(len(form)):
        field = ModelField(TYPE)
        for piece in (form[:cut], form[cut:]):
            field.feed(piece)
        assert (field.done, field.name, field.data) == (True, "whisper", form)
        assert field.with_model("other") == form.replace(b"\r\nwhisper\r\n", b"\r\nother\r\n")


def test_no_more_than_needed_is_kept():
    field = ModelField(TYPE)
    field.feed(MODEL)
    assert not field.done, "it may go on"
    field.feed(b"--xyz\r\n")
    assert field.done


def test_a_form_without_a_model_gets_one_in_front():
    field = ModelField('multipart/form-data; charset=utf-8; boundary="xyz"')
    field.feed(FILE + END)
    assert (field.done, field.name) == (True, "")
    assert field.with_model("whisper") == MODEL + FILE + END


@pytest.mark.parametrize("told", ["multipart/form-data", "multipart/form-data; boundary=", TYPE + "z" * 100])
def test_a_form_needs_its_boundary(told):
    with pytest.raises(InvalidRequestError, match="boundary"):
        ModelField(told)


@pytest.mark.parametrize(
    "part",
    [
        b"--xyz\r\nno headers\r\n--xyz--",
        b'--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + b"x" * 2000 + b"\r\n--xyz--",
        b"--xyz\r\nX: " + b"x" * 20_000 + b"\r\n\r\n\r\n--xyz--",
    ],
)
def test_what_cannot_be_read_is_refused(part):
    field = ModelField(TYPE)
    with pytest.raises(InvalidRequestError):
        field.feed(part)


def test_a_model_that_is_no_text_is_refused():
    field = ModelField(TYPE)
    field.feed(MODEL.replace(b"whisper", b"\xff") + END)
    with pytest.raises(InvalidRequestError, match="model"):
        assert field.name
