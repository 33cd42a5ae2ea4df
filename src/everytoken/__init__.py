"""Streamed LLM responses made dependable: every token, exactly once, in order, and never a wrong ending."""

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    # Reading a distribution's metadata takes longer than importing the rest; few ask for it.
    if name == "__version__":
        from importlib import metadata  # noqa: PLC0415

        return metadata.version("everytoken")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
