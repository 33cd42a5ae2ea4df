"""The UI message stream: which chunks a response's records become, whatever the way they come in."""

from __future__ import annotations

import itertools
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import calls_of
from everytoken.formats.ui import UIMessages

COMPLETED = {"outcome": "completed"}
STARTS = [{"type": "start", "messageId": "s"}, {"type": "start-step"}]


def record(finish=None, index=0, **delta):
    return json.dumps({"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}).encode()


def call(arguments=None, *, name=None, number=0, **more):
    function = {"name": name, "arguments": arguments}
    return record(tool_calls=[{"index": number, "function": function, **more}])


def chunks(data):
    """Return the chunks in some events, in the strictest reading: one `data` line each, nothing else."""
    blocks = data.decode().split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def wire(records, result=COMPLETED, **options):
    """Push the records one by one."""
    ui = UIMessages("s", **options)
    found = chunks(
        b"".join(
            [ui.begin(), *(ui.push([one], at) for at, one in enumerate(records)), *ui.end(result).writes]
        )
    )
    assert found[:2] == STARTS or options
    return found[2:] if not options else found


def finish(reason=None, **metadata):
    step = {"type": "finish", **({} if reason is None else {"finishReason": reason})}
    about = {"everytoken": {"outcome": "completed"}}
    return [{"type": "finish-step"}, {**step, "messageMetadata": {**metadata, **about}}]


def part(kind, number, *deltas):
    name = f"{kind}-{number}"
    return [
        {"type": f"{kind}-start", "id": name},
        *({"type": f"{kind}-delta", "id": name, "delta": delta} for delta in deltas),
        {"type": f"{kind}-end", "id": name},
    ]


def tool(name, *deltas, call_id="call_1", value):
    return [
        {"type": "tool-input-start", "toolCallId": call_id, "toolName": name},
        *({"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": delta} for delta in deltas),
        {"type": "tool-input-available", "toolCallId": call_id, "toolName": name, "input": value},
    ]


CASES = [
    ("an answer without a word still begins and ends", [], finish()),
    ("the role alone is nothing to show", [record(role="assistant", content="")], finish()),
    (
        "text grows in one part",
        [record(content="Hel"), record(content="lo"), record("stop")],
        [*part("text", 1, "Hel", "lo"), *finish("stop")],
    ),
    (
        "reasoning ends where the text begins",
        [record(reasoning_content="Hm"), record(content="Yes"), record("stop")],
        [*part("reasoning", 1, "Hm"), *part("text", 2, "Yes"), *finish("stop")],
    ),
    (
        "reasoning under both names is sent once",
        [record(reasoning_content="Hm", reasoning="Hm"), record("stop")],
        [*part("reasoning", 1, "Hm"), *finish("stop")],
    ),
    (
        "reasoning after text is a part of its own, and so is the text after it",
        [record(content="a"), record(reasoning="b"), record(content="c")],
        [*part("text", 1, "a"), *part("reasoning", 2, "b"), *part("text", 3, "c"), *finish()],
    ),
    (
        "thinking as a content part is reasoning",
        [
            record(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]),
            record(content=[{"type": "text", "text": "Yes"}]),
        ],
        [*part("reasoning", 1, "Hm"), *part("text", 2, "Yes"), *finish()],
    ),
    ("a refusal is text", [record(refusal="No.")], [*part("text", 1, "No."), *finish()]),
    (
        "only the first choice is shown",
        [record(index=1, content="other"), record(content="one"), record("length", index=1), record("stop")],
        [*part("text", 1, "one"), *finish("stop")],
    ),
    (
        "half a surrogate pair goes on as it is, for JavaScript joins it",
        [
            rb'{"choices":[{"index":0,"delta":{"content":"\ud83d"}}]}',
            rb'{"choices":[{"index":0,"delta":{"content":"\ude00"}}]}',
        ],
        [*part("text", 1, "\ud83d", "\ude00"), *finish()],
    ),
    (
        "line ends in the text stay inside JSON",
        [record(content="a\r\n\n\u2028b")],
        [*part("text", 1, "a\r\n\n\u2028b"), *finish()],
    ),
    (
        "a tool call is shown as its arguments come and complete at the end",
        [call("", name="weather", id="call_1"), call('{"city":'), call('"Z"}'), record("tool_calls")],
        [*tool("weather", '{"city":', '"Z"}', value={"city": "Z"}), *finish("tool-calls")],
    ),
    (
        "text before a call ends before it",
        [record(content="Look."), call("{}", name="look", id="call_1")],
        [*part("text", 1, "Look."), *tool("look", "{}", value={}), *finish()],
    ),
    (
        "a call without arguments takes none",
        [call(None, name="now", id="call_1"), record("tool_calls")],
        [*tool("now", value={}), *finish("tool-calls")],
    ),
    (
        "a name in pieces is whole before it is shown",
        [call(name="wea", id="call_1"), call(name="ther"), call("{}")],
        [*tool("weather", "{}", value={}), *finish()],
    ),
    (
        "a call without an id gets one of the stream's",
        [call("{}", name="look")],
        [*tool("look", "{}", call_id="s-0", value={}), *finish()],
    ),
    (
        "the old function_call is a call",
        [record(function_call={"name": "look", "arguments": "{}"}), record("function_call")],
        [*tool("look", "{}", call_id="s-0", value={}), *finish("tool-calls")],
    ),
    (
        "arguments that are no JSON are the call's error",
        [call('{"city', name="weather", id="call_1"), record("tool_calls")],
        [
            *tool("weather", '{"city', value={})[:-1],
            {
                "type": "tool-input-error",
                "toolCallId": "call_1",
                "toolName": "weather",
                "input": '{"city',
                "errorText": "the model's arguments are not JSON",
            },
            *finish("tool-calls"),
        ],
    ),
    (
        "a reason that the AI SDK has no word for is another one",
        [record(content="a"), record("eos")],
        [*part("text", 1, "a"), *finish("other")],
    ),
    ("no reason is invented", [record(content="a")], [*part("text", 1, "a"), *finish()]),
    (
        "the chunk with the usage has nothing to show",
        [record(content="a"), b'{"choices":[],"usage":{"total_tokens":3}}'],
        [*part("text", 1, "a"), *finish()],
    ),
]


@pytest.mark.parametrize(("records", "expected"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_records_become_chunks(records, expected):
    assert wire(records) == expected


def test_two_calls_at_once_keep_apart():
    found = wire(
        [
            call('{"a"', name="x", id="one"),
            call('{"b"', name="y", id="two", number=1),
            call(":1}"),
            call(":2}", number=1),
        ]
    )
    deltas = {}
    for chunk in found:
        if chunk["type"] == "tool-input-delta":
            deltas[chunk["toolCallId"]] = deltas.get(chunk["toolCallId"], "") + chunk["inputTextDelta"]
    assert deltas == {"one": '{"a":1}', "two": '{"b":2}'}
    whole = [(c["toolName"], c["input"]) for c in found if c["type"] == "tool-input-available"]
    assert whole == [("x", {"a": 1}), ("y", {"b": 2})]


def test_the_same_id_for_two_calls_is_made_two():
    found = wire([call("{}", name="x", id="call"), call("{}", name="y", id="call", number=1)])
    assert [c["toolCallId"] for c in found if c["type"] == "tool-input-start"] == ["call", "call-1"]


def last(result):
    return UIMessages("s").end(result).last


ERROR = {"error": {"message": "cut", "code": "upstream-truncated"}}
CUT = [record(content="Half"), json.dumps(ERROR).encode()]


@pytest.mark.parametrize("outcome", ["interrupted", "failed"])
def test_what_did_not_complete_ends_in_an_error_and_closes_nothing(outcome):
    assert wire(CUT, {"outcome": outcome, **ERROR}) == [
        *part("text", 1, "Half")[:-1],
        {
            "type": "message-metadata",
            "messageMetadata": {"everytoken": {"outcome": outcome, "code": "upstream-truncated"}},
        },
        {"type": "error", "errorText": "cut"},
    ]
    assert last({"outcome": outcome, **ERROR}) == b""


def test_a_result_that_says_nothing_is_no_completion():
    assert wire([record(content="Half")], {})[-1]["type"] == "error"
    assert last({}) == b""


def test_half_a_call_is_never_available():
    found = wire(
        [call('{"a":1}', name="x", id="one"), record("tool_calls")], {"outcome": "interrupted", **ERROR}
    )
    assert [c["type"] for c in found][:2] == ["tool-input-start", "tool-input-delta"]
    assert "tool-input-available" not in {c["type"] for c in found}


def test_what_was_stopped_ends_in_an_abort():
    result = {"outcome": "cancelled", "error": {"message": "stopped", "code": "cancelled"}}
    assert wire([record(content="Half")], result, interrupts=True) == [
        *STARTS,
        *part("text", 1, "Half")[:-1],
        {"type": "abort", "reason": "stopped"},
        {
            "type": "finish",
            "finishReason": "interrupted",
            "messageMetadata": {"everytoken": {"outcome": "cancelled", "code": "cancelled"}},
        },
    ]
    assert last(result) == b"data: [DONE]\n\n"


def optional(*names):
    return dict.fromkeys(names, None)


REASONS = {"stop", "length", "content-filter", "tool-calls", "error", "other"}
# What `useChat` of version 5 takes, by the kind of part: the fields, and the values where not all are taken. Any other
# field or value is an error there. Version 6 takes a `reason` of an `abort` too; 7 takes fields it does not know.
VERSION_5 = {
    "start": optional("messageId", "messageMetadata"),
    "start-step": {},
    "finish-step": {},
    "text-start": optional("id"),
    "text-delta": optional("id", "delta"),
    "text-end": optional("id"),
    "reasoning-start": optional("id"),
    "reasoning-delta": optional("id", "delta"),
    "reasoning-end": optional("id"),
    "tool-input-start": optional("toolCallId", "toolName", "dynamic"),
    "tool-input-delta": optional("toolCallId", "inputTextDelta"),
    "tool-input-available": optional("toolCallId", "toolName", "input", "dynamic"),
    "tool-input-error": optional("toolCallId", "toolName", "input", "errorText", "dynamic"),
    "message-metadata": optional("messageMetadata"),
    "error": optional("errorText"),
    "abort": {},
    "finish": {"messageMetadata": None, "finishReason": REASONS},
}


@pytest.mark.parametrize("outcome", ["completed", "cancelled", "interrupted", "failed"])
@pytest.mark.parametrize(
    "reason", [None, "stop", "length", "content_filter", "tool_calls", "function_call", "odd"]
)
def test_every_part_is_valid_for_versions_5_to_7(outcome, reason):
    records = [
        record(reasoning_content="Hm"),
        record(content="Half"),
        call('{"a":1}', name="x", id="one"),
        call("no JSON", name="y", id="two", number=1),
        record(reason),
    ]
    result = {"outcome": outcome, "usage": {"total_tokens": 3}, "attempts": [{"number": 1}, {"number": 2}]}
    if outcome != "completed":
        result["error"] = {"message": "stopped", "code": "cancelled"}
    for chunk in [*STARTS, *wire(records, result)]:
        allowed = VERSION_5[chunk["type"]]
        assert chunk.keys() - {"type"} <= allowed.keys()
        assert all(values is None or chunk.get(name) in {None, *values} for name, values in allowed.items())


def test_usage_and_several_attempts_are_in_the_metadata():
    usage = {"total_tokens": 3}
    attempts = [{"number": 1}, {"number": 2}]
    [*_, final] = wire([record("stop")], {**COMPLETED, "usage": usage, "attempts": attempts})
    assert final["messageMetadata"] == {
        "usage": usage,
        "everytoken": {"outcome": "completed", "attempts": attempts},
    }
    [*_, final] = wire([record("stop")], {**COMPLETED, "usage": usage, "attempts": attempts[:1]})
    assert final["messageMetadata"] == {"usage": usage, "everytoken": {"outcome": "completed"}}
    assert last(COMPLETED) == b"data: [DONE]\n\n"


def test_a_message_that_is_gone_on_with_is_rebuilt_first():
    before = [{"type": "start-step"}, {"type": "text-start", "id": "before-1"}]
    found = wire([], message_id="m", metadata={"x": 1}, before=before)
    assert found[:4] == [
        {"type": "start", "messageId": "m", "messageMetadata": {"x": 1}},
        *before,
        {"type": "start-step"},
    ]


def test_arguments_as_deep_as_they_like_do_no_harm():
    for depth in (500, 5_000, 100_000):
        arguments = "[" * depth + "]" * depth
        found = wire([call(arguments, name="x", id="one")])
        assert found[-3]["type"] in {"tool-input-available", "tool-input-error"}


ANSWER = [
    record(role="assistant", content=""),
    record(reasoning_content="Let me "),
    record(reasoning_content="look."),
    record(content="It "),
    record(content="is 流式"),
    call("", name="x", id="one"),
    call('{"a"'),
    call(":1}"),
    call("{}", name="y", id="two", number=1),
    record("tool_calls"),
]
JOINED = {"text-delta": "delta", "reasoning-delta": "delta", "tool-input-delta": "inputTextDelta"}


def joined(found):
    """Join neighbouring deltas of one part."""
    whole = []
    for chunk in found:
        field = JOINED.get(chunk["type"])
        keys = {name: value for name, value in chunk.items() if name != field}
        if field and whole and keys == {name: value for name, value in whole[-1].items() if name != field}:
            whole[-1][field] += chunk[field]
        else:
            whole.append(dict(chunk))
    return whole


@given(st.lists(st.integers(0, len(ANSWER)), max_size=6))
def test_the_view_does_not_depend_on_how_the_records_come(cuts):
    edges = [0, *sorted(cuts), len(ANSWER)]
    ui = UIMessages("s")
    pushed = [ui.push(ANSWER[start:end], start) for start, end in itertools.pairwise(edges)]
    found = chunks(b"".join([*pushed, *ui.end(COMPLETED).writes]))
    assert joined(found)[2:] == joined(wire(ANSWER))


def test_what_is_pushed_together_is_one_delta():
    ui = UIMessages("s")
    found = chunks(ui.push([record(content=letter) for letter in "Hello"], 0))
    assert found[2:] == [
        {"type": "text-start", "id": "text-1"},
        {"type": "text-delta", "id": "text-1", "delta": "Hello"},
    ]


@given(st.lists(st.text(min_size=1), max_size=8))
def test_the_text_is_exact(texts):
    found = wire([record(content=text) for text in texts])
    assert "".join(c["delta"] for c in found if c["type"] == "text-delta") == "".join(texts)


def answer_of(count, size):
    """Return the records of an answer: some pieces of text, and as many of a tool call's arguments."""
    text = [record(content="a" * size) for _ in range(count)]
    return [*text, call("", name="x", id="one"), *(call("a" * size) for _ in range(count))]


def test_twice_the_pieces_cost_twice_the_calls():
    def cost(count):
        pieces, ui = answer_of(count, 10), UIMessages("s")
        return calls_of(
            lambda: [ui.push([piece], at) for at, piece in enumerate(pieces)] + [ui.end(COMPLETED)]
        )

    once = cost(500)
    assert cost(1000) <= 2.1 * once
    assert cost(2000) <= 4.2 * once


def test_what_came_is_not_copied_again_for_each_piece():
    # Copies are not calls. Anew for each piece they would move more than 200 GB.
    pieces, ui = answer_of(8192, 4096), UIMessages("s")
    before = time.process_time()
    for at, piece in enumerate(pieces):
        ui.push([piece], at)
    ui.end(COMPLETED)
    assert time.process_time() - before < 5
