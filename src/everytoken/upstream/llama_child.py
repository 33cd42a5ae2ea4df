"""The program of the embedded model's process: llama.cpp's HTTP server, for as long as its parent lives.

`local.py` runs this file by its path. It imports nothing of this package, so that it starts quickly and a crash of native
code stays in this process. It reads its settings as one JSON line from standard input (which other processes cannot read,
unlike arguments), and writes one JSON line to standard output: `{"port": 1234}` or `{"error": "…"}`. After that it serves
until standard input ends: when the parent closes it, or is killed.

Each request has an engine of its own: a llama.cpp server with one slot and one thread. The slots of one server share
batches; then a text depends on what runs beside it, and the same seed gives the same text only sometimes. The engines
listen on ports of their own; `Gate` joins each connection to the engine with the fewest connections.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any


class Engine:
    """One llama.cpp server on a port of its own; `connections` is how many are joined to it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import xllamacpp  # noqa: PLC0415  # its absence is reported instead of a crash

        params = xllamacpp.CommonParams()
        params.model.path = settings["path"]
        params.model_alias = {settings["model"]}  # otherwise every chunk names the model by the file's path
        params.api_keys = [settings["api_key"]]
        params.hostnames = ["127.0.0.1"]
        params.n_parallel = params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.n_threads_http = 4
        params.n_ctx = settings["context_tokens"]
        params.n_predict = settings["max_tokens"]  # of requests that name no limit
        for name, value in settings["sampling"].items():
            setattr(params.sampling, name, value)
        params.n_gpu_layers = 0  # a text must depend on the machine as little as possible
        params.n_batch = params.n_ubatch = 128  # cancelled requests are noticed between two batches
        params.cache_prompt = params.cache_idle_slots = False  # the cache of earlier requests changes texts
        params.cache_ram_mib = params.n_ctx_checkpoints = params.verbosity = 0
        params.ui = params.endpoint_slots = params.warmup = False
        params.fit_params = False  # the context size is given
        params.offline = True
        self.connections = 0
        self.server = xllamacpp.Server(params)  # serves as long as the object lives
        self.port = int(self.server.listening_address.rsplit(":", 1)[1])


class Engines:
    """One engine at first, another one whenever all are busy, up to `parallel`."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._all = [Engine(settings)]

    def take(self) -> Engine:
        """Return the engine for a new connection; giving it back is counting its `connections` down."""
        engine = min(self._all, key=lambda engine: engine.connections)
        if engine.connections and len(self._all) < self._settings["parallel"]:
            try:
                engine = Engine(self._settings)
                self._all.append(engine)
            except Exception as error:  # noqa: BLE001  # no memory, for example: then requests take turns
                sys.stderr.write(f"no further engine: {error}\n")
        engine.connections += 1
        return engine


class Splice(asyncio.Protocol):
    """One end of a joined pair of connections: what it receives, the other end sends."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Splice | None = None

    def is_gone(self) -> bool:
        """Whether this connection is closed."""
        return self.transport is None

    def close(self) -> None:
        """Close this connection once everything has been sent."""
        if self.transport is not None:
            self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection has been made."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """Stop reading at the other end: it must not read more than this end can write."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Continue reading at the other end."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end too."""
        del exc
        self.transport = None
        if self.other is not None:
            self.other.close()


class Gate(Splice):
    """The client's end: it connects to an engine before it reads."""

    def __init__(self, engines: Engines) -> None:
        super().__init__()
        self._engines = engines
        self._engine: Engine | None = None
        self._joining: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to an engine before anything is read."""
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self._joining = asyncio.create_task(self._join(transport))

    async def _join(self, transport: asyncio.Transport) -> None:
        if self.is_gone():
            return
        self._engine = self._engines.take()
        try:
            loop = asyncio.get_running_loop()
            _, other = await loop.create_connection(Splice, "127.0.0.1", self._engine.port)
        except OSError:
            self.close()
            return
        self.other, other.other = other, self
        if self.is_gone():
            other.close()
        else:
            transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the engine back."""
        super().connection_lost(exc)
        if self._engine is not None:
            self._engine.connections -= 1


class UntilParentEnds(asyncio.Protocol):
    """Standard input: its end is the end of this process."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Exit at once."""
        del exc
        os._exit(0)  # not through native destructors, which may wait for a running generation


async def serve(settings: dict[str, Any], report: Any) -> None:
    """Open the gate, report its port, and serve until the parent ends."""
    loop = asyncio.get_running_loop()
    try:
        engines = Engines(settings)
        gate = await loop.create_server(lambda: Gate(engines), "127.0.0.1", settings["port"])
    except Exception as error:  # noqa: BLE001  # whatever native code raises is reported to the parent
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=report, flush=True)
        os._exit(1)
    print(json.dumps({"port": gate.sockets[0].getsockname()[1]}), file=report, flush=True)
    await loop.connect_read_pipe(UntilParentEnds, sys.stdin)
    await gate.serve_forever()


def main() -> None:
    """Run the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # output of native code must not be mistaken for our report
    asyncio.run(serve(json.loads(sys.stdin.buffer.readline()), report))


if __name__ == "__main__":
    main()
