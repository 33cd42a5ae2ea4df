"""Recovery through the installed program and the official SDK: the whole way, as a user has it."""

from __future__ import annotations

import openai
import pytest

from command_line import gateway
from everytoken.testing import Answer, ScriptedUpstream

MESSAGES = [{"role": "user", "content": "Explain."}]
ANSWER = Answer("Streaming 流式 👨‍👩‍👧 ha ha ha: repeated tokens are text.\n\nDone.")
LIMITS = ("--connect", "1", "--first-content", "1", "--content-gap", "0.5")


def read(url, **fields):
    """Run the guide's loop; return the text and the error it ended with."""
    text = ""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        try:
            for chunk in client.chat.completions.create(model="m", messages=MESSAGES, stream=True, **fields):
                text += chunk.choices[0].delta.content or "" if chunk.choices else ""
        except openai.APIError as error:
            return text, error
    return text, None


@pytest.mark.parametrize(
    "fault", ["reset", "clean-end", "silent", "garbage-event", "error-object", "status-503"]
)
def test_an_answer_that_breaks_once_is_whole(fault):
    with (
        ScriptedUpstream(ANSWER, faults=[(0, fault, "middle")]) as upstream,
        gateway("--upstream", upstream.base_url, *LIMITS) as (_, url),
    ):
        assert read(url) == (ANSWER.text, None)
        assert len(upstream.attempts) == 2


def test_an_answer_that_breaks_every_time_is_the_sdks_own_error_with_our_code():
    with (
        ScriptedUpstream(ANSWER, faults=[("always", "reset", "middle")]) as upstream,
        gateway("--upstream", upstream.base_url, *LIMITS) as (_, url),
    ):
        text, error = read(url)
    assert text
    assert ANSWER.text.startswith(text)
    assert text != ANSWER.text
    assert isinstance(error, openai.APIError)
    assert error.code == "recovery-exhausted"
    assert error.type == "upstream_error"
    assert "the connection broke" in error.message


def test_a_dead_upstream_is_passed_over_for_the_next():
    with (
        ScriptedUpstream(ANSWER, faults=[("always", "silent-after-accept", "start")]) as dead,
        ScriptedUpstream(ANSWER) as alive,
        gateway("--upstream", dead.base_url, "--upstream", alive.base_url, *LIMITS) as (_, url),
    ):
        assert read(url) == (ANSWER.text, None)
