"""`--schema`, in its three forms."""

from __future__ import annotations

import json

import click
import pytest

from everytoken.cli.answer_schema import response_format, short_schema

SCHEMA = {"title": "A Person!", "type": "object", "properties": {"name": {"type": "string"}}}


def test_a_file_and_json_are_the_same(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    told = {"type": "json_schema", "json_schema": {"name": "A_Person", "schema": SCHEMA}}
    assert response_format(str(path)) == response_format(json.dumps(SCHEMA)) == told


@pytest.mark.parametrize(
    "text", ["name, age int, tags[], bio: one sentence", "name\nage int\ntags str[]\nbio: one sentence"]
)
def test_the_short_form(text):
    assert short_schema(text) == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "bio": {"type": "string", "description": "one sentence"},
        },
        "required": ["name", "age", "tags", "bio"],
        "additionalProperties": False,
    }
    assert response_format(text)["json_schema"]["strict"] is True


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{nonsense", "is not JSON"),
        ("nowhere.json", "cannot be read"),
        ("name text", "types: str, int, float, bool"),
        ("a-b", "is neither a file nor a field"),
        (",", "it has no fields"),
    ],
)
def test_what_is_none(text, why):
    with pytest.raises(click.BadParameter) as caught:
        response_format(text)
    assert why in caught.value.message


def test_a_list_is_no_schema(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(click.BadParameter, match="is not a JSON object"):
        response_format(str(tmp_path / "a.json"))
