"""The embedded model: a child process that serves it over HTTP on loopback, like any other upstream."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import platform
import secrets
import signal
import sys
from asyncio.subprocess import PIPE
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from everytoken.errors import ConfigurationError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from types import TracebackType

__all__ = ["MODEL", "LocalEndpoint", "LocalModel"]

MODEL = "smollm2-135m-instruct"
# Its makers' temperature and top_p (the model card). The rest is for a model this small, which repeats itself for ever
# without it: docs/decisions/0034-embedded-defaults.md has the measurements.
SAMPLING: Final = {
    "temp": 0.2,
    "top_p": 0.9,
    "penalty_repeat": 1.1,
    "penalty_last_n": 64,  # tokens
    "dry_multiplier": 0.8,
    "dry_allowed_length": 2,  # tokens that may be repeated in sequence; each further one is 1.75 times as unlikely
    "dry_penalty_last_n": 4096,  # tokens: the whole text
    "seed": 1,  # of requests without one; llama.cpp would take another one each time
}
MAX_TOKENS = 768  # of an answer whose request names no limit; most have less than 400
START_TIMEOUT = 120.0  # seconds; a second is usual, a cold disk and a busy machine take longer
STOP_TIMEOUT = 5.0  # seconds from SIGTERM to SIGKILL
STEADY = 60.0  # seconds of running after which a crash counts as the first one again
MAX_DELAY = 30.0  # seconds between two starts at most
KEPT_LINES = 20  # lines of the child's standard error, for the message about its end
HOW = "in a checkout run `make setup`, or: pip install ./weights 'everytoken[embedded]'"

log = logging.getLogger(__name__)


class LocalEndpoint(NamedTuple):
    """Address and key of the embedded model, as an OpenAI-compatible server."""

    base_url: str
    api_key: str
    models: tuple[str, ...]


class LocalModel:
    """The embedded model as a child process.

    `async with LocalModel() as model:` starts it; `model.endpoint` says where it answers. When native code crashes
    the child is started again on the same port with the same key, so its address stays valid;
    requests that were running see a broken connection. It ends with its parent, however that ends.

    `parallel` is how many requests run at the same time (each costs one core, and about 120 MB once it has been needed);
    the others wait. `context_tokens` is the maximum length of a prompt and its response together. A text depends only on
    its request and seed, never on what runs beside it. A request without a limit ends after `MAX_TOKENS` at the latest,
    one without sampling parameters gets those in `SAMPLING`.
    """

    def __init__(self, *, context_tokens: int = 4096, parallel: int = 4) -> None:
        self._settings: dict[str, Any] = {
            "model": MODEL,
            "api_key": secrets.token_urlsafe(32),
            "context_tokens": context_tokens,
            "parallel": parallel,
            "max_tokens": MAX_TOKENS,
            "sampling": SAMPLING,
            "port": 0,
        }
        self._process: Process | None = None
        self._last_lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._reader: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def endpoint(self) -> LocalEndpoint:
        """Its address and key, once it has been started."""
        port = self._settings["port"]
        if not port:
            raise ConfigurationError("the embedded model has not been started")
        return LocalEndpoint(f"http://127.0.0.1:{port}/v1", self._settings["api_key"], (MODEL,))

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether the child is running; between a crash and the next start it is not."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> LocalEndpoint:
        """Start the child and wait until it is ready.

        Raises `ConfigurationError`, in one line, if weights or runtime are missing or the child does not start.
        """
        if self._keeper is None:
            self._settings["path"] = str(await asyncio.to_thread(find_weights))
            await asyncio.to_thread(check_runtime)
            await self._spawn()
            self._keeper = asyncio.create_task(self._keep(), name="everytoken-local-model")
        return self.endpoint

    async def stop(self) -> None:
        """End the child and wait for its end. May be called again, and before `start`."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        await self._end()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _spawn(self) -> None:
        """Start one child. On return it is ready; on an exception, no child is left."""
        program = str(Path(__file__).with_name("llama_child.py"))
        self._last_lines.clear()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", program, stdin=PIPE, stdout=PIPE, stderr=PIPE,
            start_new_session=True,  # the terminal's Ctrl-C and hang-up are not for the child
        )  # fmt: skip
        assert self._process.stderr is not None
        self._reader = asyncio.create_task(self._read_log(self._process.stderr))
        try:
            async with asyncio.timeout(START_TIMEOUT):
                report = await self._introduce(self._process)
        except TimeoutError:
            await self._end()
            raise ConfigurationError(
                f"the embedded model was not ready after {START_TIMEOUT:.0f} s"
            ) from None
        except BaseException:
            await self._end()
            raise
        if "port" not in report:
            await self._end()
            reason = report.get("error") or self._last_words()
            raise ConfigurationError(f"the embedded model does not start: {reason}")
        self._settings["port"] = report["port"]

    async def _introduce(self, process: Process) -> dict[str, Any]:
        """Tell the child its settings; returns its report, empty if it died."""
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(ConnectionError):  # it has already ended; its last output says why
            process.stdin.write(json.dumps(self._settings).encode() + b"\n")
            await process.stdin.drain()
        line = await process.stdout.readline()
        report: dict[str, Any] = json.loads(line) if line else {}
        return report

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        """Log the child's standard error at debug level, and keep its last lines."""
        while block := await stream.read(65536):
            for line in block.decode(errors="replace").splitlines():
                self._last_lines.append(line)
                log.debug("embedded model: %s", line)

    async def _keep(self) -> None:
        """Restart the child whenever it ends."""
        clock = asyncio.get_running_loop().time
        failures = 0
        while True:
            began = clock()
            assert self._process is not None
            status = await self._process.wait()
            await self._end()  # after this, its last output has been read
            failures = 1 if clock() - began > STEADY else failures + 1
            log.error(
                "the embedded model ended unexpectedly (%s): %s", describe_status(status), self._last_words()
            )
            while not self.running:
                await asyncio.sleep(restart_delay(failures))
                try:
                    await self._spawn()
                except (ConfigurationError, OSError) as error:
                    failures += 1
                    log.error("%s; next try in %g s", error, restart_delay(failures))  # noqa: TRY400  # not a bug in everytoken
            log.warning("the embedded model is running again")

    def _last_words(self) -> str:
        return self._last_lines[-1] if self._last_lines else "no output on standard error"

    async def _end(self) -> None:
        """End the child if there is one, and wait until it has ended and its pipes are closed."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._reader is not None:
            await asyncio.wait([self._reader])
            self._reader = None


def restart_delay(failures: int) -> float:
    """Return the seconds to wait before the next start after this many failures in a row: 0, 1, 2, 4 … 30."""
    return 0.0 if failures <= 1 else min(MAX_DELAY, 2.0 ** (failures - 2))


def describe_status(status: int) -> str:
    """Describe how a process ended, given the result of `wait`."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def find_weights() -> Path:
    """Return the path of the weights' file, or raise `ConfigurationError`."""
    try:
        from everytoken_model_smollm2 import path  # noqa: PLC0415  # optional
    except ImportError:
        raise ConfigurationError(f"the embedded model's weights are not installed; {HOW}") from None
    if not path().is_file():
        raise ConfigurationError(f"the embedded model's weights are missing from their package; {HOW}")
    return path()


def check_runtime() -> None:
    """Raise `ConfigurationError` if llama.cpp is not installed; the parent does not load it."""
    if importlib.util.find_spec("xllamacpp") is not None:
        return
    if why := no_build():
        raise ConfigurationError(
            f"the embedded model does not run on {why}; name a model server with --upstream URL"
        )
    raise ConfigurationError(f"the embedded model's runtime, xllamacpp, is not installed; {HOW}")


def no_build() -> str | None:
    """Name this platform if the runtime is not built for it, otherwise return None."""
    machine = platform.machine().lower()
    if sys.platform == "linux" and platform.libc_ver()[0] != "glibc":
        return "a Linux without glibc (musl)"
    if sys.platform == "win32" and machine in {"arm64", "aarch64"}:
        return "Windows on ARM"
    if machine not in {"x86_64", "amd64", "arm64", "aarch64"}:
        return f"a {machine} processor"
    return None
