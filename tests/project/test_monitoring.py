"""The dashboard, the alert rules and the page about them name metrics that there are; Prometheus itself reads them."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from command_line import gateway
from everytoken.gateway import UpstreamConfig
from everytoken.journal.sqlite import SqliteJournal
from everytoken.recovery import Policy
from everytoken.testing import Answer, ScriptedUpstream
from gateway_serving import HELLO, Wire, limit, serving
from prometheus_server import PROMETHEUS, PROMTOOL, prometheus
from scraped import scrape

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "everytoken.json").read_text(encoding="utf-8"))
ALERTS = [
    rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
CHAT = "/v1/chat/completions"
WORDS = "one two three four"

_SELECTED = re.compile(r"\b((?:everytoken|gen_ai|process)_\w+)(?:\{([^}]*)\})?")
_BY = re.compile(r"\bby \(([^)]*)\)")
_OF_PROMETHEUS = {"job", "instance", "le"}


def expressions():
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"panel {panel['title']}", target["expr"]
    for row in re.findall(r"^\| [A-Z].*\? \| (.*) \|$", PAGE, re.MULTILINE):
        for expression in re.findall(r"`([^`]+)`", row):
            if "_" in expression:
                yield "docs/operations.md", expression
    section = PAGE[PAGE.index("## Alerts") :]
    for expression in re.findall(r"`((?:sum|histogram_quantile)[^`]+)`", section):
        yield "docs/operations.md", expression


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A scrape of a gateway to which everything has happened that has a metric."""

    async def serve():
        journal = SqliteJournal(tmp_path_factory.mktemp("journal") / "journal.sqlite")
        dead = UpstreamConfig(name="dead", url="http://127.0.0.1:9/v1", models=["m"])
        faults = [(0, "reset", "middle"), (2, "reset", "middle"), (3, "reset", "middle")]
        policy = Policy(attempts=2, backoff=0.001)
        async with (
            limit(),
            ScriptedUpstream(Answer(WORDS), faults=faults) as upstream,
            serving(dead, upstream, kept_in=journal, policy=policy, metrics="open") as served,
        ):
            answers = [await served.ask("POST", CHAT, HELLO) for _ in range(3)]
            async with Wire.to(served.port) as wire:
                wire.send("POST", CHAT, HELLO, {"Everytoken-Disconnect": "cancel"})
                await wire.head()
            await served.ask("GET", "/none")
            await served.ask("POST", "/v1/embeddings", {"model": "m", "input": "x"})
            stream = answers[0].headers["location"]
            await served.ask("GET", f"{stream}/events?offset={answers[0].events[0][1]}")
            await served.until_idle()
            return await scrape(served)

    return asyncio.run(serve())


def test_what_has_happened_is_all_there(seen):
    outcomes = {
        outcome: seen.of("everytoken_responses_total", outcome=outcome)
        for outcome in ("completed", "interrupted", "cancelled", "failed")
    }
    assert sum(outcomes.values()) == 4
    assert outcomes["completed"] >= 1
    assert seen.of("everytoken_seam_gap_seconds_count") >= 1
    assert seen.of("everytoken_resumes_total") == 1


def test_every_name_in_an_expression_is_one_of_the_metrics(seen):
    found = [
        (where, name)
        for where, expression in expressions()
        for name, _ in _SELECTED.findall(_BY.sub("", expression))
        if name not in seen.names and f"{name}_bucket" not in seen.names
    ]
    assert found == []
    assert len(list(expressions())) > 60


def test_every_label_in_an_expression_is_one_of_its_metric(seen):
    labels = {}
    for sample in seen.samples:
        labels.setdefault(sample.name, set()).update(sample.labels)
    for where, expression in expressions():
        selected = _SELECTED.findall(_BY.sub("", expression))
        known = set().union(_OF_PROMETHEUS, *(labels.get(name, set()) for name, _ in selected))
        for name, selector in selected:
            wanted = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            assert wanted <= labels.get(name, set()) | _OF_PROMETHEUS, (where, name)
        for by in _BY.findall(expression):
            assert {label.strip() for label in by.split(",")} <= known, where


