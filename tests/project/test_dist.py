"""`make dist`, as far as that can be told without building: what it locks, and what it takes. A release runs the rest."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted(path.name for path in (ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_has_hashes_and_names_no_host(name):
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert "://" not in text
    pinned = re.findall(r"^[a-z0-9][^ ]*==[^ ]+.*\\\n +--hash=sha256:", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE))


@pytest.mark.parametrize("name", LOCKS)
def test_make_locks_and_installs_it(name):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"-o requirements/{name}" in makefile
    places = makefile + (ROOT / "tools" / "dist.py").read_text(encoding="utf-8")
    assert f": requirements/{name} " in places or f'"requirements" / "{name}"' in places


def test_what_the_guide_needs_is_what_the_tests_run_on():
    versions = [
        dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE))
        for name in ("guide.txt", "dev.txt")
    ]
    guide, dev = versions
    assert "openai" in guide
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.match(r"[a-z0-9-]+", line)[0] for line in project["dependencies"]}
    assert needed <= guide.keys(), "lock requirements/guide.txt again, as `make lock` does"
    assert guide.items() <= dev.items()


def test_the_tools_of_npm_are_locked_without_a_registry():
    lock = (ROOT / "tools" / "dist" / "package-lock.json").read_text(encoding="utf-8")
    assert not re.search(r'"resolved"|registry', lock)
    wanted = json.loads((ROOT / "tools" / "dist" / "package.json").read_text(encoding="utf-8"))
    assert json.loads(lock)["packages"][""]["dependencies"] == wanted["dependencies"]
    examples = json.loads((ROOT / "examples" / "package.json").read_text(encoding="utf-8"))
    assert wanted["dependencies"]["openai"] == examples["dependencies"]["openai"]


def test_every_way_to_install_is_one_that_works():
    """`docs/install.md`; `make dist` runs uv, pipx and npm pack on the tree, and pip on what it has built."""
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    text = "".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    lines = [line.partition("  #")[0] for line in text.splitlines()]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    javascript = json.loads((ROOT / "js" / "package.json").read_text(encoding="utf-8"))
    assert lines == [
        "make serve",
        'export PATH="$PWD/.venv/bin:$PATH"',
        "everytoken --version",
        "uv tool install .",
        "pipx install .",
        "uv tool install '.[embedded]' --with ./weights",
        "pipx inject everytoken ./weights xllamacpp",
        "pip install .",
        "pip install './weights' '.[embedded]'",
        "pip install '.[redis,postgres,http2,otel,prices]'",
        "python -c 'from everytoken.native import parts; print(parts.short_path is not None)'",
        "npm pack ./js",
        f"npm install everytoken-{javascript['version']}.tgz",
    ]
    extras = set(project["optional-dependencies"])
    assert extras == {"embedded", "redis", "postgres", "http2", "otel", "prices"}
    assert extras == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert (ROOT / "weights" / "pyproject.toml").exists()


def test_a_clone_has_no_link_to_somewhere_else():
    git = shutil.which("git") or pytest.skip("git is not installed")
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    run = subprocess.run([git, "ls-files", "--stage"], cwd=ROOT, capture_output=True, check=True, text=True)
    assert [line for line in run.stdout.splitlines() if line.startswith("120000")] == []
