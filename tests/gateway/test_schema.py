"""The schema for editors: the file in the tree is what is made, and it says what `check` says."""

from __future__ import annotations

import json
import runpy
import tomllib
from pathlib import Path

import pytest

from everytoken.gateway.example import example
from everytoken.gateway.schema import schema

ROOT = Path(__file__).parents[2]
DOCS = runpy.run_path(str(ROOT / "tools" / "settings_docs.py"))


def test_what_is_made_of_the_docs_is_in_the_tree():
    again = "run: python tools/settings_docs.py"
    assert DOCS["MEANINGS"].read_text(encoding="utf-8") == DOCS["module"](), again
    assert DOCS["SCHEMA"].read_text(encoding="utf-8") == DOCS["schema"](), again


def test_every_setting_is_described():
    made = schema()
    for part in (made, *made["$defs"].values()):
        for name, setting in part.get("properties", {}).items():
            assert setting.get("description"), name
        assert part["additionalProperties"] is False


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (example(), True),
        ("", True),
        ("prot = 1", False),
        ("port = 'x'", False),
        ("[[upstream]]\nname = 'a'", False),
        (
            "[[upstream]]\nurl = 'http://a'\nmodels = { a = 'b' }\napi = ['chat']\npolicy = { attempts = 1 }",
            True,
        ),
        ("[[upstream]]\nurl = 'http://a'\npolicy = { attemts = 1 }", False),
    ],
)
def test_it_takes_what_is_right_and_refuses_what_is_not(text, right):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema())
    validator = jsonschema.Draft202012Validator(json.loads(json.dumps(schema())))
    assert validator.is_valid(tomllib.loads(text)) is right
