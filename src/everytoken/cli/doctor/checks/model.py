"""Whether the model that callers are to use is served."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from everytoken.cli.doctor.advice import setting
from everytoken.cli.doctor.findings import Change, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.cli.doctor.measured import Measured

__all__ = ["model"]


def model(measured: Measured) -> Iterator[Finding]:
    """Say that a model is not served, and which ones are."""
    if measured.models_problem and not measured.upstreams and not measured.was_late(measured.models_status):
        yield Finding(
            "no-models",
            "error",
            f"The gateway cannot list its models: {measured.models_problem}.",
            "No upstream answers what it serves.",
            setting(
                '[[upstream]]  # its url and its key; "everytoken doctor --admin-key" says which is wrong'
            ),
        )
    wanted, served = measured.model, measured.models
    if not wanted or not served or wanted in served:
        return
    near = difflib.get_close_matches(wanted, served, 1)
    some = ", ".join(served[:8]) + (", …" if len(served) > 8 else "")
    change = setting(f'models = ["{wanted}"]  # in the [[upstream]] that has it')
    if near:
        change = (Change("the caller", f'"model": "{near[0]}"'), *change)
    yield Finding(
        "model-not-served",
        "error",
        f"The model {wanted!r} is not served.",
        "Calls for it are refused.",
        change,
        f"served are: {some}",
    )
