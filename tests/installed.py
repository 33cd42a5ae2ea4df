"""The wheel as it would be published, in virtual environments of their own: nothing there comes from the checkout.

What it depends on is linked from the environment that runs the tests: exactly what the wheel declares, and what that
declares, so that something it uses and does not declare is missing. No package index is asked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
# What the acceptance tests need besides the wheel: the SDK, and what they are run with.
TEST_TOOLS = ("openai", "pytest", "pytest-asyncio", "pytest-timeout", "blockbuster", "hypothesis")


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the wheel in it."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    @property
    def program(self) -> Path:
        """The installed command."""
        return self.folder / "bin" / "everytoken"

    @property
    def site(self) -> Path:
        return Path(sysconfig.get_path("purelib", "venv", vars={"base": str(self.folder)}))

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this environment, away from the checkout and with nobody's settings."""
        passed_on = {
            name: os.environ[name] for name in ("HOME", "PATH", "XDG_DATA_HOME") if name in os.environ
        }
        program, *arguments = command
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=self.folder,
            env=passed_on | {"PYTHONIOENCODING": "utf-8"} | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )


def build(source: Path, folder: Path, *targets: str) -> list[Path]:
    """Build the distributions of `source` into `folder`, with the hatchling that is here."""
    wanted = [option for target in targets for option in ("-t", target)]
    command = [sys.executable, "-W", "error", "-m", "hatchling", "build", "-d", str(folder), *wanted]
    subprocess.run(command, cwd=source, capture_output=True, check=True)
    return sorted(folder.iterdir())


def install(wheel: Path, folder: Path, *requirements: str) -> Environment:
    """Make a virtual environment, let pip install the wheel there, and link what the `requirements` name."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    environment = Environment(folder)
    pip = [sys.executable, "-m", "pip", "--python", environment.python, "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", wheel], check=True)
    [ours] = Distribution.discover(name="everytoken", path=[str(environment.site)])
    for name in _closure(ours, requirements):
        _link(distribution(name), environment.site)
    return environment


def _closure(ours: Distribution, requirements: tuple[str, ...]) -> set[str]:
    """Return the names of all distributions that the requirements need, `ours` not among them."""
    left = [Requirement(requirement) for requirement in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while left:
        requirement = left.pop()
        wanted = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if wanted in seen:
            continue
        seen.add(wanted)
        found = ours if wanted[0] == "everytoken" else distribution(requirement.name)
        for told in found.requires or []:
            needed = Requirement(told)
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted[1])):
                left.append(needed)
    return {name for name, _ in seen} - {"everytoken"}


def _link(found: Distribution, site: Path) -> None:
    for entry in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
        link = site / entry
        if not link.exists():
            link.symlink_to(Path(str(found.locate_file(entry))))
