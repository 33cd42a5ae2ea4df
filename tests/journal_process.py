"""A process that writes to a SQLite journal, says what it was acknowledged, and kills itself: `PATH SEED COMMITS WHEN`.

It dies at the commit of that number, `before` or `after` it is made. What it sends to a stream follows from the
stream's name, so that whoever reads the file can tell.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from everytoken.journal import StreamInfo, Writer, sqlite_tidying
from everytoken.journal.sqlite import SqliteJournal
from everytoken.journal.sqlite_file import SqliteFile

LENGTH = 40  # records of a stream that has ended


def record(name: str, number: int) -> bytes:
    """Return what stands at one place of one stream."""
    return b'{"of":"%s","choices":[{"delta":{"content":"%d"}}],"object":"chunk"}' % (name.encode(), number)


def die_at(commits: int, when: str) -> None:
    """Have the process die at a commit."""
    execute = SqliteFile.execute
    left = [commits]

    def counted(self: SqliteFile, statements: Any) -> None:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        execute(self, statements)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    SqliteFile.execute = counted  # type: ignore[method-assign]


def tell(name: str, writer: Writer) -> None:
    """Say what the stream holds by the journal's word."""
    log = writer.log
    os.write(1, f"{name} {log.tail} {int(log.closed)}\n".encode())


async def main(path: Path, seed: int) -> None:
    """Go on with what is open, and begin new streams, without end."""
    chance = random.Random(seed)
    journal = SqliteJournal(path)
    await journal.start()
    writers: dict[str, tuple[Writer, int]] = {}
    for name in await journal.orphans():
        writer = await journal.claim(name)
        writers[name] = (writer, writer.log.tail)
    number = 0
    while True:
        while len(writers) < 4:
            name = f"{seed}-{number}"
            number += 1
            writers[name] = (await journal.create(StreamInfo(id=name, content_type="text/plain")), 0)
        for name in chance.sample(sorted(writers), 2):
            writer, sent = writers[name]
            if sent == 0:
                writer.log.subscribe(lambda name=name, writer=writer: tell(name, writer))
            more = min(chance.randrange(1, 4), LENGTH - sent)
            records = [record(name, n) for n in range(sent, sent + more)]
            if sent + more < LENGTH:
                writer.append(records)
                writers[name] = (writer, sent + more)
            else:
                writer.close(records, {"outcome": "completed"})
                del writers[name]
        if chance.random() < 0.8:
            await asyncio.sleep(0)


if __name__ == "__main__":
    sqlite_tidying.TIDY = 4
    sqlite_tidying.LOG_LIMIT = 2000
    sqlite_tidying.SEGMENT = 1000
    die_at(int(sys.argv[3]), sys.argv[4])
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
