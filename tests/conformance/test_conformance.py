"""The Durable Streams project's own exam, against `everytoken serve`, for every journal.

25 s for each on a quiet machine: the exam sleeps through expiries and long-polls. So they are run side by side.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command_line import gateway
from node_packages import install
from postgres_server import PROGRAMS, PostgresServer
from redis_server import REDIS, RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent
KINDS = ("memory", "sqlite", "redis", "postgres")
TESTS = 250  # without the groups about forks and subscriptions, which docs/streams.md leaves out
LONG_POLL = 2  # seconds; the exam waits for the end of several


@dataclass
class Exam:
    """One run of the exam, which may still be going on."""

    process: subprocess.Popen[str]
    report: Path

    def results(self) -> list[dict[str, str]]:
        output, _ = self.process.communicate(timeout=200)
        assert self.report.exists(), output
        files = json.loads(self.report.read_text())["testResults"]
        return [
            {
                "name": result["fullName"],
                "status": result["status"],
                "why": "".join(result["failureMessages"]),
            }
            for file in files
            for result in file["assertionResults"]
            if result["status"] not in {"skipped", "pending"}
        ]


def begin(node: str, url: str, report: Path) -> Exam:
    environ = {**os.environ, "EVERYTOKEN_URL": url, "EVERYTOKEN_LONG_POLL_MS": str(LONG_POLL * 1000)}
    command = [node, "node_modules/vitest/vitest.mjs", "run", "--reporter=json", f"--outputFile={report}"]
    process = subprocess.Popen(
        command,
        cwd=FOLDER,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    return Exam(process, report)


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Exam]]:
    node = shutil.which("node") or pytest.skip("node is not installed")
    install(FOLDER)
    folder = tmp_path_factory.mktemp("conformance")
    settings = folder / "everytoken.toml"
    settings.write_text(f"long_poll = {LONG_POLL}\n")
    journals = {"memory": "memory", "sqlite": f"sqlite:///{folder}/journal.sqlite"}
    with ExitStack() as stack:
        begun: dict[str, Exam] = {}
        if REDIS is not None:
            redis = RedisServer(tmp_path_factory.mktemp("redis"))
            redis.start()
            stack.callback(redis.kill)
            journals["redis"] = redis.url
        if PROGRAMS is not None:
            postgres = PostgresServer()
            postgres.start()
            stack.callback(postgres.stop)
            journals["postgres"] = postgres.url
        for kind, journal in journals.items():
            options = ("--journal", journal, "--config", str(settings))
            _, url = stack.enter_context(gateway(*options, "--upstream", "http://127.0.0.1:9/v1"))
            begun[kind] = begin(node, url, folder / f"{kind}.json")
            stack.enter_context(begun[kind].process)  # it is waited for in the end,
            stack.callback(begun[kind].process.kill)  # once it has been killed
        yield begun


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
def test_conformance(kind: str, exams: dict[str, Exam]) -> None:
    if kind not in exams:
        pytest.skip(f"there is no server for {kind}")
    results = exams[kind].results()
    failed = [f"{result['name']}\n{result['why']}" for result in results if result["status"] != "passed"]
    assert not failed, "\n\n".join(failed)
    assert len(results) == TESTS
