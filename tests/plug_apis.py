"""The plug is pulled on callers of all three APIs over upstreams of all three.

Readers of a stream come back by `Last-Event-ID`. Some readers of Responses are the official SDK, which comes back by
`starting_after`. What a reader has got in the end is compared with what the upstream has said: the text, a call of a tool,
and one of each event that there may be one of.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import openai

from everytoken.testing import Answer, ScriptedUpstream, Status, ToolCall
from everytoken.testing.upstream import APIS
from plug_nodes import Progress, one_started_again, request, struck, two_of_which_one_dies

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from everytoken.testing.connection import ReceivedRequest
    from everytoken.testing.steps import Step

BACK_OFF = 0.05  # seconds between a reader's tries
PATIENCE = 60.0  # seconds a reader may take in all
WORDS = ("é", "流", "token", "👍🏽", "ha")
_PROMPT = re.compile(rb"ask-[0-9]+-[0-9]+")
_ALL_READ = "all read"  # as 204 says it: there is nothing behind what the reader has

Kind = tuple[str, str, Literal["wire", "sdk"]]
"""The caller's API, the upstream's, and what reads."""

KINDS: tuple[Kind, ...] = (
    *((caller, api, "wire") for caller in APIS for api in APIS),
    *(("responses", api, "sdk") for api in APIS),
)


def answer_to(prompt: str, words: int, pace: float) -> Answer:
    """Return what the model says to a prompt: it follows from the prompt alone."""
    rng = random.Random(prompt)
    said = [f" {rng.choice(WORDS)}{number}" for number in range(words)]
    arguments = json.dumps({"city": rng.choice(WORDS), "days": rng.randrange(100, 1000)}, ensure_ascii=False)
    return Answer(said, tool_calls=(ToolCall("weather", arguments),), delay=pace)


def upstream_of(api: str, words: int, pace: float) -> ScriptedUpstream:
    """Return a model server that speaks one API."""
    path, render = APIS[api]

    def script(asked: ReceivedRequest) -> Sequence[Step]:
        found = _PROMPT.search(asked.body)
        if found is None or not asked.path.endswith(path):
            return [Status(404, body=b"{}")]
        answer = answer_to(found[0].decode(), words, pace)
        plan = render(answer, asked.json, number=asked.attempt or 0)
        return [plan] if isinstance(plan, Status) else plan.whole()

    return ScriptedUpstream(script, apis=[api])


@dataclass
class Reading:
    """What one reader got: every event once, in order, unless `faults` tells otherwise."""

    kind: Kind
    prompt: str
    events: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    end: str = ""
    faults: list[str] = field(default_factory=list)

    @property
    def model(self) -> str:
        """The model to ask for: there is one at each upstream."""
        return f"of-{self.kind[1]}"

    def take(self, event: dict[str, Any], number: int) -> None:
        """Take the event with a number, from 0; note what ends the response."""
        if number != len(self.events):
            self.faults.append(f"event {number} after {len(self.events)}")
        self.events.append(event)
        if event.get("sequence_number", number) != number:
            self.faults.append(f"sequence number {event['sequence_number']} of event {number}")
        kind = event.get("type")
        if kind in ("message_stop", "response.completed"):
            self.end = "done"
        elif kind in ("error", "response.failed", "response.incomplete") or "error" in event:
            self.end = f"error {event}"


async def read(
    kind: Kind, urls: Callable[[], list[str]], prompt: str, rng: random.Random, progress: Progress
) -> Reading:
    """Ask, and read to the end; after a break come back to any of the nodes."""
    reading = Reading(kind, prompt)
    location = ""
    async with asyncio.timeout(PATIENCE):
        while not reading.end:
            url = rng.choice(urls())
            reading.connections += 1
            if kind[2] == "sdk":
                await _by_sdk(reading, url, progress)
            else:
                location = await _by_wire(reading, url, location, progress)
            await asyncio.sleep(BACK_OFF * rng.random())
    return reading


async def _by_wire(reading: Reading, url: str, location: str, progress: Progress) -> str:
    """Read until the connection breaks or the response ends; return where the stream is."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        if location:
            headers = {"last-event-id": f"{len(reading.events):016d}"}
            parts = request(url, "GET", f"{location}/events", headers, None)
        else:
            caller = reading.kind[0]
            headers = {"idempotency-key": reading.prompt}
            parts = request(url, "POST", f"/v1{APIS[caller][0]}", headers, _body(caller, reading))
        async with contextlib.aclosing(parts):
            async for part in parts:
                if isinstance(part, dict):
                    location = part.get("location", location)
                    status = int(part[":status"])
                    if status != 200:
                        # 503: the journal is not there yet.
                        reading.end = {503: "", 204: _ALL_READ}.get(status, f"status {status}")
                        break
                    continue
                data, offset = part
                if data == "[DONE]":
                    reading.end = "done"
                elif not _is_a_sign_of_life(data, offset, reading):
                    reading.take(json.loads(data), int(offset) - 1)
                    progress.add()
                if reading.end:
                    break
    return location


