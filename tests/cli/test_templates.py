"""Templates: their files, and what is asked by them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from command_line import run
from everytoken.cli.templates import Template, parsed
from everytoken.testing import ScriptedUpstream

REVIEW = (
    "system: You are a reviewer.\n  Be terse.\nmodel: m\n\nReview this:\n\n$input\n\nThank you for $inputs.\n"
)


@pytest.mark.parametrize(
    ("text", "template"),
    [
        (REVIEW, ("You are a reviewer.\nBe terse.", "m", "Review this:\n\n$input\n\nThank you for $inputs.")),
        ("Just ask: $input", ("", "", "Just ask: $input")),
        ("system: Be brief.", ("Be brief.", "", "")),
        ("system: x\n\n", ("x", "", "")),
        ("system: this\nis a prompt", ("", "", "system: this\nis a prompt")),
        ("\nmodel: m", ("", "", "model: m")),
    ],
)
def test_a_file_is_a_template(text, template):
    assert parsed("t", text) == Template("t", *template)


def test_a_question_is_put_in_and_not_looked_into():
    assert parsed("t", "a $input b $input").ask("$input\\1") == "a $input\\1 b $input\\1"
    assert parsed("t", "Translate:").ask("this") == "Translate:\n\nthis"
    assert parsed("t", "system: x").ask("this") == "this"


def test_asking_by_a_template(tmp_path):
    folder = tmp_path / "everytoken" / "templates"
    folder.mkdir(parents=True)
    (folder / "review.txt").write_text(REVIEW)
    (folder / "joke.txt").write_text("Tell a joke.")
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    with ScriptedUpstream("ok") as upstream:
        env["EVERYTOKEN_BASE_URL"] = upstream.base_url
        assert run("chat", "-t", "review", "-m", "other", stdin="x = 1", **env).returncode == 0
        body = upstream.attempts[0].json
        assert body["model"] == "other"
        assert [one["content"] for one in body["messages"]] == [
            "You are a reviewer.\nBe terse.",
            "Review this:\n\nx = 1\n\nThank you for $inputs.",
        ]
        assert run("chat", "-t", "joke", **env).returncode == 0
        assert upstream.attempts[1].json["messages"] == [{"role": "user", "content": "Tell a joke."}]
    done = run("chat", "-t", "revue", "x", **env)
    assert done.stderr.decode() == "everytoken: there is no template 'revue'; there are: joke, review\n"
    done = run("templates", **env)
    assert done.stdout.decode() == (
        "NAME    PROMPT\njoke    Tell a joke.\nreview  Review this: $input Thank you for $inputs.\n"
    )
    assert run("chat", "-t", "../../x", "x", **env).returncode == 1


def test_the_example_of_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    [block] = [
        block
        for block in re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        if block.startswith("system:")
    ]
    system = "You review code.\nName what is wrong, and nothing else."
    assert parsed("t", block) == Template("t", system, "", "Review this:\n\n$input")
