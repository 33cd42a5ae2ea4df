"""Streamed LLM responses made dependable: every token, exactly once, in order, and never a wrong ending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everytoken.client.aio import AsyncClient
    from everytoken.client.sync import Client
    from everytoken.client.upstream import Upstream
    from everytoken.client.words import words
    from everytoken.errors import EverytokenError
    from everytoken.recovery import Policy
    from everytoken.showing import show

    __version__: str

__all__ = ["AsyncClient", "Client", "EverytokenError", "Policy", "Upstream", "__version__", "show", "words"]

# Each program needs some of it only, and none should wait for the rest.
_MODULES = {
    "AsyncClient": "everytoken.client.aio",
    "Client": "everytoken.client.sync",
    "EverytokenError": "everytoken.errors",
    "Policy": "everytoken.recovery",
    "Upstream": "everytoken.client.upstream",
    "show": "everytoken.showing",
    "words": "everytoken.client.words",
}


def __getattr__(name: str) -> Any:
    value: Any
    if name == "__version__":
        from importlib import metadata  # noqa: PLC0415

        value = metadata.version("everytoken")
    elif name in _MODULES:
        from importlib import import_module  # noqa: PLC0415

        value = getattr(import_module(_MODULES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
