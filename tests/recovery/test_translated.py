"""Messages of which a server of chat completions is asked: what ends them, what is wrong with an end, and what is sent."""

from __future__ import annotations

import json

import pytest

from chat_wire import STOP, chunk_of
from everytoken.errors import StatusError, TruncatedError
from everytoken.recovery import Disconnect, LearnedCapabilities, Policy, State
from everytoken.translation.registry import translation
from messages_play import message_of, play, recovery_of
from messages_streams import ASK

TO_CHAT = translation("anthropic-messages", "openai-chat")
POLICY = Policy(backoff=0.0, retry_after_max=0.0)
WORDS = ["Trans", "formers ", "attend ", "to ", "every ", "token."]
TEXT = "".join(WORDS)
USAGE = {"prompt_tokens": 30, "completion_tokens": 6, "prompt_tokens_details": {"cached_tokens": 10}}
DONE = b"data: [DONE]\n\n"


def wire(*chunks: object) -> list[bytes]:
    return [b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks]


def said(*words: str) -> list[bytes]:
    return wire(*(chunk_of({"content": word}) for word in words))


WHOLE = [*said(*WORDS), *wire(STOP), *wire({**chunk_of(), "choices": [], "usage": USAGE}), DONE]


def translated(**target):
    return recovery_of(translation=TO_CHAT, **target)


def begun(**target):
    """Return a response whose only attempt has been accepted."""
    recovery = translated(**target)
    recovery.start(0.0)
    recovery.accept(0.0)
    recovery.decisions.clear()
    return recovery


def kinds(records: list[bytes]) -> list[str]:
    return [json.loads(record)["type"] for record in records]


def text_of(records: list[bytes]) -> str:
    return "".join(json.loads(record).get("delta", {}).get("text", "") for record in records)


def test_a_whole_answer_is_a_whole_message():
    recovery = translated()
    records, (connect,) = play(recovery, [WHOLE])
    message = message_of(records)
    assert message["content"] == [{"type": "text", "text": TEXT}]
    assert message["stop_reason"] == "end_turn"
    assert message["usage"] == {**message["usage"], "input_tokens": 20, "cache_read_input_tokens": 10}
    assert (recovery.outcome, recovery.usage["output_tokens"]) == ("completed", 6)
    assert connect.body["messages"] == ASK["messages"]
    assert connect.body["stream_options"] == {"include_usage": True}
    assert connect.body["seed"] == 7


def test_each_word_is_delivered_when_it_comes():
    recovery = begun()
    for word in said(*WORDS[:3]):
        assert (
            text_of(recovery.receive_data(0.0, word))
            == json.loads(word[6:])["choices"][0]["delta"]["content"]
        )


def test_an_end_that_nothing_follows_is_told_when_the_upstream_has_lingered_long_enough():
    recovery = begun()
    records = recovery.receive_data(1.0, b"".join([*said(*WORDS), *wire(STOP)]))
    assert kinds(records)[-1] == "content_block_delta"
    assert recovery.state is State.LINGERING
    assert recovery.tick(10.9) == []
    records = recovery.tick(11.0)
    assert kinds(records) == ["content_block_stop", "message_delta", "message_stop"]
    assert recovery.outcome == "completed"
    assert Disconnect(reusable=True) in recovery.decisions


@pytest.mark.parametrize("ending", ["error", "eof"])
def test_what_breaks_behind_the_end_does_not_matter(ending):
    recovery = begun()
    recovery.receive_data(1.0, b"".join([*said(*WORDS), *wire(STOP)]))
    if ending == "eof":
        records = recovery.receive_eof(1.0)
    else:
        records = recovery.fail(1.0, TruncatedError("the connection broke"))
    assert kinds(records)[-1] == "message_stop"
    assert recovery.outcome == "completed"


def test_text_behind_a_finish_reason_is_text():
    recovery = begun()
    records = recovery.receive_data(1.0, b"".join([*said("a"), *wire(STOP)]))
    records += recovery.receive_data(1.5, b"".join(said("b")))
    records += recovery.receive_data(2.0, b"".join([*wire(STOP), DONE]))
    assert (text_of(records), recovery.outcome) == ("ab", "completed")


