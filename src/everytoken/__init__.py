"""Streamed LLM responses made dependable: every token, exactly once, in order, and never a wrong ending."""

from importlib import metadata

__all__ = ["__version__"]

__version__ = metadata.version("everytoken")
