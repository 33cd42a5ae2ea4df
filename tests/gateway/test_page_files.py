"""The files of the pages: compressed, kept by browsers, and told of before they are needed."""

from __future__ import annotations

import gzip
import re
import runpy
from pathlib import Path

import pytest

from gateway_serving import ManualUpstream, Wire, limit, serving

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "preload.py"))
PAGES = TOOL["PAGES"]


async def test_a_browser_that_has_a_file_is_not_sent_it_again():
    async with limit(), serving(ManualUpstream()) as gateway, Wire.to(gateway.port) as wire:
        first = await gateway.ask("GET", "/assets/app.js")
        tag = first.headers["etag"]
        for known in (tag, f'"other", {tag}', "*"):
            wire.send("GET", "/assets/app.js", None, {"If-None-Match": known})
            again = await wire.answer(bodyless=True)
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
            assert "content-length" not in again.headers
        other = await gateway.ask("GET", "/assets/app.js", headers={"If-None-Match": 'W/"other"'})
        assert (other.status, other.body) == (200, first.body)
        assert (await gateway.ask("GET", "/assets/style.css")).headers["etag"] != tag


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, gzip; q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("br", False),
        ("", False),
    ],
)
async def test_a_file_is_compressed_for_who_takes_that(accepted, packed):
    async with limit(), serving(ManualUpstream()) as gateway:
        plain = await gateway.ask("GET", "/")
        answer = await gateway.ask("GET", "/", headers={"Accept-Encoding": accepted})
    assert answer.headers["vary"] == plain.headers["vary"] == "accept-encoding"
    assert answer.headers["content-security-policy"] == plain.headers["content-security-policy"]
    assert ("content-encoding" in answer.headers) is packed
    assert (gzip.decompress(answer.body) if packed else answer.body) == plain.body
    assert answer.headers["etag"] == plain.headers["etag"]


@pytest.mark.parametrize(("accepted", "packed"), [("gzip", True), ("br", False), ("", False)])
async def test_a_file_that_is_stored_compressed_is_sent_so_to_who_takes_that(accepted, packed):
    stored = (PAGES / "vendor/mermaid/mermaid.js.gz").read_bytes()
    async with limit(), serving(ManualUpstream()) as gateway:
        answer = await gateway.ask(
            "GET", "/assets/vendor/mermaid/mermaid.js", headers={"Accept-Encoding": accepted}
        )
        other = await gateway.ask("GET", "/assets/vendor/mermaid/mermaid.js.gz")
    assert (other.status, answer.status) == (404, 200)
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert ("content-encoding" in answer.headers) is packed
    assert answer.body == (stored if packed else gzip.decompress(stored))


async def test_a_document_that_runs_foreign_code_has_no_origin():
    async with limit(), serving(ManualUpstream()) as gateway:
        policies = {
            path: (await gateway.ask("GET", path)).headers.get("content-security-policy", "")
            for path in ("/", "/console", "/assets/diagram/index.html", "/assets/app.js")
        }
    assert policies["/"] == policies["/console"]
    assert "sandbox" not in policies["/"]
    assert "unsafe" not in policies["/"]
    assert "sandbox allow-scripts" in policies["/assets/diagram/index.html"]
    assert "allow-same-origin" not in policies["/assets/diagram/index.html"]
    assert policies["/assets/app.js"] == ""


@pytest.mark.parametrize("page", TOOL["HTML"], ids=lambda page: page.parent.name)
def test_a_page_links_to_every_module_that_it_needs_and_to_each_once(page):
    html = page.read_text(encoding="utf-8")
    assert html == TOOL["linked"](html), "run tools/preload.py"
    names = re.findall(r'<link rel="modulepreload" href="assets/([^"]+)">', html)
    assert len(set(names)) == len(names) > 3
    texts = [(PAGES / name).read_text(encoding="utf-8") for name in names]
    imported = {
        name for text in texts for name in re.findall(r'^import .*from "[^"]*?([^/"]+)";', text, re.MULTILINE)
    }
    assert imported <= {Path(name).name for name in names}
