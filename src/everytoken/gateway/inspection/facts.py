"""`GET /admin/health`: what a gateway knows of itself, its journal and the machine. Facts only: others judge them."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from everytoken.errors import JournalError
from everytoken.gateway.follow import KEEP_ALIVE
from everytoken.gateway.probing import VERSION
from everytoken.gateway.targets import offered

if TYPE_CHECKING:
    from everytoken.gateway.config import Config, UpstreamConfig
    from everytoken.gateway.services import Services

__all__ = ["health"]

_PATIENCE: Final = 2.0  # seconds in which the journal and the disk have to answer


async def health(gateway: Services) -> dict[str, Any]:
    """Return the facts."""
    config = gateway.config
    _, ready = await gateway.health.ready(fully=True)
    journal, disk = await asyncio.gather(_journal(gateway), _disk(gateway))
    return {
        "everytoken": VERSION,
        "at": time.time(),
        "ready": ready,
        "journal": journal,
        "disk": disk,
        "descriptors": await asyncio.to_thread(_descriptors, config),
        "upstreams": [_upstream(one) for one in config.upstream],
        "settings": {
            "keep_alive": KEEP_ALIVE,
            "max_body": config.max_body,
            "max_duration": config.max_duration,
            "default_model": config.default_model,
            "hosts": config.hosts,
        },
    }


async def _journal(gateway: Services) -> dict[str, Any]:
    journal = gateway.journal
    told: dict[str, Any] = {
        "kind": type(journal).__name__.removesuffix("Journal").lower(),
        "durable": journal.durable,
        "durability": gateway.config.durability,
        "retention": gateway.config.retention,
    }
    look = getattr(journal, "settings", None)
    if look is None:
        return told
    try:
        async with asyncio.timeout(_PATIENCE):
            told["settings"] = await look()
    except TimeoutError:
        told["problem"] = "the journal does not answer"
    except JournalError as error:
        told["problem"] = error.message
    return told


async def _disk(gateway: Services) -> dict[str, Any] | None:
    directory = getattr(gateway.journal, "directory", None)
    if directory is None:
        return None
    told: dict[str, Any] = {"directory": str(directory), "max_journal": gateway.config.max_journal}
    looking = asyncio.ensure_future(asyncio.to_thread(shutil.disk_usage, directory))
    done, _ = await asyncio.wait([looking], timeout=_PATIENCE)
    if not done:
        looking.add_done_callback(lambda one: one.cancelled() or one.exception())
        return {**told, "problem": "the disk does not answer"}
    try:
        usage = looking.result()
    except OSError as error:
        return {**told, "problem": f"the disk cannot be looked at: {error.strerror}"}
    return {**told, "free": usage.free, "total": usage.total}


def _descriptors(config: Config) -> dict[str, Any] | None:
    try:
        import resource  # noqa: PLC0415  # there is none for Windows
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told: dict[str, Any] = {"soft": soft, "hard": hard, "max_connections": config.max_connections}
    with suppress(OSError):  # Linux only
        told["open"] = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # only how many
    return told


def _upstream(upstream: UpstreamConfig) -> dict[str, Any]:
    apis = offered(upstream)
    return {
        "name": upstream.name,
        "server": server_of(upstream.url),
        "apis": None if apis is None else list(apis),
        "models": list(upstream.names),
        "has_key": bool(upstream.key or upstream.key_env),
    }


def server_of(url: str) -> str:
    """Return a URL without anything that may be a secret."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return ""
    return f"{parts.scheme}://{host}{parts.path}" if host else f"{parts.scheme}:"
