"""What `everytoken serve` says when it is ready: how to use it, in lines that can be copied."""

from __future__ import annotations

import shlex
import shutil
import sys
import sysconfig
from pathlib import Path
from urllib.parse import urlsplit

import click

from everytoken.cli.address import base_url
from everytoken.errors import EverytokenError

__all__ = ["program", "welcome"]

_NAME = "everytoken"
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what listens everywhere is reached here
_QUESTION = "Explain transformers"


def welcome(url: str, *, needs_key: bool) -> str:
    """Return how to use the gateway at `url`, from this machine; `needs_key`: only with an API key."""
    here, everytoken = _from_here(url), program()
    key = "YOUR_KEY" if needs_key else "unused"
    chat = f"EVERYTOKEN_API_KEY={key} {everytoken} chat" if needs_key else f"{everytoken} chat"
    if f"{here}/v1" != _usual_url():
        chat += f" --base-url {here}/v1"
    rows = (
        ("a browser", here),
        ("another terminal", f'{chat} "{_QUESTION}"'),
        ("OpenAI's SDKs", f'base_url="{here}/v1", api_key="{key}"'),
        ("Anthropic's SDKs", f'base_url="{here}", api_key="{key}"'),
        ("a look at a kill", f"{everytoken} demo"),
    )
    lines = [f"  {name:<18}{what}" for name, what in rows]
    return "\n".join(["Use it from", *lines, "Ctrl-C stops it."])


def program() -> str:
    """Return what starts this program in any shell: its name if that is found there, otherwise its path."""
    started = Path(sys.argv[0])
    own = started if started.stem == _NAME else Path(sysconfig.get_path("scripts")) / _NAME
    found = shutil.which(_NAME)
    # An activated environment is on the path of this shell only.
    if found is not None and Path(found).parent != Path(sys.prefix) / "bin" and _is_same(Path(found), own):
        return _NAME
    return shlex.quote(str(own.absolute()))


def _usual_url() -> str:
    """Return the server that `everytoken chat` asks if nobody says another one, "" if that cannot be said."""
    try:
        return base_url(None)
    except (click.UsageError, EverytokenError):
        return ""


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _from_here(url: str) -> str:
    parts = urlsplit(url)
    host = _ANY.get(parts.hostname or "", parts.hostname or "")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{parts.port}"
