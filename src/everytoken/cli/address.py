"""The server to talk to, its key and the model: from options, the environment and the user's configuration."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import click

from everytoken.cli.profile import profile

__all__ = [
    "DEFAULT_URL",
    "GATEWAY_DEFAULTS",
    "api_key",
    "base_url",
    "base_url_option",
    "gateway_url",
    "is_url",
    "model_name",
    "with_v1",
]

DEFAULT_URL = "http://127.0.0.1:8000/v1"
# For the help of commands that ask a gateway.
GATEWAY_DEFAULTS = "EVERYTOKEN_BASE_URL, base_url of your config.toml, or http://127.0.0.1:8000"

base_url_option = click.option(
    "--base-url",
    metavar="URL",
    help=f"An OpenAI-compatible server; /v1 is added if it has no path.  [default: EVERYTOKEN_BASE_URL, OPENAI_BASE_URL, base_url of your config.toml, or {DEFAULT_URL}]",
)


def api_key(url: str = "") -> str | None:
    """Return the key for the server at `url`, if there is one. Raises `ConfigurationError`.

    A key that stands in the configuration beside a `base_url` goes to that server only, and to it rather than a key
    that the environment has for OpenAI.
    """
    key = os.environ.get("EVERYTOKEN_API_KEY", "").strip()
    if not key:
        ours = profile()
        its_own = bool(ours.base_url) and _origin(url) == _origin(ours.base_url)
        general = os.environ.get("OPENAI_API_KEY", "").strip()
        if ours.api_key and (its_own or not (ours.base_url or general)):
            key = ours.api_key.strip()
        else:
            key = general
    return key or None


def model_name(option: str | None) -> str | None:
    """Return the model to ask, None for the first one that the server lists. Raises `ConfigurationError`."""
    return option or os.environ.get("EVERYTOKEN_MODEL", "").strip() or profile().model or None


def base_url(option: str | None) -> str:
    """Return the URL before `/chat/completions`: from the option, the environment, the configuration, or the default.

    Raises `click.UsageError` if it is not an HTTP URL, `ConfigurationError` if the configuration cannot be read.
    """
    environ = os.environ
    url = option or environ.get("EVERYTOKEN_BASE_URL") or environ.get("OPENAI_BASE_URL")
    url = url or profile().base_url or DEFAULT_URL
    if not is_url(url):
        raise click.UsageError(f"{url!r} is not an http:// or https:// URL")
    return with_v1(url)


def gateway_url(given: str | None) -> str:
    """Return the URL of a gateway, without `/v1` and without a password.

    It comes from the same places as `base_url()`, except `OPENAI_BASE_URL`, which need not be a gateway. Raises what
    `base_url()` raises.
    """
    url = given or os.environ.get("EVERYTOKEN_BASE_URL") or profile().base_url or DEFAULT_URL
    if not is_url(url):
        raise click.UsageError(f"{url!r} is not an http:// or https:// URL")
    parts = urlsplit(url)
    server = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{server}{parts.path.rstrip('/').removesuffix('/v1')}"


def with_v1(url: str) -> str:
    """Return an HTTP URL with `/v1` if it has no path; any other text as it is."""
    if not is_url(url):
        return url
    parts = urlsplit(url)
    return parts._replace(path="/v1").geturl() if parts.path.strip("/") == "" else url


def is_url(text: str) -> bool:
    """Whether `text` is an HTTP URL of a server."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Return scheme, host and port; None for what is no URL."""
    if not is_url(url):
        return None
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
