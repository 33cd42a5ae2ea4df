"""What a configuration refers to: keys, files, upstreams, a journal, packages; whether it is there and fits together."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec
import platformdirs

from everytoken.errors import ConfigurationError
from everytoken.gateway.checking.certificates import days_left
from everytoken.gateway.checking.words import nearest
from everytoken.gateway.config import policy_of, with_key
from everytoken.gateway.exposure import is_loopback, open_problems, plain_text_keys
from everytoken.gateway.making import configured_dialect, configured_upstream
from everytoken.gateway.tls import tls_context
from everytoken.journal.urls import check_url
from everytoken.plugins import load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from everytoken.gateway.checking.problem import Found
    from everytoken.gateway.config import Config, UpstreamConfig
    from everytoken.gateway.toml import Path as Keys

__all__ = ["check_around"]

_SOON: Final = 14  # days before a certificate expires from which on it is said


def check_around(found: Found, config: Config, numbers: list[int], environ: Mapping[str, str]) -> None:
    """Check what the settings refer to. `numbers`: the places of `config.upstream` in the file's list."""
    _check_access(found, config)
    _check_tls(found, config)
    _check_journal(found, config)
    for number, name in enumerate(config.observers):
        _try(found, ("observers", number), partial(_check_observer, name))
    for number, name in enumerate(config.dialects):
        _try(found, ("dialects", number), partial(configured_dialect, name))
    pairs = list(zip(numbers, config.upstream, strict=True))
    _check_names(found, pairs)
    for number, upstream in pairs:
        _check_upstream(found, number, upstream, config, environ)
    if not found.has_errors(("upstream",)):
        _check_together(found, pairs, config)


def _try(found: Found, path: Keys, make: Callable[[], object]) -> bool:
    try:
        make()
    except ConfigurationError as error:
        found.error(path, error.message)
        return False
    return True


def _check_observer(name: str) -> None:
    """Look for an observer without making it: it might begin to send."""
    if load("everytoken.observers", name) is None:
        raise ConfigurationError(f"observers: no installed package adds an observer called {name!r}")


def _check_access(found: Found, config: Config) -> None:
    for setting, message in open_problems(config, loopback=is_loopback(config.host)):
        name, _, number = setting.partition(".")
        path = (name, int(number)) if number else (name,)
        if not any(
            found.has_errors((one,)) for one in ("api_keys", "require_key", "no_auth") if name == "host"
        ):
            found.error(path, message)


def _check_tls(found: Found, config: Config) -> None:
    if found.has_errors(("tls_cert",)) or found.has_errors(("tls_key",)):
        return
    both = bool(config.tls_cert and config.tls_key)
    path = ("tls_cert",) if config.tls_cert else ("tls_key",)
    for name in ("tls_cert", "tls_key"):
        file = getattr(config, name)
        if file and not Path(file).is_file():
            found.error((name,), f"{name}: there is no file {file}")
            both = False
    if not both:
        if bool(config.tls_cert) != bool(config.tls_key):
            found.error(path, "TLS needs both: tls_cert (--tls-cert) and tls_key (--tls-key)")
        return
    try:
        context = tls_context(config)
    except ConfigurationError as error:
        found.error(("tls_key",) if "key" in error.message else path, error.message)
        return
    days = days_left(context, Path(config.tls_cert)) if context is not None else None
    if days is not None and days < 0:
        found.warning(path, f"the certificate in {config.tls_cert} has expired", "renew it")
    elif days is not None and days < _SOON:
        found.warning(path, f"the certificate in {config.tls_cert} expires in {days:.0f} days", "renew it")


def _check_journal(found: Found, config: Config) -> None:
    path = ("journal",)
    if found.has_errors(path):
        return
    if not _try(found, path, lambda: check_url(config.journal)):
        return
    if config.journal == "":
        file = platformdirs.user_data_path("everytoken") / f"journal-{config.port}.sqlite"
    elif config.journal.startswith("sqlite:///"):
        file = Path(urlsplit(config.journal).path[1:])
    else:
        return
    if file.is_dir():
        found.error(
            path, f"journal: {file} is a directory", f"name a file in it: sqlite:///{file}/journal.sqlite"
        )
        return
    here = file if file.exists() else next(one for one in file.absolute().parents if one.exists())
    if not here.is_dir() and here != file:
        found.error(path, f"journal: {here} is a file, so {file} cannot be made")
    elif not os.access(here, os.W_OK | (os.X_OK if here.is_dir() else 0)):
        found.error(
            path, f"journal: {here} is not writable for this user", "change its owner, or the journal's place"
        )


