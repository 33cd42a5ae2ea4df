"""Every field and type of every API has its row, and a row does what it says."""

from __future__ import annotations

import re
from typing import Any, get_args

import msgspec
import pytest
from anthropic.types import beta, message_create_params
from anthropic.types.beta import beta_tool_union_param
from openai.types.chat import chat_completion_content_part_param as part
from openai.types.chat import (
    chat_completion_message_param,
    chat_completion_tool_union_param,
    completion_create_params,
)
from openai.types.responses import (
    response_create_params,
    response_input_content_param,
    response_input_item_param,
    tool_param,
)
from typing_extensions import get_type_hints

from everytoken.errors import InvalidRequestError
from everytoken.translation.anthropic_messages import fields as messages
from everytoken.translation.openai_chat import fields as chat
from everytoken.translation.openai_responses import fields as responses
from everytoken.translation.request import NeutralRequest
from everytoken.translation.table import fate_of
from neutral_requests import APIS, CHAT, MESSAGES, READ, RESPONSES, WRITE

TABLES = {CHAT: chat, MESSAGES: messages, RESPONSES: responses}
TURN = [{"role": "user", "content": "Hi"}]
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": TURN},
    MESSAGES: {"model": "m", "messages": TURN, "max_tokens": 99},
    RESPONSES: {"model": "m", "input": TURN},
}
SCHEMA = {"type": "object"}
VALUES: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "mp3"},
    "betas": ["one"],
    "include": ["reasoning.encrypted_content"],
    "input": "Hi",
    "logit_bias": {"1": 1},
    "logprobs": True,
    "max_tokens": 99,
    "max_completion_tokens": 99,
    "max_output_tokens": 99,
    "messages": TURN,
    "metadata": {"a": "b"},
    "metadata.user_id": "somebody",
    "modalities": ["text", "audio"],
    "n": 2,
    "output_config.effort": "low",
    "output_config.format": {"type": "json_schema", "schema": SCHEMA},
    "output_format": {"type": "json_schema", "schema": SCHEMA},
    "parallel_tool_calls": False,
    "reasoning.effort": "low",
    "reasoning.generate_summary": "auto",
    "reasoning.summary": "auto",
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "stop": "END",
    "stop_sequences": ["END"],
    "stream": True,
    "temperature": 0.5,
    "text.format": {"type": "json_object"},
    "thinking": {"type": "adaptive"},
    "tool_choice": None,
    "tools": [],
    "top_k": 4,
    "top_logprobs": 2,
    "top_p": 0.5,
}
"""Values of fields that are not just any text."""
PAIRS = [
    pytest.param(caller, upstream, row, id=f"{caller} over {upstream}: {row.name}")
    for caller in APIS
    for upstream in APIS
    if caller != upstream
    for row in TABLES[caller].READS.values()
]


