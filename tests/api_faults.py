"""A gateway whose upstream is cut, in each API, at each kind of place: what a caller is told, and whether that is true.

`python tests/fault_table.py` writes what comes of it into docs/faults.md.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from everytoken.journal.memory import MemoryJournal
from everytoken.journal.redis import RedisJournal
from everytoken.journal.sqlite import SqliteJournal
from everytoken.recovery import Policy
from everytoken.testing import FAULTS, Answer, ScriptedUpstream, ToolCall
from everytoken.testing.plan import Plan
from everytoken.testing.upstream import APIS as RENDERED
from gateway_serving import serving
from journal_backends import shared_redis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from everytoken.journal import Journal
    from everytoken.testing import Fault, FaultRule
    from gateway_serving import Served

ANSWER = Answer(
    "Let me look it up: 流式 👨‍👩‍👧, ha ha ha.",
    reasoning="Hm, 27 × 453 is more than that, says 流式.",
    tool_calls=(
        ToolCall("get_weather", '{"city":"Zürich","days":[1,2,3]}', "call_a"),
        ToolCall("get_time", '{"zone":"CET"}', "call_b"),
    ),
)
POLICY = Policy(backoff=0.0, backoff_max=0.0)
JOURNALS = ("memory", "sqlite", "redis")
CUTS = ("close", "reset", "clean-end", "cut-in-event")
When = Literal["first", "always", "second"]
"""The first attempt is cut; every attempt is; every one at the first of two upstreams is, and the second is healthy."""

WHEN: dict[When, str] = {
    "first": "first attempt only",
    "always": "every attempt",
    "second": "every attempt at the first of two",
}
USER = [{"role": "user", "content": "Explain."}]


@dataclass(frozen=True)
class Api:
    """An API as a caller uses it: its path, what is asked, and in the events of its answers what brings which content."""

    name: str
    path: str
    ask: dict[str, Any]
    thinking: bytes
    text: bytes
    arguments: bytes
    end: str

    @property
    def plan(self) -> Plan:
        """The healthy stream of the answer."""
        plan = RENDERED[self.name][1](ANSWER, {**self.ask, "stream": True}, number=0)
        assert isinstance(plan, Plan)
        return plan

    def place(self, kind: str) -> int | str:
        """Return where a place is, in chunks with content."""
        if kind in {"start", "one", "end"}:
            return kind
        found = [number for number, piece in enumerate(self.plan.content) if getattr(self, kind) in piece]
        return found[len(found) // 2]


API = {
    "chat": Api(
        "chat", "/v1/chat/completions", {"model": "m", "messages": USER},
        b'"reasoning_content":', b'"content":', b'"function":{"arguments":', "[DONE]",
    ),
    "messages": Api(
        "messages", "/v1/messages", {"model": "m", "max_tokens": 4096, "messages": USER},
        b'"thinking_delta"', b'"text_delta"', b'"input_json_delta"', "message_stop",
    ),
    "responses": Api(
        "responses", "/v1/responses", {"model": "m", "input": "Explain."},
        b"summary_text.delta", b"output_text.delta", b"call_arguments.delta", "response.completed",
    ),
}  # fmt: skip
PLACES = {
    "start": "before content",
    "one": "after one piece",
    "thinking": "inside thinking",
    "text": "inside text",
    "arguments": "inside tool arguments",
    "end": "before the end",
}


@contextmanager
def kept_in(kind: str) -> Iterator[Journal]:
    """Yield a journal of a kind, for the gateway to start."""
    if kind == "memory":
        yield MemoryJournal()
    elif kind == "redis":
        yield RedisJournal(shared_redis().url)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield SqliteJournal(Path(folder) / "journal.sqlite")


class Cell(NamedTuple):
    """One response of the table."""

    api: str
    place: str
    when: When
    streamed: bool
    journal: str
    cut: str


def cells(apis: Iterable[str] = API, journals: Iterable[str] = JOURNALS) -> list[Cell]:
    """Return every response that the table tells of."""
    return [Cell(*found) for found in product(apis, PLACES, WHEN, (True, False), journals, CUTS)]


def sample(api: str, journal: str) -> list[Cell]:
    """Return one response for each cell of an API's table, with one kind of cut after the other."""
    found = [cell for cell in cells([api], [journal]) if cell.streamed or journal == "memory"]
    return found[:: len(CUTS) + 1] if journal != "memory" else found[:: len(CUTS) - 1]


