"""The values of labels: as many as there may be, though callers choose the names of models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from everytoken.errors import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["MAX_MODELS", "NONE", "OTHER", "ModelLabels", "code_label"]

MAX_MODELS: Final = 100
OTHER: Final = "other"
NONE: Final = "none"

_MAX_NAME: Final = 200  # characters


class ModelLabels:
    """Labels for models: those of the configuration and those that have completed a response, up to `most`.

    Any other model is `other`, and so are names of over 200 characters. `redact` takes secrets out of a name that a caller
    has chosen.
    """

    def __init__(self, redact: Callable[[str], str] = str, most: int = MAX_MODELS) -> None:
        self._redact = redact
        self._most = most
        self._labels: dict[str, str] = {}

    def configure(self, names: Iterable[str]) -> None:
        """Let the models of a configuration count as themselves, as long as there is room."""
        for name in names:
            self.completed(name)

    def completed(self, model: str) -> str:
        """Return the label of a model that has completed a response; from now on it counts as itself if there is room."""
        label = self._labels.get(model)
        if label is None:
            if not model or len(model) > _MAX_NAME or len(self._labels) >= self._most:
                return OTHER
            label = self._labels[model] = self._redact(model)
        return label

    def label(self, model: str) -> str:
        """Return the label of a model."""
        return self._labels.get(model, OTHER)


def code_label(code: str | None) -> str:
    """Return the label of an error's code: one of the table, `none` without an error."""
    if code is None:
        return NONE
    return code if code in TABLE else OTHER
