"""The weights of SmolLM2-135M-Instruct, and where they lie."""

from __future__ import annotations

from pathlib import Path

__all__ = ["path"]


def path() -> Path:
    """Return the path of the GGUF file (Q4_1, 98 MB)."""
    return Path(__file__).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")
