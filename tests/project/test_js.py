"""The npm package in `js/`: built, packed, and the tarball installed in a folder of its own, where its tests are run.

What they import is the installed package: the folder has no sources, and no package of that name but the tarball's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from node_packages import BROWSER_TESTS, BROWSERS, built, install, npm, run_node

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "js"
SOURCES = PACKAGE / "src"
FILES = sorted(path.name for path in (PACKAGE / "test").glob("*.test.mjs"))


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `npm publish` would publish."""
    built(PACKAGE)
    folder = tmp_path_factory.mktemp("tarball")
    run = npm(PACKAGE, "pack", "--ignore-scripts", "--pack-destination", str(folder))
    assert run.returncode == 0, run.stderr
    [packed] = folder.glob("everytoken-*.tgz")
    return packed


@pytest.fixture(scope="module")
def folder(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the tarball beside a copy of the tests; what else they need is linked."""
    root = tmp_path_factory.mktemp("installed")
    for name in ("docs", "spec", "tests"):
        (root / name).symlink_to(ROOT / name)
    folder = root / "js"
    shutil.copytree(PACKAGE / "test", folder / "test", ignore=shutil.ignore_patterns(".docs-*"))
    shutil.copy(PACKAGE / "tsconfig.json", folder)
    (folder / "package.json").write_text(
        '{"name": "its-user", "private": true, "type": "module"}', encoding="utf-8"
    )
    run = npm(folder, "install", "--offline", "--no-audit", "--no-fund", str(tarball))
    assert run.returncode == 0, run.stderr
    for package in (PACKAGE / "node_modules").iterdir():
        link = folder / "node_modules" / package.name
        if not package.name.startswith(".") and not link.exists():
            link.symlink_to(package)
    return folder


def test_the_tarball_has_the_modules_their_types_and_the_licence_and_nothing_else(folder: Path) -> None:
    installed = folder / "node_modules" / "everytoken"
    assert not installed.is_symlink()
    modules = [path.relative_to(SOURCES).with_suffix("") for path in SOURCES.rglob("*.ts*")]
    expected = {f"dist/{module}{kind}" for module in modules for kind in (".js", ".d.ts")}
    found = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    assert found == expected | {"LICENSE", "README.md", "package.json"}
    assert (installed / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_tests_import_the_installed_package(folder: Path) -> None:
    program = """import OpenAI from "openai";
        const found = ["everytoken", "everytoken/react"].map((name) => import.meta.resolve(name));
        console.log(JSON.stringify(found));"""
    (folder / "test" / "resolve.mjs").write_text(program, encoding="utf-8")
    node = shutil.which("node") or pytest.skip("node is not installed")
    run = subprocess.run([node, "test/resolve.mjs"], cwd=folder, capture_output=True, check=True, text=True)
    dist = (folder / "node_modules" / "everytoken" / "dist").resolve()
    assert json.loads(run.stdout) == [(dist / path).as_uri() for path in ("index.js", "react/index.js")]


@pytest.mark.parametrize("name", FILES)
def test_js(name: str, folder: Path) -> None:
    if name == "react.test.mjs":
        if not any(path and Path(path).exists() for path in BROWSERS):
            pytest.skip("no Chromium or Chrome found: set CHROMIUM to its path")
        install(BROWSER_TESTS)
    run_node(folder, f"test/{name}")


def test_the_lock_file_names_no_registry() -> None:
    text = (PACKAGE / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
    assert "registry" not in text
