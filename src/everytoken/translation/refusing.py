"""What an API cannot say is an error that names it, never a gap that nobody sees."""

from __future__ import annotations

from everytoken.errors import UntranslatableError

__all__ = ["untranslatable"]


def untranslatable(field: str, api: str = "") -> UntranslatableError:
    """Return the error for a field of an upstream's answer that `api` has no word for; without `api`: no other has."""
    target = f"the API {api!r}" if api else "another API"
    return UntranslatableError(f"the answer has {field!r}, which {target} cannot express", param=field)
