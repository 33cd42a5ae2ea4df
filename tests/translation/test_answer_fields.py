"""The tables of what happens to the parts of an answer say what happens: of every row an answer is translated."""

from __future__ import annotations

import json

import pytest

from everytoken.errors import UntranslatableError
from everytoken.sse import ServerSentEvent
from everytoken.translation.anthropic_messages.answer_fields import ANSWERS as OF_MESSAGES
from everytoken.translation.openai_chat.answer_fields import ANSWERS as OF_CHAT
from everytoken.translation.openai_responses.answer_fields import ANSWERS as OF_RESPONSES
from messages_streams import CITATION, begin, delta, end, inputs, start, stop, texts
from responses_streams import USAGE, Script, output_text, refusal_part
from translated import APIS, CHAT, MESSAGES, RESPONSES, read_by_sdk, translated

WEB = {
    "type": "web_search_result_location",
    "url": "http://MARK",
    "title": "T",
    "cited_text": "",
    "encrypted_index": "",
}
CALL = {"index": 0, "id": "MARK", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CUSTOM = {"index": 0, "id": "MARK", "type": "custom", "custom": {"name": "f", "input": "x"}}
NOTE = {
    "type": "url_citation",
    "url_citation": {"url": "http://MARK", "title": "T", "start_index": 0, "end_index": 1},
}


def _chat(delta=None, *, finish="stop", choice=None, **beside):
    """Return a completion with "MARK" in the part that it is about."""
    frame = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    pieces = [
        ({"content": "Hi"}, {}, {}),
        (delta or {}, choice or {}, beside),
        ({}, {"finish_reason": finish}, {}),
    ]
    chunks = [
        {**frame, "choices": [{"index": 0, "delta": one, "finish_reason": None, **more}], **others}
        for one, more, others in pieces
    ]
    return [
        *(ServerSentEvent("message", json.dumps(chunk)) for chunk in chunks),
        ServerSentEvent("message", "[DONE]"),
    ]


def _named(values):
    return [ServerSentEvent(value["type"], json.dumps(value)) for value in values]


def _message(*events, ending=None):
    text = [begin(0, "text", text=""), *texts(0, "Hi"), stop(0)]
    return _named([start(), *text, *events, *(ending or end())])


def _block(kind, *deltas, **more):
    return _message(begin(1, kind, **more), *deltas, stop(1))


def _response(*parts, item=None, kind="completed", notes=(), **more):
    script = Script("a")
    script.message((output_text(), ("Hi",)), *parts, notes=notes)
    if item:
        item["id"] = "x"
        script.output.append(item)
        script.say("response.output_item.added", output_index=1, item=item)
        script.say("response.output_item.done", output_index=1, item=item)
    return _named(script.end(kind, **more))


def _part(**more):
    script = Script("a")
    index = script.begin(
        {"type": "message", "role": "assistant", "status": "completed", "content": [], **more.pop("item", {})}
    )
    script.part(index, 0, {**output_text(), **more}, "Hi")
    script.finish(index)
    return _named(script.end())


SAMPLES = {
    CHAT: {
        "delta.content": _chat({"content": "MARK"}),
        "delta.reasoning_content": _chat({"reasoning_content": "MARK"}),
        "delta.reasoning_details.signature": _chat({"reasoning_details": [{"text": "a", "signature": "MARK"}]}),
        "delta.reasoning_details.data": _chat({"reasoning_details": [{"type": "reasoning.encrypted", "data": "MARK"}]}),
        "delta.refusal": _chat({"refusal": "MARK"}),
        "delta.tool_calls.function": _chat({"tool_calls": [CALL]}, finish="tool_calls"),
        "delta.tool_calls.custom": _chat({"tool_calls": [CUSTOM]}, finish="tool_calls"),
        "delta.tool_calls.extra_content": _chat(
            {"tool_calls": [{**CALL, "id": "c", "extra_content": {"google": {"thought_signature": "MARK"}}}]}, finish="tool_calls"
        ),
        "delta.function_call": _chat({"function_call": {"name": "MARK", "arguments": "{}"}}, finish="function_call"),
        "delta.annotations": _chat({"annotations": [NOTE]}),
        "citations": _chat(citations=["http://MARK"]),
        "search_results": _chat(search_results=[{"url": "http://MARK", "title": "T"}]),
        "finish_reason": None,
        "usage": None,
        "choices.logprobs": _chat(choice={"logprobs": {"content": [{"token": "MARK"}]}}),
        "choices.content_filter_results": _chat(choice={"content_filter_results": {"hate": {"severity": "MARK"}}}),
        "prompt_filter_results": _chat(prompt_filter_results=[{"x": "MARK"}]),
        "prompt_progress": _chat(prompt_progress={"total": "MARK"}),
        "timings": _chat(timings={"x": "MARK"}),
        "system_fingerprint": _chat(system_fingerprint="MARK"),
        "service_tier": _chat(service_tier="MARK"),
        "choices": _chat({"content": "MARK"}, choice={"index": 1}),
        "delta.audio": _chat({"audio": {"id": "a", "data": "MARK"}}),
        "delta.images": _chat({"images": [{"type": "image_url", "image_url": {"url": "MARK"}}]}),
        "delta.executed_tools": _chat({"executed_tools": [{"output": "MARK"}]}),
        "delta.*": _chat({"hologram": "MARK"}),
        "*": _chat(holograms=["MARK"]),
    },
    MESSAGES: {
        "text": _block("text", *texts(1, "MARK"), text=""),
        "thinking": _block("thinking", delta(1, "thinking_delta", thinking="MARK"), thinking="", signature=""),
        "thinking.signature": _block("thinking", delta(1, "signature_delta", signature="MARK"), thinking="", signature=""),
        "redacted_thinking": _block("redacted_thinking", data="MARK"),
        "tool_use": _message(begin(1, "tool_use", id="MARK", name="f", input={}), *inputs(1, "{}"), stop(1), ending=end("tool_use")),
        "citations.web_search_result_location": _block("text", delta(1, "citations_delta", citation=WEB), text=""),
        "citations.char_location": _block("text", delta(1, "citations_delta", citation=CITATION), text=""),
        "stop_reason": None,
        "stop_sequence": _message(ending=end("stop_sequence", stop_sequence="MARK")),
        "stop_reason pause_turn": _message(ending=end("pause_turn")),
        "usage": None,
        "server_tool_use": _block("server_tool_use", id="s", name="web_search", input={}),
        "web_search_tool_result": _block("web_search_tool_result", tool_use_id="s", content=[]),
        "*": _message({"type": "message_note", "note": "MARK"}),
    },
    RESPONSES: {
        "message output_text": _response((output_text(), ("MARK",))),
        "message refusal": _response((refusal_part(), ("MARK",))),
        "message phase": _part(item={"phase": "MARK"}),
        "reasoning summary": _response(item={"type": "reasoning", "summary": [{"type": "summary_text", "text": "MARK"}]}),
        "reasoning reasoning_text": _response(
            item={"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "MARK"}]}
        ),
        "reasoning encrypted_content": _response(item={"type": "reasoning", "summary": [], "encrypted_content": "MARK"}),
        "function_call": _response(item={"type": "function_call", "call_id": "MARK", "name": "f", "arguments": "{}"}),
        "custom_tool_call": _response(item={"type": "custom_tool_call", "call_id": "MARK", "name": "f", "input": "x"}),
        "url_citation": _response(notes=[{"type": "url_citation", "url": "http://MARK", "title": "T", "start_index": 0, "end_index": 1}]),
        "file_citation": _response(notes=[{"type": "file_citation", "file_id": "MARK", "index": 0}]),
        "logprobs": _part(logprobs=[{"token": "MARK"}]),
        "response.completed": None,
        "response.incomplete": None,
        "usage": None,
        "web_search_call": _response(item={"type": "web_search_call", "status": "completed"}),
        "*": _response(item={"type": "hologram"}),
    },
}  # fmt: skip
TABLES = {CHAT: OF_CHAT, MESSAGES: OF_MESSAGES, RESPONSES: OF_RESPONSES}
CASES = [(api, name) for api in APIS for name, sample in SAMPLES[api].items() if sample is not None]
NOT_IN_MESSAGES = {"delta.tool_calls.custom", "custom_tool_call"}
NOT_IN_RESPONSES = {"delta.reasoning_details.signature"}


@pytest.mark.parametrize("api", APIS)
def test_every_row_has_an_example(api):
    assert set(SAMPLES[api]) == set(TABLES[api])


@pytest.mark.parametrize(("source", "name"), CASES)
def test_what_the_table_says_happens(source, name):
    fate = TABLES[source][name].fate
    events = SAMPLES[source][name]
    for target in APIS:
        if target == source:
            continue
        if fate == "refused" or (name in NOT_IN_MESSAGES and target == MESSAGES):
            with pytest.raises(UntranslatableError):
                translated(source, target, events)
            continue
        answer = translated(source, target, events)
        assert read_by_sdk(target, answer).said.startswith("Hi")
        shown = any("MARK" in event.data for event in answer)
        assert shown is (fate == "said" and not (name in NOT_IN_RESPONSES and target == RESPONSES)), target


def test_the_usage_that_the_examples_have_is_told():
    for target in APIS:
        seen = read_by_sdk(target, translated(RESPONSES, target, SAMPLES[RESPONSES]["message output_text"]))
        assert seen.usage == (USAGE["input_tokens"], USAGE["output_tokens"], 4, 0, 3)