def _cut(cell: Cell) -> Fault:
    """Return the fault of a cell; an answer in one piece has no such places, and is cut in its middle."""
    fault = FAULTS[cell.cut]
    return replace(fault, build=lambda plan, place: fault.build(plan, place if plan.streamed else "middle"))


async def result_of(cell: Cell) -> str:
    """Return what became of one response: `exact`, or the outcome and code of its error.

    Raises `AssertionError` if it is silent, doubled or wrong.
    """
    api = API[cell.api]
    rule: FaultRule = (0 if cell.when == "first" else "always", _cut(cell), api.place(cell.place))
    with kept_in(cell.journal) as kept:
        return await _result_in(kept, cell, api, rule)


async def _result_in(kept: Journal, cell: Cell, api: Api, rule: FaultRule) -> str:
    async with (
        ScriptedUpstream(ANSWER, faults=[rule]) as broken,
        ScriptedUpstream(ANSWER) as healthy,
        serving(*[broken, healthy][: 1 + (cell.when == "second")], kept_in=kept, policy=POLICY) as gateway,
    ):
        told = await _asked(gateway, api, streamed=cell.streamed)
        assert broken.attempts[0].fault == cell.cut, "the fault took place"
    return told


async def _asked(gateway: Served, api: Api, *, streamed: bool) -> str:
    answer = await gateway.ask("POST", api.path, {**api.ask, "stream": streamed})
    assert answer.complete or streamed
    if not streamed or answer.status != 200:
        value = answer.json
        if answer.status == 200:
            assert "".join(whole(value)) == TRUTH, "it is not the answer"
            return "exact"
        return f"failed: `{value['error']['code']}`"
    return judged(api, [data for data, _ in answer.events])


def judged(api: Api, events: list[str], truth: str | None = None) -> str:
    """Return what a stream is: `exact`, or the outcome and code of its error. Raises `AssertionError` if it is neither.

    `truth` is what it has to say, that of the table's answer if it is not given.
    """
    truth = TRUTH if truth is None else truth
    assert events, "the stream is empty"
    values = [json.loads(data) if data != "[DONE]" else {"type": data} for data in events]
    *before, last = values
    said = "".join(spoken(values))
    ends = [value for value in values if value.get("type") == api.end]
    assert not any(value.get("error") for value in before), "it goes on behind an error"
    if last.get("type") == api.end:
        assert len(ends) == 1, "it ends twice"
        assert said == truth, f"it is not the answer: {said!r}"
        return "exact"
    error = last.get("error")
    assert error, "it ends without an end and without an error"
    assert not ends, "an end came before the error"
    assert truth.startswith(said), f"what came is no beginning of the answer: {said!r}"
    return f"{'interrupted' if said else 'failed'}: `{error['code']}`"


def spoken(values: list[dict[str, Any]]) -> Iterator[str]:
    """Yield all that events say, the same in every API; a beginning of the events says a beginning of it."""
    open_in = ""
    for value in values:
        for place, name, text in _said(value):
            if place != open_in:
                open_in = place
                yield f"\n<{name}> "
            yield text


