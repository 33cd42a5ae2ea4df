"""Programs of somebody else's clients, run against a URL: what they print while they run, and how they ended."""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from command_line import environment
from node_packages import BROWSER_TESTS, BROWSERS, built, install

ROOT = Path(__file__).parents[1]
APART = ROOT / "var" / "clients"  # what cannot stand next to what we need ourselves, or need not
FRAMEWORKS = ROOT / "var" / "frameworks"  # what wants a newer openai than we do
PROGRAMS = ROOT / "tests" / "programs"
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
LIMIT = 60.0  # seconds: some libraries take their time to be imported


@dataclass
class Run:
    """A program that runs, or has run."""

    printed: str = ""
    error: str | None = None  # what it died of
    code: str | None = None  # the code that this carried
    said: str = ""  # on standard error
    ended: bool = False
    _grown: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def text(self) -> str:
        """What it shows of the answer. curl prints all there is, and a command ends its line."""
        events = re.findall(r"^data: (.*)$", self.printed, re.MULTILINE)
        if not events:
            return self.printed.removesuffix("\n")
        chunks = [json.loads(data) for data in events if data != "[DONE]"]
        return "".join(
            f"[{chunk['error']['code']}]"
            if "error" in chunk
            else chunk["choices"][0]["delta"].get("content", "")
            for chunk in chunks
        )

    async def shows(self, text: str) -> bool:
        """Wait until it shows this; False if it ends without."""
        async with asyncio.timeout(LIMIT):
            while text not in self.text and not self.ended:
                self._grown.clear()
                await self._grown.wait()
        return text in self.text

    async def follow(self, output: asyncio.StreamReader) -> None:
        """Take what it prints, until it tells how it ended (tests/programs), or has ended."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        outcome = ""
        while not outcome.endswith("\n") and (piece := await output.read(1 << 16)):
            outcome += decoder.decode(piece)
            if not outcome.startswith("\x1e"):
                shown, separator, rest = outcome.partition("\x1e")
                self.printed += shown
                outcome = separator + rest
                self._grown.set()
        if outcome:
            self.error, self.code = json.loads(outcome[1:])

    def end(self) -> None:
        self.ended = True
        self._grown.set()


async def process(run: Run, code: str, *command: str, cwd: Path = ROOT, **environ: str) -> None:
    """Give a program to a process of its own, on its standard input."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=environment(**{"PATH": PATH, **environ}), stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        child.stdin.write(code.encode())
        child.stdin.close()
        _, said = await asyncio.gather(run.follow(child.stdout), child.stderr.read())
        await child.wait()
    except BaseException:
        child.kill()
        await child.wait()
        raise
    run.said = said.decode()
    if child.returncode and run.error is None:
        run.error = f"exit status {child.returncode}"


class Interpreter:
    """A Python that runs one program after the other."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        self._process = subprocess.Popen(
            [python, PROGRAMS / "run.py"],
            env=environment(PYTHONPATH=str(ROOT / "src"), LITELLM_LOCAL_MODEL_COST_MAP="True"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )

    async def run(self, run: Run, code: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        output = asyncio.StreamReader()
        reading, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output),
            os.fdopen(os.dup(self._process.stdout.fileno()), "rb", 0),
        )
        before = self._said.seek(0, os.SEEK_END)
        try:
            self._process.stdin.write(json.dumps(code).encode() + b"\n")
            self._process.stdin.flush()
            await run.follow(output)
        except BaseException:
            _interpreters.pop(self._python, None)  # it is in the middle of something
            self.stop()
            raise
        finally:
            reading.close()
        self._said.seek(before)
        run.said = self._said.read().decode()

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()


_interpreters: dict[str, Interpreter] = {}


def interpreter(python: str) -> Interpreter:
    """Return the one interpreter that runs programs for everybody; started when it is needed."""
    if python not in _interpreters:
        _interpreters[python] = Interpreter(python)
    return _interpreters[python]


def stop_interpreters() -> None:
    for each in list(_interpreters.values()):
        each.stop()
    _interpreters.clear()


class Way(Protocol):
    """A way to run programs."""

    def ready(self) -> None:
        """Set up what it needs, or skip the test."""

    async def run(self, run: Run, code: str, url: str) -> None:
        """Run a program to its end; `url` is the gateway's."""


class Python:
    """In an interpreter that has imported what it needs: ours, or that of a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def ready(self) -> None:
        if self._folder is not None and not (self._folder / ".installed").exists():
            pytest.skip(f"not installed: make var/{self._folder.name}/.installed")

    async def run(self, run: Run, code: str, url: str) -> None:
        python = sys.executable if self._folder is None else str(self._folder / "bin" / "python")
        await interpreter(python).run(run, code)


class Shell:
    """Lines of a shell. `files` are in the folder of the `llm` command."""

    def __init__(self, command: str, **files: str) -> None:
        self._command = command
        self._files = files

    def ready(self) -> None:
        if not shutil.which(self._command, path=PATH):
            pytest.skip(f"{self._command} is not installed")

    async def run(self, run: Run, code: str, url: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in self._files.items():
                (Path(folder) / f"{name}.yaml").write_text(text.replace("URL", url), encoding="utf-8")
            await process(run, code, "sh", LLM_USER_PATH=folder)


class Node:
    """A program that finds the packages of a folder; or one of the folder's own, which is given it."""

    def __init__(self, folder: Path, program: str = "", **environ: str) -> None:
        self._folder = folder
        self._program = program
        self._environ = environ

    def ready(self) -> None:
        if not shutil.which("node"):
            pytest.skip("node is not installed")
        if self._folder == BROWSER_TESTS and not any(path and Path(path).exists() for path in BROWSERS):
            pytest.skip("no Chromium or Chrome found: set CHROMIUM to its path")
        (built if self._folder.name == "js" else install)(self._folder)

    async def run(self, run: Run, code: str, url: str) -> None:
        tell = (PROGRAMS / "tell.mjs").as_uri()
        what = self._program or "--input-type=module"
        environ = {"GATEWAY": url, **self._environ}
        await process(run, code, "node", "--import", tell, what, cwd=self._folder, **environ)
