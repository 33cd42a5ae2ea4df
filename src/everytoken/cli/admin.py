"""The gateway's administration, as commands ask it: its address, the admin key, and one request."""

from __future__ import annotations

import json
import os
import secrets
import stat
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import platformdirs

from everytoken.cli.address import GATEWAY_DEFAULTS, gateway_url
from everytoken.errors import EverytokenError
from everytoken.gateway.config import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Admin", "admin_key", "admin_key_file", "admin_options", "own_admin_key"]

_PATIENCE = 30.0  # seconds
_MAX_ANSWER = 256 * 1024 * 1024  # bytes


def admin_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that tell which gateway is meant."""
    for option in (
        click.option(
            "--admin-key",
            metavar="KEY",
            help="An admin key.  [default: EVERYTOKEN_ADMIN_KEY, or, on this machine, the one that this user's gateway made for itself]",
        ),
        click.option("--url", metavar="URL", help=f"The gateway.  [default: {GATEWAY_DEFAULTS}]"),
    ):
        command = option(command)
    return command


def admin_key_file() -> Path:
    """Return where a gateway keeps the admin key that it has made for itself."""
    return platformdirs.user_data_path("everytoken") / "admin-key"


def admin_key(given: str | None, base: str) -> str:
    """Return the admin key for the gateway at `base`: what is given, or the environment's, or this user's; else "".

    The key that this user's gateway has made for itself is sent to no other machine.
    """
    key = given or os.environ.get("EVERYTOKEN_ADMIN_KEY") or ""
    if not key.strip() and is_loopback(urlsplit(base).hostname or ""):
        try:
            key = admin_key_file().read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return ""
    return key.strip()


def own_admin_key() -> str:
    """Return the admin key of this user's gateways; it is made by the first that has none. Raises `EverytokenError`."""
    path = admin_key_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        key = _read(path) or _made(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise EverytokenError(f"the admin key cannot be kept in {path}: {reason}") from error
    return key


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def _made(path: Path) -> str:
    """Make a key and keep it, or return the one that another gateway has made meanwhile."""
    key = f"sk-et-admin-{secrets.token_urlsafe(32)}"
    # Under another name first: nobody may find the file without the key in it.
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{key}\n")
        try:
            os.link(new, path)
        except OSError:  # it is there; or the file system has no links
            if found := _read(path):
                return found
            new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return key


class Admin:
    """A gateway's administration. Raises `click.UsageError` without a URL or key that can be used."""

    def __init__(self, url: str | None, key: str | None) -> None:
        self._base = gateway_url(url)
        self._key = admin_key(key, self._base)
        if not self._key:
            raise click.UsageError("an admin key is needed: pass --admin-key, or set EVERYTOKEN_ADMIN_KEY")

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer. Raises `EverytokenError` with what the gateway says, or that it cannot be reached."""
        request = urllib.request.Request(  # noqa: S310  # it is http or https
            f"{self._base}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
            method=method,
        )
        # An admin key goes to the gateway and to nobody in between.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_PATIENCE) as answer:
                return json.loads(answer.read(_MAX_ANSWER))
        except urllib.error.HTTPError as error:
            raise EverytokenError(f"{_said(error)} ({self._base})") from error
        except urllib.error.URLError as error:
            raise EverytokenError(f"there is no gateway at {self._base}: {error.reason}") from error
        except (OSError, ValueError) as error:
            raise EverytokenError(f"the gateway at {self._base} did not answer: {error}") from error


def _said(error: urllib.error.HTTPError) -> str:
    try:
        told = json.loads(error.read(64 * 1024))["error"]["message"]
    except (OSError, ValueError, LookupError, TypeError):
        return f"the gateway answered with {error.code}"
    return str(told)
