"""docs/gateway.md says what is."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import msgspec
import pytest

from everytoken.errors import TABLE
from everytoken.gateway import Config, UpstreamConfig
from everytoken.gateway.config import BreakerConfig, parse
from everytoken.gateway.targets import target_of
from everytoken.recovery import Policy
from everytoken.translation.registry import DIALECTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
DOCS = runpy.run_path(str(ROOT / "tools" / "gateway_docs.py"))

_ROW = re.compile(r"^\| `([a-z0-9_]+)` \| (?:`(.*?)`)? ?\|", re.MULTILINE)
SECTIONS = {
    Config: "## Configuration",
    Policy: "### `[policy]`",
    BreakerConfig: "### `[breaker]`",
    UpstreamConfig: "### `[[upstream]]`",
}


def test_the_table_of_errors_is_the_table_of_errors():
    assert DOCS["renewed"](PAGE) == PAGE, "run: python tools/gateway_docs.py"
    for code in TABLE:
        assert f"| `{code}` | {TABLE[code].status} |" in PAGE
    assert all(DOCS["meanings"]().values())


@pytest.mark.parametrize(("kind", "heading"), SECTIONS.items(), ids=[kind.__name__ for kind in SECTIONS])
def test_every_setting_is_there_with_its_default(kind, heading):
    section = re.split(r"^##", PAGE.split(heading + "\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    documented = dict(_ROW.findall(section))
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    assert list(documented) == list(fields)
    for name, shown in documented.items():
        field = fields[name]
        default = field.default if field.default is not msgspec.NODEFAULT else None
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if shown:
            told = tomllib.loads(f"value = {shown}")["value"]
            assert told == (sorted(default) if isinstance(default, frozenset) else default), name
        else:
            assert default is None or name in {"policy", "breaker", "upstream", "prices", "limits"}, name


def test_the_example_of_a_file_is_one():
    _, example, priced = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    config = parse(example, {}, where="docs/gateway.md")
    assert [upstream.name for upstream in config.upstream] == ["local", "cloud"]
    assert parse(priced, {}, where="docs/gateway.md").prices["my-model"].cached == 0.05


def test_the_example_of_two_apis_serves_callers_of_both():
    example, *_ = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    config = parse(example, {}, where="docs/gateway.md")
    for dialect in DIALECTS.values():
        found = [target_of(one, dialect, "claude-sonnet-4-5", Policy()) for one in config.upstream]
        assert [target.api(dialect) for target in found] == ["anthropic-messages", "openai-chat"]


def test_the_example_of_mounting_runs():
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    made: dict = {}
    exec(example, made)  # it is ours
    assert [route.path for route in made["app"].routes][-1] == "/llm"
