# ruff: noqa: INP001, S603, T201  # a program, not a package; it runs the programs that it names
"""Build everything that is published, look at it, and run the guide's programs with it where nothing else is: `make dist`.

Two Python distributions (everytoken and its embedded model's weights), each as a wheel and as a source distribution, and the
npm tarball. They come into dist/. twine, publint and attw check them. Then each is installed into an environment of its own:
what it depends on comes from lock files, with hashes, and nothing comes from this repository. There the gateway is
started from the installed wheel, in front of a scripted model server, and the guide's programs stream an answer through it;
once more on the embedded model; and from the source distributions. Last, the program is installed from the repository itself, as
a tool.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
TOOLS = ROOT / "tools" / "dist"
PROGRAMS = ROOT / "var" / "dist" / "bin"
EXAMPLES = ROOT / "examples"
NPM = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
ANSWER = 'import { stream } from "everytoken"; if (typeof stream !== "function") process.exit(1);'
WORDS = "Every token arrives, exactly once: caf\N{LATIN SMALL LETTER E WITH ACUTE}, \N{WAVING HAND SIGN}, and no more."


def say(what: str) -> None:
    """Say what is done next."""
    print(f"dist: {what}", flush=True)


def run(*command: str | Path, cwd: Path = ROOT, **environ: str) -> str:
    """Run a program and return what it has written; end with its output if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        encoding="utf-8",
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\ndist: this has failed: {' '.join(map(str, command))}")
    return done.stdout


def build() -> None:
    """Build everything anew into dist/, out of what git has and nothing that lies beside it."""
    shutil.rmtree(DIST, ignore_errors=True)
    say("building the wheels and source distributions")
    for source in (ROOT, ROOT / "weights"):
        run(sys.executable, "-m", "hatchling", "build", "-d", DIST, cwd=source)
    # And the wheel that fits every platform, without the part in C.
    run(sys.executable, "-m", "hatchling", "build", "-d", DIST, "-t", "wheel", EVERYTOKEN_NATIVE="0")
    say("building the npm package")
    if not (ROOT / "js" / "node_modules").exists():
        run("npm", "ci", *NPM, cwd=ROOT / "js")
    run("npm", "run", "build", cwd=ROOT / "js")
    run("npm", "pack", "--ignore-scripts", "--pack-destination", DIST, cwd=ROOT / "js")


def check() -> None:
    """Let the tools of the two registries look at what is there."""
    say("checking with twine")
    print(
        run(
            PROGRAMS / "twine",
            "check",
            "--strict",
            *sorted(DIST.glob("*.whl")),
            *sorted(DIST.glob("*.tar.gz")),
        ),
        end="",
    )
    [tarball] = DIST.glob("*.tgz")
    say("checking with publint")
    print(run("npx", "--no", "--", "publint", "run", "--strict", tarball, cwd=TOOLS), end="")
    say("checking with attw")  # the package has ES modules only, as its page says
    run("npx", "--no", "--", "attw", tarball, "--profile", "esm-only", "--no-color", cwd=TOOLS)


class Place:
    """A virtual environment away from the repository, with what the lock file says and nothing of ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, symlinks=True)
        self.pip("--require-hashes", "-r", ROOT / "requirements" / "guide.txt")

    def pip(self, *arguments: str | Path) -> None:
        """Let pip install something here."""
        pip = (sys.executable, "-m", "pip", "--python", self.program("python"), "--disable-pip-version-check")
        run(*pip, "install", "--quiet", "--no-compile", *arguments)

    def program(self, name: str) -> Path:
        """Return one of its programs."""
        return self.folder / "bin" / name

    def run(self, name: str, *arguments: str | Path, **environ: str) -> str:
        """Run one of its programs away from the repository."""
        return run(self.program(name), *arguments, cwd=self.folder, PYTHONIOENCODING="utf-8", **environ)

    @contextlib.contextmanager
    def server(self, *arguments: str | Path) -> Iterator[str]:
        """Run `everytoken` with these arguments; gives the URL that it prints."""
        log = self.folder / "server.log"
        command = [str(self.program("everytoken")), *map(str, arguments)]
        with (
            log.open("wb") as errors,
            subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=errors) as process,
        ):
            try:
                assert process.stdout is not None
                line = process.stdout.readline().decode()
                found = re.search(r"http://127\.0\.0\.1:\d+(?:/v1)?", line)
                if found is None:
                    sys.exit(f"{log.read_text(encoding='utf-8')}\ndist: no URL: {' '.join(command)}")
                yield found[0]
            finally:
                process.terminate()


def expect(what: str, found: str, wanted: str) -> None:
    """End if a program has not printed what it should."""
    if found.strip() != wanted:
        sys.exit(f"dist: {what} printed {found!r} instead of {wanted!r}")
    say(f"{what}: as it should be")


def guide(place: Place, what: str, node: Path | None = None) -> None:
    """Run the guide's programs against the gateway of a place, in front of a scripted model server that breaks once."""
    text = place.folder / "words.txt"
    text.write_text(WORDS, encoding="utf-8")
    scripted = ("fake-upstream", "--text", text, "--delay", "0", "--fault", "reset", "--times", "1")
    with (
        place.server(*scripted) as upstream,
        place.server("serve", "--port", "0", "--upstream", upstream, "--journal", "memory") as url,
    ):
        base = f"{url}/v1"
        for name in ("python_sync.py", "python_async.py"):
            shutil.copy(EXAMPLES / name, place.folder)
            said = place.run("python", "-I", place.folder / name, OPENAI_BASE_URL=base)
            expect(f"{what}, {name}", said, WORDS)
        if node is not None:
            shutil.copy(EXAMPLES / "node.mjs", node)
            expect(f"{what}, node.mjs", run("node", "node.mjs", cwd=node, OPENAI_BASE_URL=base), WORDS)