def _is_a_sign_of_life(data: str, offset: str, reading: Reading) -> bool:
    """Tell whether an event is a ping of the gateway, which is no record: it has no offset of its own."""
    return data == '{"type": "ping"}' and (not offset or int(offset) == len(reading.events))


def _body(caller: str, reading: Reading) -> dict[str, Any]:
    body: dict[str, Any] = {"model": reading.model, "stream": True}
    if caller == "responses":
        return {**body, "input": reading.prompt}
    if caller == "messages":
        body["max_tokens"] = 4096
    return {**body, "messages": [{"role": "user", "content": reading.prompt}]}


async def _by_sdk(reading: Reading, url: str, progress: Progress) -> None:
    """Read with OpenAI's SDK, which comes back by the number of the last event: in turn as a stream and by its helper."""
    broken = (openai.APIConnectionError, openai.InternalServerError)
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    async with client:
        with contextlib.suppress(*broken):
            async for event in _sdk_events(client, reading):
                reading.take(event, event["sequence_number"])
                progress.add()


async def _sdk_events(client: Any, reading: Reading) -> AsyncGenerator[dict[str, Any]]:
    responses, seen = client.responses, reading.events
    if not seen:
        body = {"model": reading.model, "input": reading.prompt, "stream": True, "background": True}
        events = await responses.create(**body, extra_headers={"Idempotency-Key": reading.prompt})
    else:
        response_id, number = seen[0]["response"]["id"], seen[-1]["sequence_number"]
        if reading.connections % 2:
            async with responses.stream(response_id=response_id, starting_after=number) as helped:
                async for event in helped:
                    yield event.to_dict(warnings=False)
            return
        events = await responses.retrieve(response_id, stream=True, starting_after=number)
    async with events:
        async for event in events:
            yield event.to_dict(warnings=False)


def problems_of(result: Reading | BaseException, words: int) -> list[str]:
    """Return what is wrong with what a reader got."""
    if isinstance(result, BaseException):
        return [f"{type(result).__name__}: {result}"]
    name = f"{'-'.join(result.kind)} {result.prompt}"
    if result.faults or result.end not in ("done", _ALL_READ):
        return [f"{name}: ended {result.end!r}", *(f"{name}: {fault}" for fault in result.faults)]
    truth = answer_to(result.prompt, words, 0.0)
    calls = [(call.name, call.arguments) for call in truth.tool_calls]
    text, called, frame = _SAID[result.kind[0]](result.events)
    problems = []
    if text != truth.text:
        problems.append(f"{name}: {len(text)} characters, not the text")
    if called != calls:
        problems.append(f"{name}: calls {called}, not {calls}")
    if any(count != 1 for count in frame.values()):
        problems.append(f"{name}: one of each is wanted: {frame}")
    return problems


Said = tuple[str, list[tuple[str, str]], Counter[str]]
"""The text, the calls of tools, and how often that came which has to come once."""


# A text is the first block or item, the call of a tool the second one.
_MESSAGE = (
    *("message_start", "message_delta", "message_stop"),
    *(f"content_block_{kind} {index}" for kind in ("start", "stop") for index in range(2)),
)
_RESPONSE = (
    *("response.created", "response.completed"),
    *(f"response.output_item.{kind} {index}" for kind in ("added", "done") for index in range(2)),
    *("response.content_part.added 0", "response.content_part.done 0", "response.output_text.done 0"),
    "response.function_call_arguments.done 1",
)


