"""The files of the pages: compressed, kept by browsers, and told of before they are needed."""

from __future__ import annotations

import gzip
import re

import pytest

from everytoken.gateway.pages import load
from gateway_serving import ManualUpstream, Wire, limit, serving


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


@pytest.mark.parametrize("page", ["/", "/console"])
def test_a_page_links_to_every_module_that_it_needs_and_to_each_once(page):
    files = load()
    html = files[page][0].decode()
    linked = re.findall(r'<link rel="modulepreload" href="([^"]+)">', html)
    [entry] = re.findall(r'<script type="module" src="([^"]+)">', html)
    assert len(set(linked)) == len(linked) > 3
    assert all(f"/{name}" in files for name in linked)
    assert entry not in linked
    named = {
        name.rpartition("/")[2]
        for module in (entry, *linked)
        for name in re.findall(r'from "(\.{1,2}/[^"]+)"', files[f"/{module}"][0].decode())
    }
    assert named == {name.rpartition("/")[2] for name in (*linked, entry)} - {entry.rpartition("/")[2]}
