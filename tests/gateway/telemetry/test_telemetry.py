"""What a collector receives by OTLP, and that a gateway does not depend on one."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.trace import TraceFlags

from everytoken.errors import ConfigurationError
from everytoken.gateway.telemetry import telemetry as module
from everytoken.recovery import Policy
from everytoken.testing import Answer, ScriptedUpstream
from everytoken.testing.answer import tokenise
from gateway_serving import HELLO, ManualUpstream, Wire, limit, over, serving
from otlp_receiver import Collector, values

CHAT = "/v1/chat/completions"
WORDS = "one two three four"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}


@pytest.fixture
def collector(monkeypatch):
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


def scripted(**more):
    return ScriptedUpstream(Answer(WORDS), **more)


def parts(spans):
    """Return the span of the one response, and those of its attempts in their order."""
    [response] = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    attempts = [span for span in spans if span.kind == Span.SPAN_KIND_CLIENT]
    assert len(attempts) == len(spans) - 1
    return response, sorted(attempts, key=lambda span: values(span.attributes)["everytoken.attempt"])


async def test_a_cut_response_is_a_span_with_a_span_for_each_attempt(collector):
    async with (
        limit(),
        scripted(faults=[(0, "reset", "middle")]) as upstream,
        serving(upstream, otel=True) as gateway,
    ):
        answer = await gateway.ask("POST", CHAT, HELLO, {**CALLER, "X-Request-Id": "mine"})
        assert answer.text == WORDS
    response, (first, second) = parts(collector.spans)
    assert {span.trace_id.hex() for span in (response, first, second)} == {TRACE}
    assert response.parent_span_id.hex() == PARENT
    assert first.parent_span_id == second.parent_span_id == response.span_id
    # The upstream's spans are children of the attempts.
    sent = [request.headers["traceparent"] for request in upstream.requests]
    assert sent == [f"00-{TRACE}-{span.span_id.hex()}-01" for span in (first, second)]
    assert [request.headers["tracestate"] for request in upstream.requests] == ["vendor=1"] * 2
    told = values(response.attributes)
    assert told["everytoken.response"] == answer.headers["location"].rpartition("/")[2]
    assert told["everytoken.request_id"] == "mine"
    assert (told["everytoken.outcome"], told["everytoken.attempts"]) == ("completed", 2)
    assert (told["gen_ai.operation.name"], told["gen_ai.provider.name"]) == ("chat", "openai")
    assert told["gen_ai.request.model"] == "m"
    assert "error.type" not in told
    assert response.status.code == Status.STATUS_CODE_UNSET
    [seam] = response.events
    assert seam.name == "seam"
    assert values(seam.attributes)["everytoken.strategy"] == "replay"
    broken, whole = values(first.attributes), values(second.attributes)
    assert (broken["error.type"], first.status.code) == ("upstream-truncated", Status.STATUS_CODE_ERROR)
    assert (broken["everytoken.upstream"], broken["everytoken.strategy"]) == ("scripted-0", "first")
    assert (whole["everytoken.strategy"], second.status.code) == ("replay", Status.STATUS_CODE_UNSET)
    assert whole["gen_ai.usage.output_tokens"] == len(tokenise(WORDS))
    assert told["gen_ai.usage.output_tokens"] > whole["gen_ai.usage.output_tokens"]
    assert response.start_time_unix_nano <= first.start_time_unix_nano <= first.end_time_unix_nano
    assert second.end_time_unix_nano <= response.end_time_unix_nano
    assert collector.resource["service.name"] == "everytoken"


async def test_without_a_trace_of_the_caller_a_new_one_begins_and_goes_up(collector):
    async with limit(), scripted() as upstream, serving(upstream, otel=True) as gateway:
        await gateway.ask("POST", CHAT, HELLO)
    response, (attempt,) = parts(collector.spans)
    assert response.parent_span_id == b""
    sent = upstream.requests[0].headers["traceparent"]
    assert sent.startswith(f"00-{response.trace_id.hex()}-{attempt.span_id.hex()}-")
    assert int(sent[-2:], 16) & 1  # sampled


@pytest.mark.parametrize("bad", ["", "00-zz-1-01", f"00-{'0' * 32}-{PARENT}-01", "x" * 500])
async def test_a_trace_that_is_none_is_not_taken_up(collector, bad):
    async with limit(), scripted() as upstream, serving(upstream, otel=True) as gateway:
        assert (await gateway.ask("POST", CHAT, HELLO, {"traceparent": bad})).text == WORDS
    response, _ = parts(collector.spans)
    assert response.parent_span_id == b""
    assert response.trace_id.hex() in upstream.requests[0].headers["traceparent"]


async def test_a_caller_that_is_not_sampled_is_not_exported_but_passed_on(collector):
    async with limit(), scripted() as upstream, serving(upstream, otel=True) as gateway:
        await gateway.ask("POST", CHAT, HELLO, {"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert collector.spans == []
    assert upstream.requests[0].headers["traceparent"].startswith(f"00-{TRACE}-")
    assert upstream.requests[0].headers["traceparent"].endswith("-00")


async def test_what_may_not_go_up_does_not(collector):
    async with limit(), scripted() as upstream, serving(upstream, otel=True, pass_up=[]) as gateway:
        await gateway.ask("POST", CHAT, HELLO, CALLER)
    assert "traceparent" not in upstream.requests[0].headers
    assert len(collector.spans) == 2


async def test_without_the_setting_the_header_is_passed_on_as_it_came(collector):
    async with limit(), scripted() as upstream, serving(upstream) as gateway:
        await gateway.ask("POST", CHAT, HELLO, CALLER)
        assert not gateway.gateway.observers
    assert upstream.requests[0].headers["traceparent"] == CALLER["traceparent"]
    assert collector.requests == 0


async def test_metrics_by_the_conventions(collector):
    async with limit(), scripted() as upstream, serving(upstream, otel=True) as gateway:
        await gateway.ask("POST", CHAT, HELLO)
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
    }
    assert set(collector.metrics) == {
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.client.operation.time_per_output_chunk",
        "gen_ai.client.token.usage",
    }
    [point] = collector.metrics["gen_ai.client.operation.duration"].histogram.data_points
    assert (point.count, values(point.attributes)) == (1, common)
    assert collector.metrics["gen_ai.client.operation.duration"].unit == "s"
    points = collector.metrics["gen_ai.client.token.usage"].histogram.data_points
    sums = {values(point.attributes)["gen_ai.token.type"]: point.sum for point in points}
    assert sums["output"] == len(tokenise(WORDS))
    assert set(sums) == {"input", "output"}


async def test_outcomes_that_are_failures_and_one_that_is_not(collector):
    upstream = ManualUpstream()
    async with limit(), serving(upstream, otel=True, policy=Policy(attempts=1)) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", CHAT, HELLO)
            attempt = await upstream.attempt()
            attempt.accept()
            attempt.send("one ")
            attempt.sink.on_eof()
            await wire.answer()
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", CHAT, HELLO)
            attempt = await upstream.attempt(1)
            attempt.accept()
            attempt.send("one ")
            stream = (await wire.head()).headers["location"]
            await gateway.ask("POST", f"{stream}/cancel")
            await gateway.until_idle()
    told = {
        values(span.attributes)["everytoken.outcome"]: (
            values(span.attributes)["error.type"],
            span.status.code,
        )
        for span in collector.spans
        if span.kind == Span.SPAN_KIND_SERVER
    }
    assert told == {
        "interrupted": ("upstream-truncated", Status.STATUS_CODE_ERROR),
        "cancelled": ("cancelled", Status.STATUS_CODE_UNSET),
    }


async def test_what_runs_when_the_gateway_stops_is_exported_too(collector):
    upstream = ManualUpstream()
    async with limit(), serving(upstream, otel=True) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one ")
        await wire.head()
    response, attempts = parts(collector.spans)
    assert len(attempts) == 1
    assert response.end_time_unix_nano > 0


async def responses_unharmed(gateway):
    async with limit():
        answers = await asyncio.gather(*(gateway.ask("POST", CHAT, HELLO) for _ in range(5)))
    assert [(answer.text, answer.complete) for answer in answers] == [(WORDS, True)] * 5


@pytest.mark.parametrize("status", [400, 503])
async def test_a_collector_that_refuses_harms_no_response(status, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.5)
    with Collector(status) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with scripted() as upstream, serving(upstream, otel=True) as gateway:
            await responses_unharmed(gateway)
        assert collector.requests


async def test_a_collector_that_never_answers_harms_no_response_and_holds_no_stop_up(monkeypatch, caplog):
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with caplog.at_level(logging.WARNING, "everytoken.gateway"):
            async with limit(), scripted() as upstream, serving(upstream, otel=True) as gateway:
                await responses_unharmed(gateway)
    assert "otel: what was not exported" in caplog.text


@pytest.mark.parametrize(("signal", "spans", "metrics"), [("TRACES", 0, 4), ("METRICS", 2, 0)])
async def test_one_of_the_two_can_be_switched_off(signal, spans, metrics, collector, monkeypatch):
    monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")
    async with limit(), scripted() as upstream, serving(upstream, otel=True) as gateway:
        await gateway.ask("POST", CHAT, HELLO)
    assert (len(collector.spans), len(collector.metrics)) == (spans, metrics)


async def test_without_the_packages_it_is_said_which(monkeypatch):
    monkeypatch.setattr(module, "_is_there", lambda name: name != "opentelemetry.sdk")
    with pytest.raises(ConfigurationError, match=r"pip install 'everytoken\[otel\]'"):
        async with over(ManualUpstream(), otel=True):
            pass


def test_whether_a_package_is_there_is_known_without_loading_it():
    assert module._is_there("opentelemetry.sdk")
    assert not module._is_there("no_such_package.at_all")


@pytest.mark.parametrize(
    ("sampler", "caller", "spans"),
    [
        ("always_off", {}, 0),
        ("always_on", {}, 2),
        ("parentbased_always_on", {"traceparent": f"00-{TRACE}-{PARENT}-00"}, 0),
        ("parentbased_always_off", CALLER, 2),
    ],
)
async def test_the_sampler_of_the_sdk_decides_and_upstreams_are_told(
    sampler, caller, spans, collector, monkeypatch
):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    async with limit(), scripted() as upstream, serving(upstream, otel=True) as gateway:
        await gateway.ask("POST", CHAT, HELLO, caller)
    assert len(collector.spans) == spans
    [request] = upstream.requests
    flags = int(request.headers["traceparent"].rpartition("-")[2], 16)
    assert bool(flags & TraceFlags.SAMPLED) == bool(spans)


async def test_the_limits_of_the_sdk_hold(collector, monkeypatch):
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "5")
    async with limit(), scripted() as upstream, serving(upstream, otel=True) as gateway:
        await gateway.ask("POST", CHAT, HELLO)
    told = [values(span.attributes) for span in collector.spans]
    assert [len(attributes) for attributes in told] == [5, 5]
    assert all(
        len(value) <= 3 for attributes in told for value in attributes.values() if isinstance(value, str)
    )


async def test_a_disabled_sdk_exports_nothing_and_says_so(collector, monkeypatch, caplog):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with limit(), scripted() as upstream, serving(upstream, otel=True) as gateway:
        await gateway.ask("POST", CHAT, HELLO)
    assert (collector.spans, collector.metrics) == ([], {})
    assert "OTEL_SDK_DISABLED is true" in caplog.text