def try_everything(folder: Path) -> None:
    """Install each thing in a clean place, and run the guide's programs there."""
    *_, ours = sorted(
        DIST.glob("everytoken-*.whl"), key=lambda wheel: wheel.name.endswith("-any.whl"), reverse=True
    )
    weights = next(DIST.glob("everytoken_model_smollm2-*.whl"))
    [tarball] = DIST.glob("*.tgz")
    say("installing the tarball into a folder of its own")
    node = folder / "node"
    node.mkdir()
    (node / "package.json").write_text('{"private": true, "type": "module"}', encoding="utf-8")
    sdk = json.loads((TOOLS / "package.json").read_text(encoding="utf-8"))["dependencies"]["openai"]
    run("npm", "install", *NPM, tarball, f"openai@{sdk}", cwd=node)
    run("node", "--input-type=module", "-e", ANSWER, cwd=node)

    say("installing the wheels into a virtual environment of their own")
    wheels = Place(folder / "wheels")
    wheels.pip("--no-index", "--no-deps", ours, weights)
    run(sys.executable, "-m", "pip", "--python", wheels.program("python"), "check")
    guide(wheels, "the wheel", node)
    with wheels.server("serve", "--port", "0", "--journal", "memory") as url:
        asked = ("chat", "--max-tokens", "8", "Say hello.")
        said = wheels.run("everytoken", *asked, EVERYTOKEN_BASE_URL=f"{url}/v1")
        if not said.strip():
            sys.exit("dist: the embedded model has said nothing")
    say("the weights: the embedded model answers")

    say("installing the source distributions into another")
    sources = Place(folder / "sources")
    for source in sorted(DIST.glob("*.tar.gz")):  # that of the weights fetches them, and checks their hash
        sources.pip("--no-deps", "--no-build-isolation", source)
    guide(sources, "the source distribution")


def try_tools(folder: Path) -> None:
    """Install the program from the repository as a tool, as README says: with uv and with pipx."""
    for name in ("uv", "pipx"):
        say(f"installing from the repository with {name}")
        home, programs = folder / name, folder / name / "bin"
        places = {
            "UV_TOOL_DIR": home / "tools",
            "UV_TOOL_BIN_DIR": programs,
            "PIPX_HOME": home / "tools",
            "PIPX_BIN_DIR": programs,
        }
        command = ("uv", "tool", "install", "--quiet") if name == "uv" else ("pipx", "install", "--quiet")
        environ = {variable: str(place) for variable, place in places.items()}
        run(PROGRAMS / command[0], *command[1:], ROOT, **environ)
        said = run(programs / "everytoken", "--version", cwd=folder)
        expect(
            f"everytoken, installed with {name}", said.splitlines()[-1], f"everytoken, version {version()}"
        )


def version() -> str:
    """Return the version that is published."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def main() -> None:
    """Do all of it, or what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only-try", action="store_true", help="take what is in dist/ already")
    options = parser.parse_args()
    if not options.only_try:
        build()
        check()
    with tempfile.TemporaryDirectory(prefix="everytoken-dist-") as folder:
        try_everything(Path(folder))
        try_tools(Path(folder))
    for path in sorted(DIST.iterdir()):
        say(f"{path.relative_to(ROOT)}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
