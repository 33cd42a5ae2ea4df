"""What is wrong with a configuration: one thing with its place, and all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from everytoken.gateway.toml import Path, Place

__all__ = ["Found", "Problem", "shown_path"]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong. `setting`: such as `upstream[0].url`.

    `line` and `column` are those of `file`, from 1; None: it is not in a file. `variable`: the variable of the
    environment, or the option, that says it. `suggestion`: what was meant, or what to do; "" if nobody knows.
    """

    level: Literal["error", "warning"]
    message: str
    setting: str = ""
    file: str = ""
    line: int | None = None
    column: int | None = None
    variable: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        """Return it as one line, as compilers write them."""
        place = self.variable or self.file
        if not self.variable and self.line is not None:
            place += f":{self.line}:{self.column}" if self.column is not None else f":{self.line}"
        text = f"{place}: " if place else ""
        text += "" if self.level == "error" else "warning: "
        return f"{text}{self.message}{f'; {self.suggestion}' if self.suggestion else ''}"


class Found:
    """What was found, with the places of a file's settings and the variables that are laid over them."""

    def __init__(self, file: str, where: dict[Path, Place]) -> None:
        self.problems: list[Problem] = []
        self.file = file
        self.places = where
        self.variables: dict[Path, str] = {}

    @property
    def errors(self) -> list[Problem]:
        """Those for which the gateway does not start."""
        return [problem for problem in self.problems if problem.level == "error"]

    @property
    def warnings(self) -> list[Problem]:
        """Those with which it does."""
        return [problem for problem in self.problems if problem.level == "warning"]

    def error(self, path: Path, message: str, suggestion: str = "") -> None:
        """Note what the gateway does not start with."""
        self._note("error", path, message, suggestion)

    def warning(self, path: Path, message: str, suggestion: str = "") -> None:
        """Note what is probably not meant."""
        self._note("warning", path, message, suggestion)

    def has_errors(self, path: Path) -> bool:
        """Whether there is an error at a setting, or in it."""
        setting = shown_path(path)
        return any(
            one.setting == setting or one.setting.startswith((f"{setting}.", f"{setting}["))
            for one in self.errors
        )

    def _note(self, level: Literal["error", "warning"], path: Path, message: str, suggestion: str) -> None:
        setting = shown_path(path)
        variable, place = "", None
        for length in range(len(path), 0, -1):
            part = path[:length]
            if (variable := self.variables.get(part, "")) or (place := self.places.get(part)) is not None:
                break
        values: dict[str, Any] = {"setting": setting, "message": message, "suggestion": suggestion}
        if variable:
            values["variable"] = variable
        elif self.file:
            values["file"] = self.file
            if place is not None:
                values["line"], values["column"] = place
        problem = Problem(level=level, **values)
        if problem not in self.problems:
            self.problems.append(problem)


def shown_path(path: Path) -> str:
    """Return a path as it is shown: `upstream[0].url`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