def test_every_alert_has_a_section_that_says_what_to_do():
    sections = dict(re.findall(r"^### (Everytoken\w+)\n\n(.*?)(?=\n#|\Z)", PAGE, re.MULTILINE | re.DOTALL))
    assert list(sections) == [alert["alert"] for alert in ALERTS]
    for alert in ALERTS:
        assert alert["annotations"]["runbook"] == f"docs/operations.md#{alert['alert'].lower()}"
        assert sections[alert["alert"]].startswith(f"**{alert['labels']['severity']}.**")
        assert alert["annotations"]["summary"]


def test_the_page_lists_every_metric_with_its_kind_and_labels(seen):
    section = PAGE[PAGE.index("### All metrics") : PAGE.index("### OpenTelemetry")]
    listed = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\|", section, re.MULTILINE)
    }
    there = {}
    for family in seen.families.values():
        if family.name.startswith("process_"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        there[name] = (family.type, labels)
    assert listed == there
    for name in re.findall(r"`(process_\w+)`", section):
        assert name in seen.names


def test_the_dashboard_can_be_imported():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {
        *("datasource", "job", "instance", "model")
    }
    for panel in PANELS:
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    for one, other in combinations(DASHBOARD["panels"], 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (one, other)
    assert max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in PANELS) <= 24


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_finds_no_fault(tmp_path):
    key = tmp_path / "key"
    key.write_text("sk-admin-0123456789", encoding="utf-8")
    [block] = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    config = tmp_path / "prometheus.yml"
    block = block.replace("/etc/prometheus/everytoken-admin-key", str(key))
    config.write_text(block.replace("/etc/prometheus/everytoken-alerts.yml", str(RULES)), encoding="utf-8")
    for command in ("rules", str(RULES)), ("config", str(config)):
        done = subprocess.run([PROMTOOL, "check", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (
        f"{len(ALERTS)} rules found"
        in subprocess.run(
            [PROMTOOL, "check", "rules", str(RULES)], capture_output=True, text=True, check=True
        ).stdout
    )


@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed")
def test_prometheus_scrapes_a_gateway_and_evaluates_the_rules(tmp_path):
    answer = ScriptedUpstream(Answer(WORDS), faults=[(0, "reset", "middle")])
    admin = "sk-admin-0123456789"
    with (
        answer as upstream,
        gateway("--upstream", upstream.base_url, EVERYTOKEN_METRICS="admin", EVERYTOKEN_ADMIN_KEYS=admin) as (
            _,
            url,
        ),
    ):
        (tmp_path / "key").write_text(admin, encoding="utf-8")
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {
                    "job_name": "everytoken",
                    "authorization": {"credentials_file": "key"},
                    "static_configs": [{"targets": [url.rpartition("/")[2]]}],
                }
            ],
        }
        body = json.dumps({**HELLO, "stream": False})
        asked = ["curl", "-sS", "-H", "content-type: application/json", "-d", body, f"{url}{CHAT}"]
        told = json.loads(subprocess.run(asked, capture_output=True, check=True, timeout=20).stdout)
        assert told["choices"][0]["message"]["content"] == WORDS
        with prometheus(tmp_path, yaml.safe_dump(config)) as server:
            server.until(lambda: server.value('everytoken_responses_total{outcome="completed"}') == 1)
            assert server.value('everytoken_recovered_responses_total{how="seam"}') == 1
            assert server.value("everytoken_seam_gap_seconds_count") == 1
            assert server.value('up{job="everytoken"}') == 1
            rules = lambda: server.get("rules")["groups"][0]["rules"]  # noqa: E731
            server.until(lambda: all(rule["health"] == "ok" for rule in rules()))
            assert [rule["name"] for rule in rules()] == [alert["alert"] for alert in ALERTS]
            for _, expression in expressions():
                for name, value in (
                    ("$__rate_interval", "1m"),
                    ("$job", ".*"),
                    ("$instance", ".*"),
                    ("$model", ".*"),
                ):
                    expression = expression.replace(name, value)  # noqa: PLW2901
                server.get("query", query=expression)  # raises for what it cannot parse
