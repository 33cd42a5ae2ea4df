"""Two nodes on one Redis behind nginx, restarted one after the other: no answer is broken, none has anything twice."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from openai import AsyncOpenAI

import everytoken
from command_line import LIMIT, read_line, started
from everytoken.testing import Answer, ScriptedUpstream
from proxies import proxied
from redis_server import REDIS, RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.skipif(REDIS is None, reason="redis-server is not installed"),
    pytest.mark.blocking_allowed("the nodes and proxies run as programs"),
]

READERS = 8
ANSWER = Answer(content=[f"word{number} " for number in range(200)], delay=0.01)  # 2 seconds
PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
[NEXT_UPSTREAM] = re.findall(r"^```nginx\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NGINX = """daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{}}
http {{
    access_log off; {places}
    upstream everytoken {{
        {servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://everytoken;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_buffering off;
            {next_upstream}
        }}
    }}
}}
"""


class Node:
    """A gateway at a port of its own, which can be restarted."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self._options = ("serve", "--port", str(self.port), "--drain", "0.2", *options)
        self._stack = ExitStack()

    def start(self) -> None:
        self._process = self._stack.enter_context(started(*self._options, env={"EVERYTOKEN_LEASE": "2"}))

    def ready(self) -> None:
        read_line(self._process)

    def restart(self) -> None:
        """Stop it as an operator does, and start it again."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(LIMIT) == 0
        self.stop()
        self.start()
        self.ready()

    def stop(self) -> None:
        self._stack.close()


@contextmanager
def two_nodes(directory: Path, upstream: ScriptedUpstream) -> Iterator[tuple[list[Node], str]]:
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    redis, port = RedisServer(directory, persistent=False), free_port()
    nodes = [Node("--journal", redis.url, "--upstream", upstream.base_url) for _ in range(2)]
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    config = directory / "nginx.conf"
    config.write_text(
        NGINX.format(
            next_upstream=NEXT_UPSTREAM,
            directory=directory,
            places=" ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds),
            servers=" ".join(f"server 127.0.0.1:{node.port} max_fails=0;" for node in nodes),
            port=port,
        ),
        encoding="utf-8",
    )
    try:
        redis.start()
        for node in nodes:
            node.start()
        for node in nodes:
            node.ready()
        with proxied([program, "-c", str(config), "-e", f"{directory}/error.log"], directory, port):
            yield nodes, f"http://127.0.0.1:{port}/v1"
    finally:
        for node in nodes:
            node.stop()
        redis.stop()


async def read(client: AsyncOpenAI, reading: asyncio.Semaphore) -> str:
    """Read one answer; `reading` is released with its first words."""
    text, begun = "", False
    stream = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Go on"}], stream=True
    )
    async for chunk in stream:
        text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        if text and not begun:
            begun = True
            reading.release()
    return text


def test_no_answer_is_broken_when_each_node_is_restarted_in_turn(tmp_path):
    async def readers(nodes: list[Node], url: str) -> list[str]:
        reading = asyncio.Semaphore(0)
        async with everytoken.AsyncClient() as http:
            client = AsyncOpenAI(base_url=url, api_key="any", http_client=http)
            asking = []
            for node in nodes:
                asking += [asyncio.create_task(read(client, reading)) for _ in range(READERS // 2)]
                for _ in range(READERS // 2):
                    await reading.acquire()
                restarted = asyncio.create_task(asyncio.to_thread(node.restart))
                asking.append(asyncio.create_task(read(client, reading)))  # and one that comes meanwhile
                await restarted
                await reading.acquire()
            return await asyncio.gather(*asking)

    with ScriptedUpstream(ANSWER) as upstream, two_nodes(tmp_path, upstream) as (nodes, url):
        texts = asyncio.run(asyncio.wait_for(readers(nodes, url), LIMIT))
    assert texts == [ANSWER.text] * (READERS + 2)
    assert len(upstream.attempts) > len(texts), "none was handed over"
