"""Run programs one after the other in one interpreter, because some libraries take seconds to import.

On standard input: a program on each line, as JSON. On standard output: what it prints, then a record separator and, on one
line, how it ended: its error's name and the code it carries, both null if there was none. Nothing but loopback is reached.
"""

from __future__ import annotations

import json
import sys
import traceback

HERE = ("127.", "::1", "localhost")


def stay_here(event: str, arguments: tuple) -> None:
    """Refuse to leave the machine: an audit hook."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if not str(host).startswith(HERE):
        raise PermissionError(f"{event} {host}: not here")


def outcome(error: Exception | None) -> list[str | None]:
    """Return an error's name, as one imports it, and the first code in it or below it."""
    if error is None:
        return [None, None]
    codes = []
    cause: BaseException | None = error
    while cause is not None:
        codes.append(getattr(cause, "code", None))
        cause = cause.__cause__
    kind = type(error)
    name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    return [name, next((code for code in codes if isinstance(code, str)), None)]


sys.addaudithook(stay_here)
for line in sys.stdin:
    error = None
    try:
        exec(compile(json.loads(line), "docs/clients.md", "exec"), {"__name__": "__main__"})
    except Exception as caught:  # noqa: BLE001  # whatever the program would have died of
        traceback.print_exc()
        error = caught
    sys.stdout.write(f"\x1e{json.dumps(outcome(error))}\n")
    sys.stdout.flush()
