"""Build hook: compiles the short path (`src/everytoken/native/short_path.c`) where there is a C compiler.

Without one, or without Python's headers, everything works, and each chunk costs more. `EVERYTOKEN_NATIVE=0` says not to
try, which makes the wheel that fits every platform.
"""  # noqa: INP001  # a build hook is a file, not a package

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "everytoken/native"
SOURCE = f"src/{PACKAGE}/short_path.c"


class NativeHook(BuildHookInterface[Any]):
    """Puts the compiled module into the wheel, or beside its source for the editable form."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a wheel with the result is for this platform only."""
        name = f"_short_path{sysconfig.get_config_var('EXT_SUFFIX')}"
        editable = version == "editable"
        self._folder = None if editable else tempfile.TemporaryDirectory()
        built = Path(self._folder.name if self._folder else Path(self.root, "src", PACKAGE), name)
        built.unlink(missing_ok=True)
        if os.environ.get("EVERYTOKEN_NATIVE") == "0":
            return
        problem = compiled(Path(self.root, SOURCE), built)
        if problem is not None:
            self.app.display_warning(f"everytoken: built without its C part: {problem}")
        elif not editable:
            build_data["force_include"][str(built)] = f"{PACKAGE}/{name}"
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what is in the wheel now."""
        if self._folder is not None:
            self._folder.cleanup()


def compiled(source: Path, target: Path) -> str | None:
    """Compile `source` to `target`; return why that was not possible, or None."""
    shared = sysconfig.get_config_var("LDSHARED") or "cc -shared"
    flags = ["-O2", "-fPIC", "-fvisibility=hidden", "-g0", "-DNDEBUG", f"-I{sysconfig.get_path('include')}"]
    command = [*shlex.split(os.environ.get("CC", "")), *shlex.split(shared)[1:]]
    command = command if os.environ.get("CC") else shlex.split(shared)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        done = subprocess.run(  # noqa: S603  # the compiler that built this Python, or the user's own
            [*command, *flags, source.name, "-o", str(unfinished)],
            cwd=source.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return next((line for line in done.stderr.splitlines() if "error" in line), "the compiler failed")
        unfinished.replace(target)  # in one step: a process that has the old one keeps it
    except OSError as error:
        return str(error)
    finally:
        unfinished.unlink(missing_ok=True)
    return None