def test_a_broken_connection_behind_text_behind_a_finish_reason_is_a_cut():
    recovery = begun()
    recovery.receive_data(1.0, b"".join([*said("a"), *wire(STOP), *said("b"), *wire(STOP)]))
    recovery.fail(1.0, TruncatedError("the connection broke"))
    assert recovery.outcome is None


def test_cut_at_any_byte_it_is_the_same_message():
    data = b"".join(WHOLE)
    for cut in range(len(data) - len(DONE)):
        records, _ = play(translated(), [[data[:cut]], WHOLE])
        message = message_of(records)
        told = (message["content"], message["stop_reason"])
        assert told == ([{"type": "text", "text": TEXT}], "end_turn"), cut


def test_a_prefill_is_one_of_the_upstreams_api_with_what_its_server_needs():
    recovery = translated(
        prefill="yes",
        extra={"top_k": 1},
        prefill_extra={"continue_final_message": True},
        prefill_message={"prefix": True},
    )
    rest = [*said(*WORDS[3:]), *wire(STOP), DONE]
    records, connects = play(recovery, [said(*WORDS[:3]), rest])
    assert message_of(records)["content"] == [{"type": "text", "text": TEXT}]
    body = connects[1].body
    # Messages would refuse the white space at its end.
    assert body["messages"][-1] == {"role": "assistant", "content": "Transformers attend ", "prefix": True}
    assert (body["top_k"], body["continue_final_message"]) == (1, True)


def test_an_answer_in_one_piece_is_a_whole_message():
    message = {"role": "assistant", "content": TEXT}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    completion = {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": USAGE}
    recovery = begun()
    records = recovery.receive_non_streaming(0.0, json.dumps(completion).encode())
    assert (text_of(records), kinds(records)[-1]) == (TEXT, "message_stop")
    assert recovery.outcome == "completed"


def test_what_came_before_an_event_that_is_too_large_is_delivered():
    recovery = begun()
    records = recovery.receive_data(0.0, b"".join(said("a", "b")) + b"data: " + b"x" * (17 * 1024 * 1024))
    assert text_of(records) == "ab"
    assert recovery.attempts[0].cause.code == "event-too-large"


def test_what_messages_cannot_say_is_an_error_and_not_left_out():
    odd = wire(chunk_of({"content": "a"}), chunk_of({"audio": {"data": "UklGRg=="}}))
    recovery = translated()
    records, connects = play(recovery, [[*odd, *said("b"), *wire(STOP), DONE]])
    assert text_of(map(json.dumps, records)) == "a"
    assert recovery.outcome == "interrupted"
    assert "audio" in recovery.error.message
    assert len(connects) == 1


def test_what_an_upstream_refuses_of_the_translated_request_is_left_out_and_remembered():
    learned = LearnedCapabilities()
    ask = {**ASK, "temperature": 0.5, "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}

    def refusal(message):
        body = json.dumps({"error": {"message": message}}).encode()
        return StatusError(message, upstream_status=400, body=body)

    asked = []
    for attempts in (
        [
            refusal("Unrecognized request argument supplied: reasoning_effort"),
            refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
            WHOLE,
        ],
        [WHOLE],
    ):
        recovery = recovery_of(ask, learned=learned, translation=TO_CHAT)
        _, connects = play(recovery, attempts)
        assert recovery.outcome == "completed"
        asked += [connect.body for connect in connects]
    names = {"reasoning_effort", "max_tokens", "max_completion_tokens", "temperature"}
    assert [names & set(body) for body in asked] == [
        {"reasoning_effort", "max_tokens", "temperature"},
        {"max_tokens", "temperature"},
        {"max_completion_tokens", "temperature"},
        {"max_completion_tokens", "temperature"},
    ]


def test_an_api_that_an_upstream_lacks_is_not_asked_for_again_within_the_hour():
    learned = LearnedCapabilities()
    nothing = StatusError(
        "the upstream answered with status 404", upstream_status=404, body=b"404 page not found"
    )
    both = translated().targets[0]
    for now, (attempts, apis) in enumerate([(2, ["", "openai-chat"]), (1, ["openai-chat"])]):
        recovery = recovery_of(learned=learned, policy=POLICY, instead=both)
        _, connects = play(recovery, [nothing, WHOLE] if not now else [WHOLE])
        assert (recovery.outcome, len(connects)) == ("completed", attempts)
        assert [attempt.api for attempt in recovery.attempts] == apis
    assert learned.missing_until == 3600.0
