"""How large modules and classes may be, and where their tests are.

Long modules have more than one subject, and are split by it. The tests of `gateway/model_api.py` are in `gateway/test_model_api.py`.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from statistics import median

import pytest

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src" / "everytoken"
MODULES = {str(path.relative_to(SOURCE)): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}

LONGEST_MODULE = 450
LONGEST_CLASS = 250
MEDIAN_MODULE = 150
KNOWN: set[str] = set()


def long_modules(modules: dict[str, str]) -> dict[str, int]:
    """Return the modules over the limit, and how many lines they have."""
    lengths = {name: len(text.splitlines()) for name, text in modules.items()}
    return {name: length for name, length in lengths.items() if length > LONGEST_MODULE}


def long_classes(modules: dict[str, str]) -> dict[str, int]:
    """Return the classes over the limit as `module:class`, and how many lines they have, decorators not counted."""
    found = {}
    for name, text in modules.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                found[f"{name}:{node.name}"] = (node.end_lineno or 0) - node.lineno + 1
    return {name: length for name, length in found.items() if length > LONGEST_CLASS}


@pytest.mark.parametrize(
    ("lines", "modules", "classes"),
    [
        pytest.param(["class A:", *["    x = 1"] * 249], {}, {}, id="a class at the limit"),
        pytest.param(["class A:", *["    x = 1"] * 250], {}, {"a.py:A": 251}, id="a class over the limit"),
        pytest.param(
            ["class A:", "    class B:", *["        x = 1"] * 250],
            {},
            {"a.py:A": 252, "a.py:B": 251},
            id="a class inside a class",
        ),
        pytest.param(["x = 1"] * 450, {}, {}, id="a module at the limit"),
        pytest.param(["x = 1"] * 451, {"a.py": 451}, {}, id="a module over the limit"),
    ],
)
def test_the_measures_themselves(lines, modules, classes):
    sample = {"a.py": "\n".join(lines) + "\n"}
    assert (long_modules(sample), long_classes(sample)) == (modules, classes)


def test_nothing_is_too_long():
    found = long_modules(MODULES) | long_classes(MODULES)
    assert {name: length for name, length in found.items() if name not in KNOWN} == {}
    assert KNOWN - set(found) == set(), "no longer too long: remove it from KNOWN"


def test_most_modules_are_short():
    lengths = {name: len(text.splitlines()) for name, text in MODULES.items()}
    longer = sorted(name for name, length in lengths.items() if length > MEDIAN_MODULE)
    assert median(lengths.values()) <= MEDIAN_MODULE, longer


# Test file -> the modules that it covers besides the one of its name, and why they have none of their own.
COVERED = {
    "cli/workers/test_workers.py": (
        "the workers, run as programs, and what they ask each other",
        "starting worker ../../gateway/answering ../../gateway/siblings",
    ),
    "cli/test_chat.py": (
        "parts of `chat`, which is run as a program",
        "address ending output process signals talk",
    ),
    "cli/conversation/test_loop.py": (
        "parts of a conversation, typed and read in tmux",
        "history prompt",
    ),
    "cli/test_markdown.py": ("what Markdown looks like", "lifting parsing"),
    "cli/doctor/checks/test_checks.py": (
        "all checks are one table",
        "access buffering clock framing headers leaving machine model silence size tls ../advice ../findings ../measured",
    ),
    "cli/doctor/test_runner.py": ("probes of real paths", "probing"),
    "cli/demo/test_demo.py": ("the whole of it, run as a program", "model play reading server stage"),
    "cli/test_serve.py": ("its only caller, run as a program", "server"),
    "cli/test_tail.py": ("its only caller, run as a program", "following"),
    "cli/test_views.py": ("parts of a view, seen on a screen", "region text"),
    "client/test_behaviour.py": (
        "what they do together is seen by the SDK",
        "aio asked failures heads shared watch",
    ),
    "client/test_sdks.py": ("what the SDKs read of them", "events"),
    "client/test_faults.py": (
        "the attempts behind the SDK's loops",
        "driver network network_aio network_sync",
    ),
    "client/test_unasync.py": ("a tool makes it from aio.py", "sync"),
    "contract/test_journal.py": (
        "what all journals share",
        "../journal/quota ../journal/rules ../journal/stream",
    ),
    "dialects/anthropic_messages/test_dialect.py": (
        "a dialect's parts, by what it answers",
        "continuation errors message non_streaming request usage",
    ),
    "dialects/anthropic_messages/test_history.py": (
        "attempts compared with what was delivered",
        "blocks decoder events halves pieces",
    ),
    "dialects/openai_completions/test_dialect.py": (
        "a dialect's parts, by what it answers",
        "chunks reader request",
    ),
    "dialects/openai_chat/test_message.py": ("how the parts of a message are joined", "merge"),
    "dialects/openai_chat/test_upstreams.py": ("from bytes to pieces, with real streams", "dialect reader"),
    "dialects/openai_responses/test_recovery.py": (
        "one stream made of many attempts, or of an answer in one piece",
        "dialect history message non_streaming request rewrite usage",
    ),
    "dialects/test_dialect.py": ("how a dialect is found, and what it gives", "pieces registry"),
    "dialects/openai_chat/test_request.py": ("requests of the first API that has them", "../fields"),
    "errors/test_table.py": ("every error is tested there", "base journal protocol shown upstream"),
    "cli/test_keys.py": ("the commands run as programs", "admin"),
    "cli/test_show.py": ("the list and one of it, of the same entries", "responses"),
    "gateway/requestlog/test_kept.py": ("what is kept is looked through", "query"),
    "gateway/test_shown_responses.py": (
        "what entries say of responses at a gateway",
        "requestlog/content requestlog/entry requestlog/log",
    ),
    "contract/test_ledger.py": (
        "what all ledgers share",
        "../journal/ledger",
    ),
    "gateway/test_meter.py": ("what is limited is metered", "rates"),
    "gateway/openapi/test_document.py": ("the whole of it", "page shapes"),
    "gateway/checking/test_reading.py": (
        "what is found in a configuration",
        "around certificates connecting problem tables words",
    ),
    "security/test_open_by_decision.py": ("what is open, and what is refused", "../gateway/exposure"),
    "gateway/keys/test_book.py": ("a key from its making to its end", "key stored"),
    "gateway/durable/test_protocol.py": (
        "the protocol, request by request",
        "answers headers live reads writes",
    ),
    "gateway/inspection/test_upstreams.py": ("facts, as an administrator gets them", "asking facts"),
    "gateway/test_probing.py": ("what is remembered of probes", "probes"),
    "gateway/responses/test_creating.py": ("what is made is asked for", "items kept routes"),
    "gateway/metrics/test_metrics.py": ("a scrape, from the request to the text", "exposition states"),
    "gateway/metrics/test_recorder.py": ("numbers, as they are scraped", "names usage"),
    "gateway/telemetry/test_telemetry.py": (
        "what a collector receives",
        "exporting instruments spans tracing",
    ),
    "gateway/test_app.py": ("what an application starts and stops", "services"),
    "gateway/test_model_api.py": ("how a response is opened for an API, and joined", "opening assembling"),
    "gateway/test_listener.py": ("limits before a request is read", "connections heads"),
    "gateway/test_origin.py": ("headers for the origins that are let in", "cors"),
    "gateway/test_breaker.py": (
        "circuits open over several responses",
        "../recovery/breaker ../relay/circuits",
    ),
    "gateway/test_messages.py": ("an API, its errors and its headers", "counting"),
    "gateway/test_logs.py": ("lines of the log, as a gateway writes them", "../relay/logs"),
    "gateway/test_pass_through.py": (
        "what a caller and an upstream see of it",
        "passage ../upstream/passage",
    ),
    "gateway/test_passing.py": ("headers passed on", "../relay/heads"),
    "recovery/test_align.py": (
        "each attempt is read, compared and rewritten",
        "cursor ../dialects/openai_chat/calls ../dialects/openai_chat/pieces ../dialects/openai_chat/rewrite",
    ),
    "recovery/test_machine.py": (
        "parts of one machine; nothing else calls them",
        "attempt course ending held live response_state ../dialects/openai_chat/non_streaming",
    ),
    "recovery/test_planner.py": (
        "policies and targets, and what is made of them",
        "plan policy standing",
    ),
    "recovery/test_authors.py": ("whose the text is that an attempt delivers", "share"),
    "recovery/test_hedging.py": ("limits that pass, and what is done then", "waiting"),
    "translation/test_registry.py": ("a translation, found and used", "stream translation"),
    "relay/test_response.py": ("parts of a response's relay", "readers sink timer"),
    "test_observer.py": ("what observers are told", "relay/events"),
    "test_plugins.py": ("what a configuration names", "gateway/making"),
    "test_redaction.py": ("texts as their decoders see them", "json/decodings"),
    "json/test_bounds.py": ("JSON of any kind, within the bounds", "text"),
    "testing/test_faults.py": ("every fault, on the wire", "address broken fault healthy plan statuses"),
    "testing/test_upstream.py": ("parts of the scripted upstream", "connection"),
    "test_sse.py": ("reads cut in all ways, used as such", "testing/splits"),
    "translation/anthropic_messages/test_read_request.py": (
        "parts of a request, by their paths",
        "read_blocks read_tools",
    ),
    "translation/anthropic_messages/test_write_request.py": (
        "turns, as the API takes them",
        "write_messages ../effort ../results ../turns ../wrapping",
    ),
    "translation/openai_responses/test_read_request.py": (
        "parts of a request, by their paths",
        "read_items read_tools ../hosted",
    ),
    "translation/test_fields.py": ("what the rows say is done", "table"),
    "translation/test_round_trips.py": ("requests of all APIs", "request"),
    "upstream/test_local.py": ("the embedded model's process", "llama_child"),
    "upstream/test_http2.py": ("which protocol a connection is made for", "connecting"),
    "upstream/test_proxy.py": ("TLS to upstreams", "tls"),
    "upstream/test_exchange.py": ("the words of a refusal", "../errors/reason"),
    "upstream/test_http.py": (
        "requests as a server gets them, and what is asked beside them",
        "one_piece pooled rendering",
    ),
    "translation/openai_chat/test_read_events.py": ("every kind of fragment a server sends", "calls"),
    "translation/openai_responses/test_write_events.py": (
        "what is seen of them in the events",
        "output response_object",
    ),
    "translation/test_pairs.py": (
        "usage, texts and refusals of every API in every other",
        "counts refusing text anthropic_messages/usage openai_chat/usage openai_responses/usage",
    ),
    "project/test_extending.py": ("what a format of one's own needs", "../formats/output ../formats/table"),
}


def behaves(text: str) -> bool:
    """Whether a module does anything: has a function with more in it than a docstring."""
    functions = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return any(
        not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        for function in functions
        for line in function.body
    )


def has_tests(module: str) -> bool:
    """Whether there is a test file of its name. `redis_writing.py` is a part of what `test_redis.py` tests."""
    folder, name = (TESTS / module).parent, Path(module).stem
    return any((folder / f"test_{name}.py").exists() for name in (name, name.partition("_")[0]))


def test_each_module_has_its_tests_where_one_looks_for_them():
    covered = [
        os.path.normpath(f"{Path(test).parent}/{name}.py")
        for test, (_, names) in COVERED.items()
        for name in names.split()
    ]
    bare = {name for name, text in MODULES.items() if Path(name).stem != "__init__" and behaves(text)}
    bare = {name for name in bare if not has_tests(name)}
    assert sorted(bare - set(covered)) == [], (
        "no tests of that name: write them, or say in COVERED where they are"
    )
    assert sorted(set(covered) - bare) == [], "has tests of its own, or is gone: remove it from COVERED"
    assert len(covered) == len(set(covered))
    assert [test for test in COVERED if not (TESTS / test).exists()] == []
