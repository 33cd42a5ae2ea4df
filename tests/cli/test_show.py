"""`everytoken responses` and `everytoken show`: as programs at a gateway, and line by line."""

from __future__ import annotations

import json
import urllib.request

import pytest

from command_line import gateway, run
from everytoken.cli.responses import seconds_of
from everytoken.cli.show import described
from everytoken.testing import ScriptedUpstream

ENTRY = {
    "at": 1_800_000_000.0,
    "response": "r1",
    "request": "q1",
    "key": "ci",
    "api": "chat",
    "model": "m",
    "model_used": "m-2026",
    "outcome": "completed",
    "error": None,
    "seconds": 4.0,
    "first_content": 0.3,
    "gap_median": 0.02,
    "gap_longest": 1.5,
    "records": 80,
    "bytes": 12345,
    "readers": 2,
    "tokens": {"input": 10, "output": 80},
    "cost": 0.00123,
    "attempts": [
        {"number": 1, "upstream": "one", "strategy": "first", "started": 0.0, "ended": 2.0, "first_content": 0.3,
         "cause": {"code": "upstream-truncated", "message": "the stream ended"}, "offset": 0},
        {"number": 2, "upstream": "two", "strategy": "replay", "started": 2.0, "ended": 4.0, "first_content": 0.5,
         "cause": None, "offset": 40},
    ],
    "seams": [{"attempt": 2, "offset": 40, "gap": 0.5}],
}  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_time_line_shows_each_attempt_its_first_content_and_its_end(width):
    lines = described(ENTRY, width)
    assert all(len(line) <= width for line in lines)
    first = next(line for line in lines if line.startswith("1 first one"))
    second = next(line for line in lines if line.startswith("2 replay two"))
    assert first.rstrip().endswith("█×")
    assert "·" in second
    assert second.index("·") >= first.index("×"), "the second begins where the first has failed"
    text = "\n".join(lines)
    for told in ("m, answered by m-2026", "10 input, 80 output", "$0.001230", "1.5 s at most"):
        assert told in text
    assert "continues at offset 40, after a gap of 500 ms" in text


def test_a_refusal_has_no_time_line():
    entry = {"at": 1.0, "outcome": "refused", "error": "rate-limited", "message": "slow down", "method": "POST",
             "path": "/v1/x", "peer": "10.0.0.1", "request": "q", "response": None}  # fmt: skip
    assert described(entry, 80)[2:] == [
        "call      POST /v1/x from 10.0.0.1",
        "outcome   refused: slow down (rate-limited)",
    ]


@pytest.mark.parametrize(
    ("value", "told"), [(None, "-"), (0.0, "0 ms"), (0.0234, "23 ms"), (1.0, "1.0 s"), (75.25, "75.2 s")]
)
def test_a_time_is_short(value, told):
    assert seconds_of(value) == told


@pytest.mark.blocking_allowed("the commands run as programs")
def test_the_commands_at_a_gateway(tmp_path):
    with (
        ScriptedUpstream("Hello you there", faults=[(0, "clean-end", "middle")]) as upstream,
        gateway("--journal", f"sqlite:///{tmp_path}/j.sqlite", "--upstream", upstream.base_url) as (_, url),
    ):
        env = {"EVERYTOKEN_BASE_URL": url}
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        request = urllib.request.Request(
            f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            stream = answer.headers["location"].rsplit("/", 1)[1]
            answer.read()
        listed = run("responses", "--since", "1h", **env)
        assert listed.returncode == 0, listed.stderr
        head, row = listed.stdout.decode().splitlines()
        assert head.split()[:4] == ["BEGAN", "OUTCOME", "MODEL", "KEY"]
        assert row.endswith(stream)
        assert " completed " in row
        (entry,) = [json.loads(line) for line in run("responses", "--json", **env).stdout.splitlines()]
        assert len(entry["attempts"]) == 2
        shown = run("show", stream, **env).stdout.decode()
        assert "upstream-truncated" in shown
        assert "continues at offset" in shown
        assert json.loads(run("show", entry["request"], "--json", **env).stdout) == entry
        assert run("responses", "--outcome", "failed", **env).stdout.decode() == "There are none.\n"
        missing = run("show", "nothing", **env)
        assert missing.returncode == 1
        assert len(missing.stderr.decode().splitlines()) == 1