def _chat(events: list[dict[str, Any]]) -> Said:
    text, names, arguments = "", [], ""
    frame = Counter({"finish": 0, "id": len({event["id"] for event in events})})
    for choice in (choice for event in events for choice in event["choices"]):
        text += choice["delta"].get("content") or ""
        frame["finish"] += choice.get("finish_reason") is not None
        for call in choice["delta"].get("tool_calls") or ():
            names += [call["function"]["name"]] if call["function"].get("name") else []
            arguments += call["function"].get("arguments") or ""
    return text, [(name, arguments) for name in names], frame


def _message(events: list[dict[str, Any]]) -> Said:
    text, names, arguments = "", [], ""
    frame = Counter(dict.fromkeys(_MESSAGE, 0))
    for event in events:
        kind, delta = event["type"], event.get("delta", {})
        if kind.startswith("message"):
            frame[kind] += 1
        if kind in ("content_block_start", "content_block_stop"):
            frame[f"{kind} {event['index']}"] += 1
        if kind == "content_block_start" and event["content_block"]["type"] == "tool_use":
            names.append(event["content_block"]["name"])
        text += delta.get("text", "")
        arguments += delta.get("partial_json", "")
    return text, [(name, arguments) for name in names], frame


def _response(events: list[dict[str, Any]]) -> Said:
    text, arguments = "", ""
    frame = Counter(dict.fromkeys(_RESPONSE, 0))
    for event in events:
        kind = event["type"]
        if kind in _RESPONSE or kind.endswith((".added", ".done")):
            frame[f"{kind} {event.get('output_index', '')}".rstrip()] += 1
        text += event["delta"] if kind == "response.output_text.delta" else ""
        arguments += event["delta"] if kind == "response.function_call_arguments.delta" else ""
    # The last event has all of it once more.
    output = events[-1].get("response", {}).get("output", ())
    frame["response id"] = len({event["response"]["id"] for event in events if "response" in event})
    frame["whole"] = int(
        text == "".join(part["text"] for item in output for part in item.get("content") or ())
    )
    calls = [item for item in output if item["type"] == "function_call"]
    frame["call"] = int(arguments == "".join(item["arguments"] for item in calls))
    return text, [(item["name"], item["arguments"]) for item in calls], frame


_SAID: dict[str, Callable[[list[dict[str, Any]]], Said]] = {
    "chat": _chat,
    "messages": _message,
    "responses": _response,
}


async def every_api_round(
    directory: Path, *, redis: str = "", each: int, words: int, pace: float, kills: int, seed: int
) -> list[str]:
    """Have `each` responses of every kind read; return everything that is wrong.

    Without `redis`, a URL, one gateway over SQLite is killed `kills` times and started again; with it one of two over
    Redis dies, and the other one takes over.
    """
    rng, progress = random.Random(seed), Progress()
    async with contextlib.AsyncExitStack() as stack:
        lines = ["lease = 2.0"]
        for api in APIS:
            upstream = await stack.enter_async_context(upstream_of(api, words, pace))
            lines += ["[[upstream]]", f'name = "{api}"', f'url = "{upstream.base_url}"', f'api = "{api}"']
            lines += [f'models = ["of-{api}"]']
        config = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=directory)) / "everytoken.toml"
        config.write_text("\n".join([*lines, ""]), encoding="utf-8")
        journal = redis or f"sqlite:///{config.parent}/journal.sqlite"
        gateways = two_of_which_one_dies if redis else one_started_again
        plug = await stack.enter_async_context(gateways("--config", str(config), "--journal", journal))
        readers = [
            asyncio.create_task(
                read(kind, plug.alive, f"ask-{seed}-{number}", random.Random(rng.random()), progress)
            )
            for number, kind in enumerate(KINDS * each)
        ]
        count = 1 if redis else kills
        results = await struck(readers, progress, len(readers) * words, kills=count, kill=plug.kill, rng=rng)
    return [problem for result in results for problem in problems_of(result, words)]