def _said(value: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the place, its name (of a call: the tool's, at its beginning) and the text that an event adds there."""
    for choice in value.get("choices") or ():
        delta = choice["delta"]
        for field, name in (("reasoning_content", "thinking"), ("content", "text")):
            if delta.get(field):
                yield name, name, delta[field]
        for call in delta.get("tool_calls") or ():
            name = call["function"].get("name", "")
            yield f"call {call['index']}", name, call["function"].get("arguments") or ""
    kind = value.get("type", "")
    if kind == "content_block_start":
        block = value["content_block"]
        if block["type"] == "tool_use":
            yield f"block {value['index']}", block["name"], ""
    elif kind == "content_block_delta":
        delta, place = value["delta"], f"block {value['index']}"
        for field, name in (("thinking", "thinking"), ("text", "text"), ("partial_json", "")):
            if delta.get(field):
                yield place, name, delta[field]
    elif kind == "response.output_item.added" and value["item"]["type"] == "function_call":
        yield f"item {value['output_index']}", value["item"]["name"], ""
    elif kind.endswith(".delta"):
        name = "thinking" if "reasoning" in kind else "text"
        yield f"item {value['output_index']}", name, value["delta"]


def whole(value: dict[str, Any]) -> Iterator[str]:
    """Yield all that an answer in one piece says."""
    for choice in value.get("choices", ()):
        message = choice["message"]
        yield f"\n<thinking> {message['reasoning_content']}\n<text> {message['content']}"
        for call in message["tool_calls"]:
            yield f"\n<{call['function']['name']}> {call['function']['arguments']}"
    for block in value.get("content", ()):
        if block["type"] == "tool_use":
            yield f"\n<{block['name']}> {json.dumps(block['input'], ensure_ascii=False, separators=(',', ':'))}"
        else:
            yield f"\n<{block['type']}> {block[block['type']]}"
    for item in value.get("output", ()):
        if item["type"] == "function_call":
            yield f"\n<{item['name']}> {item['arguments']}"
        elif item["type"] == "reasoning":
            yield f"\n<thinking> {item['summary'][0]['text']}"
        else:
            yield f"\n<text> {item['content'][0]['text']}"


def _truth() -> str:
    calls = [f"\n<{call.name}> {call.arguments}" for call in ANSWER.tool_calls]
    return "".join((f"\n<thinking> {ANSWER.reasoning}", f"\n<text> {ANSWER.text}", *calls))


TRUTH = _truth()


# The tables

TITLES = {"chat": "Chat completions", "messages": "Messages", "responses": "Responses"}
HEADING = "## Three APIs, three journals"
HEAD = f"""{HEADING}

The same through a whole gateway, from the upstream's socket to the caller's, for an answer that thinks, says something and
calls two tools. Every field of these tables is {2 * len(CUTS) * len(JOURNALS)} responses: streamed and in one piece, cut by
{", ".join(f"`{cut}`" for cut in CUTS)}, with the journal in memory, in SQLite and in Redis. A caller
that does not stream is served from a stream all the same, unless that keeps breaking. **exact** means: the official end, and
behind one another all of the thinking, the text and the arguments, once. Anything else is an error that the caller is told, behind a true beginning of the answer, with no end mark.
Nothing was silently cut, doubled or wrong, or this page could not have been written."""


def tables(results: Mapping[Cell, str]) -> str:
    """Return the part of docs/faults.md that tells of the APIs."""
    lines = [HEAD]
    for api, title in TITLES.items():
        lines += [
            f"\n### {title}\n",
            f"| cut | {' | '.join(WHEN.values())} |",
            "|---" * (len(WHEN) + 1) + "|",
        ]
        for place, name in PLACES.items():
            fields = []
            for when in WHEN:
                streamed, piece = [
                    _told({c: told for c, told in results.items() if c[:4] == (api, place, when, kind)})
                    for kind in (True, False)
                ]
                fields.append(streamed if streamed == piece else f"{streamed}; in one piece {piece}")
            lines.append(f"| {name} | {' | '.join(fields)} |")
    exact = sum(told == "exact" for told in results.values())
    lines.append(f"\n{len(results)} responses: {exact} exact, {len(results) - exact} with an explicit error.")
    return "\n".join(lines) + "\n"


def _told(results: Mapping[Cell, str]) -> str:
    """Return what became of the responses of one field; where they differ, of which."""
    by_result: dict[str, list[Cell]] = {}
    for cell, told in results.items():
        by_result.setdefault(told, []).append(cell)
    if len(by_result) == 1:
        return next(iter(by_result))
    parts = []
    for told, found in by_result.items():
        where = sorted({f"`{cell.cut}`, {cell.journal}" for cell in found})
        parts.append(f"{told} ({'; '.join(where)})")
    return "; ".join(parts)


def fields_of(document: str) -> dict[tuple[str, str, When], str]:
    """Return what a document's tables say, by API, place and column."""
    found = {}
    for api, title in TITLES.items():
        section = document.partition(f"### {title}\n")[2].partition("\n##")[0]
        for place, name in PLACES.items():
            row = next(line for line in section.splitlines() if line.startswith(f"| {name} |"))
            told = row.removesuffix(" |").split(" | ")[1:]
            found.update({(api, place, when): text for when, text in zip(WHEN, told, strict=True)})
    return found
