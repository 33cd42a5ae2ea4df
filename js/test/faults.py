# ruff: noqa: INP001  (a script of the npm package's tests)
"""Every fault behind a base URL of its own; the JSON on standard output says which. Ends with its standard input.

The argument is the API. Messages has no seed: there each attempt gives the same answer unasked.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack

from everytoken.testing import FAULTS, Answer, ScriptedUpstream


async def main() -> None:
    """Serve one upstream for each fault and position: the first attempt breaks, or (`always`) every one."""
    [_, api] = sys.argv
    async with AsyncExitStack() as stack:
        rows = []
        for fault in FAULTS.values():
            for position in fault.positions:
                for when in (0, "always"):
                    answer = Answer(needs_seed=api == "chat", prefill="refuse")
                    upstream = ScriptedUpstream(answer, faults=[(when, fault, position)], apis=[api])
                    await stack.enter_async_context(upstream)
                    rows.append(
                        {
                            "name": fault.name,
                            "kind": fault.kind.value,
                            "position": position,
                            "first": when == 0,
                            # Of an address that is broken at first: where the server really is, and where it is not.
                            "url": upstream.base_urls[-1],
                            "broken": upstream.base_urls[0] if len(upstream.base_urls) > 1 else None,
                            "text": upstream.answer.text,
                        }
                    )
        print(json.dumps(rows), flush=True)  # noqa: T201
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