def _check_names(found: Found, pairs: list[tuple[int, UpstreamConfig]]) -> None:
    seen: dict[str, int] = {}
    for number, upstream in pairs:
        name = upstream.name or f"upstream-{number + 1}"
        if name in seen:
            found.error(
                ("upstream", number, "name"), f"two upstreams are named {name!r}", "rename one of them"
            )
        seen.setdefault(name, number)


def _check_upstream(
    found: Found, number: int, upstream: UpstreamConfig, config: Config, environ: Mapping[str, str]
) -> None:
    path = ("upstream", number)
    upstream = msgspec.structs.replace(upstream, name=upstream.name or f"upstream-{number + 1}")
    if upstream.key is not None and upstream.key_env is not None:
        found.warning(
            (*path, "key"), f"upstream {upstream.name!r}: key_env counts, and key does not", "leave one out"
        )
    try:
        upstream = with_key(upstream)
    except ConfigurationError as error:
        found.error((*path, "key_file"), error.message)
        return
    try:
        upstream.api_key(environ)
    except ConfigurationError as error:
        variable = upstream.key_env or ""
        near = nearest(variable, [name.lower() for name in environ]).upper()
        found.error(
            (*path, "key_env"),
            error.message,
            f"did you mean {near}?" if near in environ else f"set it, or use key_file: export {variable}=…",
        )
        # The rest can be looked at without a key.
        upstream = msgspec.structs.replace(upstream, key_env=None, key=None)
    else:
        for warning in plain_text_keys(msgspec.structs.replace(config, upstream=[upstream]), environ):
            found.warning((*path, "url"), warning)
    try:
        configured_upstream(msgspec.structs.replace(upstream, key_env=None))
    except ConfigurationError as error:
        host = upstream.url.partition("/")[0]
        bare = "//" not in upstream.url and "." in host + "." and "@" not in host
        found.error((*path, "url"), error.message, f"write http://{host}… or https://{host}…" if bare else "")
    try:
        policy_of(upstream, config.policy)
    except ConfigurationError as error:
        found.error((*path, "policy"), error.message)


def _check_together(found: Found, pairs: list[tuple[int, UpstreamConfig]], config: Config) -> None:
    if not pairs:
        found.warning(
            (),
            "there is no [[upstream]]: the embedded model will be served",
            'write [[upstream]] and url = "…"',
        )
        return
    if not any(has_key(upstream) for _, upstream in pairs):
        remote = [one for one in pairs if not _is_near(one[1].url)]
        if remote:
            found.warning(
                ("upstream", remote[0][0]),
                "no upstream has a key",
                "set key_env or key_file, if it asks for one",
            )
    seen: dict[str, str] = {}
    for number, upstream in pairs:
        name = upstream.name or f"upstream-{number + 1}"
        same = repr(msgspec.structs.replace(upstream, name="", weight=1.0, cost=0.0))
        if same in seen:
            found.warning(
                ("upstream", number), f"upstream {name!r} is the same as {seen[same]!r}", "leave one out"
            )
        seen.setdefault(same, name)
    if all(upstream.names for _, upstream in pairs):
        served = {name for _, upstream in pairs for name in upstream.names}
        asked: list[tuple[Keys, str]] = [(("limits", "models", name), name) for name in config.limits.models]
        if config.default_model:
            asked.append((("default_model",), config.default_model))
        for path, model in asked:
            if model not in served:
                near = nearest(model, served)
                hint = f"did you mean {near!r}?" if near else f"served are: {', '.join(sorted(served)[:10])}"
                found.warning(path, f"{path[0]}: no upstream serves the model {model!r}", hint)


def has_key(upstream: UpstreamConfig) -> bool:
    """Whether an upstream is sent a key of any kind."""
    secret = upstream.key or upstream.key_env or upstream.key_file or urlsplit(upstream.url).password
    return bool(secret) or any("auth" in name.lower() or "key" in name.lower() for name in upstream.headers)


def _is_near(url: str) -> bool:
    scheme, _, rest = url.partition(":")
    return scheme not in ("http", "https") or not rest or is_loopback(urlsplit(url).hostname or "")
