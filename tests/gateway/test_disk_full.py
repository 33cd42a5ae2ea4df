"""The gateway on a disk that really is full, in the middle of many responses; and on one that has room again."""

from __future__ import annotations

import asyncio
import random
import subprocess
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

import plug
from command_line import EVERYTOKEN, LIMIT, environment
from gateway_serving import HELLO, Wire
from small_disk import small_disk

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.blocking_allowed("the disk is looked after beside the test")

CHAT = "/v1/chat/completions"
SIZE = 16 * 1024 * 1024  # room for all of it, the WAL too
LEFT = 256 * 1024  # bytes that there is room for
RESPONSES, CHUNKS = 16, 60  # of 400 characters that do not compress: much more than that


class Verbose(plug.Upstream):
    """Says much with every chunk."""

    def pieces(self, prompt: str) -> list[str]:
        noise = random.Random(prompt)
        return [noise.randbytes(200).hex() for _ in range(self._chunks)]


async def _asked(node: plug.Node):
    """Ask, and leave as soon as the head of the answer is there."""
    async with Wire.to(urlsplit(node.url).port) as wire:
        wire.send("POST", CHAT, HELLO, {"Host": "127.0.0.1", "Everytoken-Disconnect": "cancel"})
        answer = await wire.head()
        return answer if answer.status == 200 else await wire.rest(answer)


async def _refused(node: plug.Node):
    """Ask until the journal refuses."""
    async with asyncio.timeout(20):
        while True:
            answer = await _asked(node)
            if answer.status != 200:
                return answer


@pytest.mark.parametrize(
    "killed", [False, True], ids=["the gateway lives on", "the gateway is killed meanwhile"]
)
async def test_a_full_disk_loses_nothing_and_everything_goes_on_when_there_is_room(
    tmp_path: Path, *, killed: bool
) -> None:
    with small_disk(tmp_path / "disk", SIZE) as disk:
        async with AsyncExitStack() as stack:
            upstream = await stack.enter_async_context(Verbose(CHUNKS, 0.005))
            journal = f"sqlite:///{disk.path}/journal.sqlite"
            node = plug.Node("--upstream", upstream.url, "--journal", journal, before=disk.enter)
            stack.push_async_callback(node.kill)
            await node.start()
            disk.fill(leave=LEFT)

            async def none(_: random.Random) -> None:
                """Leave the gateway alone."""

            reading = asyncio.create_task(
                plug.run(
                    upstream,
                    plug.Plug(lambda: [node.url], none),
                    responses=RESPONSES,
                    chunks=CHUNKS,
                    seed=1,
                    kills=0,
                )
            )
            refused = await _refused(node)
            assert (refused.status, refused.error["code"]) == (503, "journal-unavailable")
            assert not reading.done()
            if killed:
                # What a reader has seen and is not stored would show itself: as an offset past the end, or other text.
                await node.kill()
            disk.make_room()
            if killed:
                await node.start()
            assert await reading == []
            assert (await _asked(node)).status == 200


def test_a_disk_that_is_full_from_the_start_is_said_in_one_line(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", SIZE) as disk:
        disk.fill(leave=0)
        arguments = ["serve", "--port", "0", "--upstream", "http://127.0.0.1:9/v1"]
        done = subprocess.run(
            [*disk.enter, EVERYTOKEN, *arguments, "--journal", f"sqlite:///{disk.path}/journal.sqlite"],
            capture_output=True,
            timeout=LIMIT,
            check=False,
            env=environment(),
        )
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        f"everytoken: the journal {disk.path}/journal.sqlite cannot be used: database or disk is full\n"
    )
