"""The documentation as a site (`make docs`): everything is in its navigation; it is built, and a browser uses it.

What builds it is not among the development tools: without `make docs` the tests of the built site are skipped.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from node_packages import node_tests

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "docs_site.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("docs_site", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tool, tmp_path_factory) -> Path:
    if not tool.ZENSICAL.exists():
        pytest.skip("what builds the site is not installed; install it with: make docs")
    folder = tmp_path_factory.mktemp("docs") / "site"
    run = subprocess.run(
        [sys.executable, TOOL, "--into", folder], capture_output=True, check=False, encoding="utf-8"
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"docs: open {folder / 'index.html'}\n"
    return folder


class TestThePages:
    def test_every_page_is_in_the_navigation(self, tool):
        assert tool.not_in_the_navigation() == []
        assert list(tool.navigation()) == [
            "Start",
            "Guides",
            "Recipes",
            "Operations",
            "Reference",
            "Decisions",
        ]
        named = [page for section in tool.navigation().values() for page in section.values()]
        assert len(named) == len(set(named))
        assert [page for page in named if not (ROOT / page).exists()] == []

    def test_every_link_to_the_repository_leads_to_something(self, tool, tmp_path):
        assert tool.stage(tmp_path / "pages") == []

    def test_a_link_to_a_file_or_folder_leads_to_a_page_that_shows_it(self, tool, tmp_path):
        tool.stage(tmp_path / "pages")
        page = (tmp_path / "pages" / "examples" / "README.md").read_text(encoding="utf-8")
        assert "(python_sync-py-file.md)" in page
        assert "(nextjs-folder.md)" in page
        shown = (tmp_path / "pages" / "examples" / "python_sync-py-file.md").read_text(encoding="utf-8")
        assert (ROOT / "examples" / "python_sync.py").read_text(encoding="utf-8").strip() in shown

    def test_what_is_wrong_is_named(self, tool, tmp_path):
        (tmp_path / "a.html").write_text('<a href="b.html">b</a><a href="#x">x</a>', encoding="utf-8")
        (tmp_path / "c.html").write_text('<script src="https://cdn.example/x.js"></script>', encoding="utf-8")
        (tmp_path / "d.css").write_text("a { background: url(https://cdn.example/y.png) }", encoding="utf-8")
        assert sorted(tool.broken(tmp_path)) == [
            "a.html: #x has no such anchor",
            "a.html: b.html is not there",
            "c.html loads https://cdn.example/x.js",
            "d.css loads https://cdn.example/y.png",
        ]

    def test_the_lock_file_names_no_host(self):
        lock = (ROOT / "requirements" / "docs.txt").read_text(encoding="utf-8")
        assert "://" not in lock
        assert "--hash=sha256:" in lock


class TestTheBuiltSite:
    def test_the_search_index_has_what_people_look_for(self, site):
        index = json.loads((site / "search.json").read_text(encoding="utf-8"))
        text = json.dumps(index)
        for words in ("Idempotency-Key", "Claude Code", "max_running"):
            assert words in text
        assert "_has_tests" not in text  # no program that a page links to

    def test_it_asks_no_other_host(self, tool, site):
        assert tool.broken(site) == []
        for page in site.rglob("*.html"):
            for address in re.findall(
                r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"([^\"]*)\"", page.read_text()
            ):
                assert not re.match(r"https?:|//", address), (page, address)

    def test_in_a_browser(self, site):
        node_tests("site.test.mjs", SITE=str(site))
