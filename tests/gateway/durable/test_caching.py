"""What caches may keep of a stream: nothing by default; with `cache` what can change no more, and a real nginx keeps it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from durable_play import JSON, created, streams
from gateway_serving import Wire, limit
from proxies import proxied
from redis_server import free_port

NUMBERS = [f'"{number}"' for number in range(600)]
PAGES = [(f"{0:016d}", 256), (f"{256:016d}", 256), (f"{512:016d}", 88)]
SECRET = "sk-0123456789abcdef"
[BLOCK] = re.findall(
    r"^```nginx\n(.*?)^```$",
    (Path(__file__).parents[3] / "docs/streams.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)


async def with_numbers(gateway, *, closed, headers=JSON):
    """Make a stream of three parts, the last of which is not full."""
    body = f"[{','.join(NUMBERS)}]".encode()
    await created(gateway, headers={**headers, **({"Stream-Closed": "true"} if closed else {})}, body=body)


@pytest.mark.parametrize(
    ("query", "closed", "kept"),
    [
        ("", False, True),
        ("?offset=-1", False, True),
        (f"?offset={256:016d}", False, True),
        (f"?offset={300:016d}", False, True),
        (f"?offset={512:016d}", False, False),
        (f"?offset={600:016d}", False, False),
        (f"?offset={512:016d}", True, True),
        (f"?offset={600:016d}", True, True),
        ("?offset=now", True, False),
        ("?offset=now", False, False),
        ("?offset=-1&live=long-poll", False, False),
        ("?offset=-1&live=long-poll", True, False),
    ],
)
async def test_what_can_change_no_more_may_be_kept(query, closed, kept):
    async with streams(cache=60.0) as gateway:
        await with_numbers(gateway, closed=closed)
        answer = await gateway.ask("GET", f"/v1/stream/s{query}")
        wanted = "public, max-age=60, immutable" if kept else "no-store"
        assert answer.headers["cache-control"] == wanted
        assert ("last-event-id" in answer.headers.get("vary", "").lower()) is kept
        if "etag" in answer.headers:
            again = await gateway.ask(
                "GET", f"/v1/stream/s{query}", headers={"if-none-match": answer.headers["etag"]}
            )
            assert (again.status, again.headers["cache-control"]) == (304, wanted)
        assert (await gateway.ask("HEAD", "/v1/stream/s")).headers["cache-control"] == "no-store"


async def test_where_keys_are_needed_only_the_readers_own_cache_may_keep_it():
    key = {"authorization": f"Bearer {SECRET}"}
    async with streams(cache=60.0, api_keys=[SECRET]) as gateway:
        await with_numbers(gateway, closed=True, headers=JSON | key)
        answer = await gateway.ask("GET", "/v1/stream/s", headers=key)
        assert answer.headers["cache-control"] == "private, max-age=60, immutable"
        assert "authorization" in answer.headers["vary"].lower()
        for refused in (
            await gateway.ask("GET", "/v1/stream/s"),
            await gateway.ask("GET", "/v1/stream/t", headers=key),
        ):
            assert "max-age" not in refused.headers.get("cache-control", "")


async def read_through(port, headers):
    """Read a stream to its end, part by part, on one connection; return its records."""
    records, offset = [], "-1"
    async with Wire.to(port) as wire:
        while True:
            wire.send("GET", f"/v1/stream/s?offset={offset}", headers=headers)
            answer = await wire.answer()
            assert answer.status == 200
            records += json.loads(answer.body)
            if answer.headers.get("stream-closed") == "true":
                return records
            offset = answer.headers["stream-next-offset"]


@pytest.mark.blocking_allowed("nginx runs as a program")
async def test_a_thousand_readers_behind_nginx_are_one_read_of_the_journal(tmp_path, monkeypatch):
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    port, reads = free_port(), []
    async with streams(cache=3600.0) as gateway:
        await with_numbers(gateway, closed=True)
        opened = gateway.gateway.journal.open

        async def counted(stream_id, **more):
            reads.append(stream_id)

            return await opened(stream_id, **more)

        monkeypatch.setattr(gateway.gateway.journal, "open", counted)
        block = BLOCK.replace("127.0.0.1:8000", f"127.0.0.1:{gateway.port}")
        block = block.replace("/var/cache/nginx/everytoken", f"{tmp_path}/cache")
        first, _, location = block.partition("\n")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        config = tmp_path / "nginx.conf"
        config.write_text(
            f"daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log;\n"
            f"events {{}}\nhttp {{ access_log off; {' '.join(f'{kind}_temp_path {tmp_path}/{kind};' for kind in kinds)}\n"
            f"{first}\nserver {{ listen 127.0.0.1:{port}; {location} }} }}\n",
            encoding="utf-8",
        )
        with proxied([program, "-c", str(config), "-e", f"{tmp_path}/error.log"], tmp_path, port):
            wanted = [json.loads(number) for number in NUMBERS]
            for _ in range(20):
                async with limit():
                    found = await asyncio.gather(*(read_through(port, {}) for _ in range(50)))
                assert found == [wanted] * 50
            assert reads.count("s") == len(PAGES)
            # A header that overrides the offset is asked for by itself, and what it gets is not shown to others.
            async with Wire.to(port) as wire:
                wire.send("GET", "/v1/stream/s?offset=-1", headers={"last-event-id": f"{599:016d}"})
                assert json.loads((await wire.answer()).body) == ["599"]
            assert await read_through(port, {}) == wanted
