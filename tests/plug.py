"""Pull the plug: many responses in flight, gateways killed in the middle, readers that come back by offset.

Used by the tests for a few seconds and by `make soak` (`python tests/plug.py`) for minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from plug_apis import KINDS, every_api_round
from plug_nodes import (
    Node,
    Plug,
    Progress,
    Upstream,
    one_started_again,
    request,
    struck,
    two_of_which_one_dies,
    workers_that_die,
)
from redis_server import REDIS, RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_cluster import ClusterServers

BACK_OFF = 0.05  # seconds between a reader's tries
PATIENCE = 60.0  # seconds a reader may take in all


@dataclass
class Reading:
    """What one reader got."""

    prompt: str
    text: str = ""
    offset: int = 0
    connections: int = 0
    ends: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


async def read(urls: Callable[[], list[str]], prompt: str, rng: random.Random, progress: Progress) -> Reading:
    """Ask, and read to the end; after a break come back by offset, to any of the nodes."""
    reading = Reading(prompt)
    key, location = f"plug-{prompt}", ""
    body = {"model": "plug", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    async with asyncio.timeout(PATIENCE):
        while not reading.ends:
            nodes = urls()
            url = rng.choice(nodes)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, OSError):
                if location:
                    headers = {"last-event-id": f"{reading.offset:016d}"}
                    events = request(url, "GET", f"{location}/events", headers, None)
                else:
                    events = request(url, "POST", "/v1/chat/completions", {"idempotency-key": key}, body)
                # Closed here, and not whenever it is collected: its connection belongs to this test.
                async with contextlib.aclosing(events):
                    async for part in events:
                        if isinstance(part, dict):
                            status = int(part[":status"])
                            location = part.get("location", location)
                            if status == 503 or (status == 404 and location):
                                break  # the journal or the new node is not there yet
                            if status == 204:  # it had everything but the word that this was all
                                reading.ends.append("done")
                                break
                            if status != 200:
                                reading.ends.append(f"status {status}")
                                break
                        else:
                            _take(reading, *part)
                            progress.add()
                            if reading.ends:
                                break
            reading.connections += 1
            await asyncio.sleep(BACK_OFF * rng.random())
    return reading


def _take(reading: Reading, data: str, offset: str) -> None:
    if data == "[DONE]":
        reading.ends.append("done")
        return
    value = json.loads(data)
    if int(offset) != reading.offset + 1:
        reading.faults.append(f"record {offset} after {reading.offset}")
    reading.offset = int(offset)
    if "error" in value:
        reading.ends.append(f"error {value['error']['code']}")
        return
    for choice in value["choices"]:
        reading.text += choice["delta"].get("content") or ""


async def run(
    upstream: Upstream, plug: Plug, *, responses: int, chunks: int, seed: int, kills: int
) -> list[str]:
    """Have `responses` read while the plug strikes `kills` times, whenever a random share of all records has been read.

    Returns everything that is wrong.
    """
    rng, progress = random.Random(seed), Progress()
    readers = [
        asyncio.create_task(
            read(
                plug.alive,
                f"{seed}-{number}",
                random.Random(rng.random()),
                progress,
            )
        )
        for number in range(responses)
    ]

    results = await struck(readers, progress, responses * chunks, kills=kills, kill=plug.kill, rng=rng)
    return [problem for result in results for problem in _problems(result, upstream)]


def _problems(result: Reading | BaseException, upstream: Upstream) -> list[str]:
    if isinstance(result, BaseException):
        return [f"{type(result).__name__}: {result}"]
    problems = [f"{result.prompt}: {fault}" for fault in result.faults]
    if result.ends != ["done"]:
        problems.append(f"{result.prompt}: ended {result.ends}")
    elif result.text != upstream.text(result.prompt):
        problems.append(f"{result.prompt}: {len(result.text)} characters, not the text")
    return problems


async def sqlite_round(
    directory: Path, *, responses: int, chunks: int, pace: float, kills: int, seed: int
) -> list[str]:
    """One gateway over SQLite, killed `kills` times at random moments and started again."""
    async with Upstream(chunks, pace) as upstream:
        options = ("--upstream", upstream.url, "--journal", f"sqlite:///{directory}/{seed}.sqlite")
        async with one_started_again(*options) as plug:
            return await run(upstream, plug, responses=responses, chunks=chunks, seed=seed, kills=kills)


async def redis_round(
    url: str, directory: Path, *, responses: int, chunks: int, pace: float, seed: int
) -> list[str]:
    """Two gateways over one Redis; one is killed at a random moment and stays dead."""
    config = directory / "everytoken.toml"
    config.write_text("lease = 2.0\n", encoding="utf-8")
    async with Upstream(chunks, pace) as upstream:
        options = ("--upstream", upstream.url, "--journal", url, "--config", str(config))
        async with two_of_which_one_dies(*options) as plug:
            return await run(upstream, plug, responses=responses, chunks=chunks, seed=seed, kills=1)


async def workers_round(
    url: str, directory: Path, *, responses: int, chunks: int, pace: float, kills: int, seed: int
) -> list[str]:
    """One gateway of three workers, of which `kills` are killed at random moments and started again.

    Their lease is longer than readers wait, so what they leave behind must be taken over without waiting for its end.
    """
    config = directory / "everytoken.toml"
    config.write_text(f"lease = {2 * PATIENCE}\n", encoding="utf-8")
    async with Upstream(chunks, pace) as upstream:
        options = ("--upstream", upstream.url, "--journal", url, "--config", str(config))
        async with workers_that_die(3, *options) as plug:
            return await run(upstream, plug, responses=responses, chunks=chunks, seed=seed, kills=kills)


async def failover_round(
    cluster: ClusterServers, directory: Path, *, responses: int, chunks: int, pace: float, seed: int
) -> list[str]:
    """Two gateways over a cluster; one of them and a master are killed at the same moment.

    The gateway stays dead, so that nobody can give again what the master's replica does not have.
    """
    config = directory / "everytoken.toml"
    config.write_text("lease = 2.0\n", encoding="utf-8")
    async with Upstream(chunks, pace) as upstream:
        options = ("--upstream", upstream.url, "--journal", cluster.url, "--config", str(config))
        async with two_of_which_one_dies(*options, "--durability", "replicated") as plug:

            async def kill(rng: random.Random) -> None:
                master = rng.choice(cluster.masters)
                master.kill()
                await plug.kill(rng)
                await asyncio.to_thread(cluster.fail_over, master)

            return await run(
                upstream, plug._replace(kill=kill), responses=responses, chunks=chunks, seed=seed, kills=1
            )


async def sleeping_round(
    url: str, directory: Path, *, responses: int, chunks: int, pace: float, seed: int
) -> list[str]:
    """Two gateways over one Redis; one is stopped in the middle, for longer than its lease, and wakes up again.

    Readers of the other one see every response to its end meanwhile; then those that have stayed with the sleeper do.
    """
    config = directory / "everytoken.toml"
    config.write_text("lease = 1.0\n", encoding="utf-8")
    async with Upstream(chunks, pace) as upstream:
        options = ("--upstream", upstream.url, "--journal", url, "--config", str(config))
        sleeper, other = Node(*options), Node(*options)
        progress, rng = Progress(), random.Random(seed)

        def reading(node: Node) -> list[asyncio.Task[Reading]]:
            prompts = [f"{seed}-{number}" for number in range(responses)]
            return [
                asyncio.create_task(read(lambda: [node.url], prompt, random.Random(seed), progress))
                for prompt in prompts
            ]

        try:
            await asyncio.gather(sleeper.start(), other.start())
            stayed = reading(sleeper)
            await progress.reach(rng.uniform(0.1, 0.6) * responses * chunks)
            await sleeper.signal(signal.SIGSTOP)
            left = await asyncio.gather(*reading(other), return_exceptions=True)
            # What the upstream has sent meanwhile waits in the sleeper's sockets, and it would write it now.
            await sleeper.signal(signal.SIGCONT)
            woken = await asyncio.gather(*stayed, return_exceptions=True)
            again = await asyncio.gather(*reading(sleeper), return_exceptions=True)
        finally:
            await asyncio.gather(sleeper.kill(), other.kill())
        problems = [problem for result in (*left, *woken, *again) for problem in _problems(result, upstream)]
        if upstream.answers != 2 * responses:
            problems.append(f"{upstream.answers} requests to the upstream for {responses} responses")
        return problems


ROUNDS = ("chat", "apis", "workers")


async def _soak_round(what: str, redis: str, directory: Path, responses: int, seed: int) -> list[str]:
    """Play one round: of chat completions alone, or of every API over every upstream."""
    if what == "apis":
        each = max(1, responses // (4 * len(KINDS)))  # their readers do much more
        shape = {"each": each, "words": 60, "pace": 0.05, "seed": seed}
        return await every_api_round(directory, redis=redis, kills=4, **shape)
    shape = {"responses": responses, "chunks": 80, "pace": 0.05, "seed": seed}
    if what == "workers":
        return await workers_round(redis, directory, kills=4, **shape)
    if redis:
        return await redis_round(redis, directory, **shape)
    return await sqlite_round(directory, kills=4, **shape)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Pull the plug again and again: on SQLite, and on a Redis server that is started for it if there is one."
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--responses", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--round", choices=ROUNDS, help="only rounds of this kind instead of both in turn")
    parser.add_argument("--redis", help="redis://HOST:PORT/DB: only on this server")
    options = parser.parse_args()

    async def soak(directory: Path, own: str) -> int:
        loop = asyncio.get_running_loop()
        end = loop.time() + options.seconds
        kinds = [
            (what, redis)
            for redis in ([options.redis] if options.redis else ["", own] if own else [""])
            for what in ([options.round] if options.round else ROUNDS)
            if redis or what != "workers"
        ]
        for seed, (what, redis) in zip(itertools.count(options.seed), itertools.cycle(kinds)):  # endless
            if loop.time() >= end:
                break
            problems = await _soak_round(what, redis, directory, options.responses, seed)
            name = f"seed {seed}, {what} on {'Redis' if redis else 'SQLite'}"
            print(f"{name}: {'; '.join(problems[:5]) or 'exact'}", flush=True)  # noqa: T201
            if problems:
                return 1
        return 0

    with tempfile.TemporaryDirectory(prefix="plug-") as path, contextlib.ExitStack() as stack:
        own = ""
        if REDIS is not None and not options.redis:
            server = RedisServer(Path(path))
            server.start()
            stack.callback(server.stop)
            own = server.url
        code = asyncio.run(soak(Path(path), own))
    sys.exit(code)


if __name__ == "__main__":
    main()
