"""The program of the embedded model's process: llama.cpp's HTTP server, for as long as its parent lives.

`local.py` runs this file by its path. It imports nothing of this package, so that it starts quickly and whatever
native code does here stays here. Its settings come as one JSON line on standard input (no other process can read
them there, unlike arguments), its answer goes as one JSON line to standard output: `{"port": 1234}` or
`{"error": "…"}`. After that it waits for the end of standard input, which comes when the parent closes it, and
also when the parent is killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, NoReturn


def parameters(settings: dict[str, Any]) -> Any:
    """Return llama.cpp's parameters for our settings."""
    import xllamacpp  # noqa: PLC0415  # its absence is answered, not a crash

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["model"]}  # otherwise the file's path is the model's name in every chunk
    params.api_keys = [settings["api_key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = settings["port"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.n_parallel = settings["parallel"]
    params.n_ctx = settings["parallel"] * settings["context_tokens"]  # it is divided by the slots
    # Between two batches the server looks for cancelled requests: half a second of prompt at most.
    params.n_batch = params.n_ubatch = 128
    # The same request with the same seed gives the same text only if nothing is left over from others.
    params.cache_prompt = params.cache_idle_slots = False
    params.cache_ram_mib = params.n_ctx_checkpoints = 0
    for k, v in settings.get("x", {}).items():
        setattr(params, k, getattr(xllamacpp.llama_flash_attn_type, v) if k == "flash_attn_type" else v)
    params.verbosity = 0
    params.ui = params.endpoint_slots = False
    params.fit_params = False  # we have said how much; no measuring run
    params.offline = True
    return params


def serve(settings: dict[str, Any]) -> tuple[Any, int]:
    """Start the server; returns it (it lives as long as the object) and its port."""
    import xllamacpp  # noqa: PLC0415

    server = xllamacpp.Server(parameters(settings))
    return server, int(server.listening_address.rsplit(":", 1)[1])


def main() -> NoReturn:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to decide on
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what native code prints must not be taken for our report
    settings = json.loads(sys.stdin.buffer.readline())
    try:
        server, port = serve(settings)
    except Exception as error:  # noqa: BLE001  # whatever native code raises, the parent is told
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=report, flush=True)
        sys.exit(1)
    print(json.dumps({"port": port}), file=report, flush=True)
    sys.stdin.buffer.read()
    del server
    os._exit(0)  # not through native destructors, which may wait for a running generation


if __name__ == "__main__":
    main()
