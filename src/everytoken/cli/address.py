"""The server to talk to, and its key: from options and the environment."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import click

__all__ = ["DEFAULT_URL", "api_key", "base_url", "base_url_option", "is_url", "with_v1"]

DEFAULT_URL = "http://127.0.0.1:8000/v1"

base_url_option = click.option(
    "--base-url",
    metavar="URL",
    help=f"An OpenAI-compatible server; /v1 is added if it has no path.  [default: EVERYTOKEN_BASE_URL, OPENAI_BASE_URL, or {DEFAULT_URL}]",
)


def api_key() -> str | None:
    """Return the key from the environment, if there is one."""
    key = os.environ.get("EVERYTOKEN_API_KEY") or os.environ.get("OPENAI_API_KEY") or ""
    return key.strip() or None


def base_url(option: str | None) -> str:
    """Return the URL before `/chat/completions`: from the option, the environment, or the default.

    Raises `click.UsageError` if it is not an HTTP URL.
    """
    environ = os.environ
    url = option or environ.get("EVERYTOKEN_BASE_URL") or environ.get("OPENAI_BASE_URL") or DEFAULT_URL
    if not is_url(url):
        raise click.UsageError(f"{url!r} is not an http:// or https:// URL")
    return with_v1(url)


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
