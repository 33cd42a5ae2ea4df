"""Everything that can go wrong with a streamed answer, by name.

`FAULTS` is the whole list; tests that must cover all of them are generated from it.
"""

from __future__ import annotations

from everytoken.testing import broken, healthy, statuses
from everytoken.testing.fault import Fault

__all__ = ["FAULTS", "find_fault"]

FAULTS: dict[str, Fault] = {fault.name: fault for group in (broken, statuses, healthy) for fault in group.ALL}
"""Every fault by its name."""


def find_fault(fault: Fault | str) -> Fault:
    """Return the fault of this name. Raises `ValueError` if there is none."""
    if isinstance(fault, Fault):
        return fault
    try:
        return FAULTS[fault]
    except KeyError:
        raise ValueError(f"unknown fault {fault!r}; known are {', '.join(FAULTS)}") from None