def with_field(body: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    outer, _, inner = name.partition(".")
    return {**body, outer: {inner: value} if inner else value}


@pytest.mark.parametrize(("caller", "upstream", "row"), PAIRS)
def test_a_field_is_said_dropped_or_refused_by_its_name(caller, upstream, row):
    kind, default = BODIES[caller], VALUES.get(row.name, "any")
    value = default
    if row.neutral == "prompt_cache_options":
        value = {"mode": "explicit"}
    body = with_field(kind, row.name, value)
    fate = fate_of(row, TABLES[upstream].WRITES)[0]
    if (fate == "refused" and value is not None) or (
        upstream == MESSAGES and value == {"type": "json_object"}
    ):
        with pytest.raises(InvalidRequestError) as caught:
            WRITE[upstream](READ[caller](body))
        assert caught.value.param == row.name
        return
    there = WRITE[upstream](READ[caller](body))
    plain = WRITE[upstream](READ[caller](kind))
    if fate == "dropped":
        assert there == plain
    elif row.name not in {"model", "messages", "input", "tools", "tool_choice", "reasoning.summary"} and not (
        row.neutral in {"shown", "parallel_calls", "reasons"} or value in (99, [])
    ):
        assert there != plain


@pytest.mark.parametrize("api", APIS)
def test_null_asks_for_nothing(api):
    table = TABLES[api].READS
    nothing = {name: None for name in table if "." not in name and name not in BODIES[api]}
    for upstream in APIS:
        assert WRITE[upstream](READ[api]({**BODIES[api], **nothing})) == WRITE[upstream](
            READ[api](BODIES[api])
        )


@pytest.mark.parametrize("api", APIS)
def test_values_that_ask_for_nothing_are_not_refused(api):
    for row in TABLES[api].READS.values():
        for value in row.harmless:
            READ[api]({**BODIES[api], row.name: value})


@pytest.mark.parametrize("api", APIS)
def test_an_unknown_field_is_refused_by_its_name(api):
    READ[api]({**BODIES[api], "min_p": None})
    with pytest.raises(InvalidRequestError, match="min_p") as caught:
        READ[api]({**BODIES[api], "min_p": 0.1})
    assert caught.value.param == "min_p"


def test_an_unknown_field_inside_another_is_refused_by_its_path():
    body = {**BODIES[RESPONSES], "reasoning": {"effort": "low", "depth": 3}}
    with pytest.raises(InvalidRequestError) as caught:
        READ[RESPONSES](body)
    assert caught.value.param == "reasoning.depth"


@pytest.mark.parametrize("api", APIS)
def test_the_neutral_form_is_written_whole(api):
    assert list(TABLES[api].WRITES) == [
        name for name in NeutralRequest.__struct_fields__ if name != "paths"
    ], "one row each, in the order of the form"


@pytest.mark.parametrize("api", APIS)
def test_what_is_read_is_something_that_is_written(api):
    for row in TABLES[api].READS.values():
        assert row.fate != "said" or row.neutral in NeutralRequest.__struct_fields__
    for row in TABLES[api].TYPES.values():
        for other in APIS:
            assert row.fate != "said" or row.neutral in TABLES[other].KINDS, row
    assert list(chat.KINDS) == list(messages.KINDS) == list(responses.KINDS)


def test_every_reason_is_given():
    for table in TABLES.values():
        for rows in (table.READS, table.TYPES, table.WRITES, table.KINDS):
            assert [row.name for row in rows.values() if row.fate != "said" and not row.note] == []


def test_every_field_of_the_sdks_has_a_row():

    for params, table in (
        (completion_create_params.CompletionCreateParamsStreaming, chat),
        (response_create_params.ResponseCreateParamsStreaming, responses),
        (message_create_params.MessageCreateParamsStreaming, messages),
        (beta.message_create_params.MessageCreateParamsStreaming, messages),
    ):
        told = {name.partition(".")[0] for name in table.READS}
        assert set(get_type_hints(params)) - told == set()


def test_every_type_of_the_sdks_has_a_row():

    blocks = beta.beta_content_block_param.BetaContentBlockParam
    for group, union, table, names in (
        ("message", chat_completion_message_param.ChatCompletionMessageParam, chat, "role"),
        ("tool", chat_completion_tool_union_param.ChatCompletionToolUnionParam, chat, "type"),
        ("part", part.ChatCompletionContentPartParam, chat, "type"),
        ("item", response_input_item_param.ResponseInputItemParam, responses, "type"),
        ("tool", tool_param.ToolParam, responses, "type"),
        ("part", response_input_content_param.ResponseInputContentParam, responses, "type"),
        ("tool", beta_tool_union_param.BetaToolUnionParam, messages, "type"),
        ("part", blocks, messages, "type"),
    ):
        found = {re.sub(r"_(20\d{6}|20\d\d(_\d\d){2})$", "", one) for one in literals(union, names)}
        assert {f"{group} {one}" for one in found} - set(table.TYPES) == set()


def literals(union: Any, name: str) -> set[str]:
    """Return the values of a field of the types of a union; models, which are answers sent back, have the same ones."""
    found: set[str] = set()
    for one in get_args(union):
        if isinstance(one, type) and not hasattr(one, "model_fields"):
            for value in get_args(get_type_hints(one)[name]):
                found |= {inner for inner in (value, *get_args(value)) if isinstance(inner, str)}
    return found


def test_rows_are_values():
    assert msgspec.json.encode(chat.READS["n"])
