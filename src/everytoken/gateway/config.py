"""The gateway's configuration: a TOML file, checked by type, with the environment over it."""

from __future__ import annotations

import difflib
import math
import os
import tomllib
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from everytoken.errors import ConfigurationError
from everytoken.gateway.exposure import check_open, is_loopback, plain_text_keys
from everytoken.gateway.passing import PASS_DOWN, PASS_UP, problem_with
from everytoken.gateway.prices import PriceConfig  # noqa: TC001  # msgspec reads the annotations
from everytoken.gateway.rates import LimitsConfig
from everytoken.gateway.settings import PREFIX, Setting, read_secret, settings, value_of, variables
from everytoken.journal.quota import Quota
from everytoken.recovery import Policy, Route
from everytoken.translation.registry import ApiName  # noqa: TC001  # msgspec reads the annotations

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "SETTINGS",
    "BreakerConfig",
    "Config",
    "UpstreamConfig",
    "check_open",
    "is_loopback",
    "load",
    "parse",
    "plain_text_keys",
    "unknown_variables",
]

MAX_WORKERS = 128

_T = TypeVar("_T")
_ELSEWHERE = frozenset(  # what other commands and the examples read
    {
        "EVERYTOKEN_BASE_URL",
        "EVERYTOKEN_API_KEY",
        "EVERYTOKEN_ADMIN_KEY",
        "EVERYTOKEN_MODEL",
        "EVERYTOKEN_URL",
        "EVERYTOKEN_LONG_POLL_MS",
        "EVERYTOKEN_NATIVE",
    }
)
_POSITIVE = (
    "queue_timeout",
    "max_journal",
    "max_body",
    "max_response",
    "max_duration",
    "max_grace",
    "max_stream",
    "max_key_bytes",
    "max_key_streams",
    "max_connections",
    "max_address_connections",
    "max_head",
    "max_header_lines",
    "max_url",
    "max_bodies",
    "head_timeout",
    "body_timeout",
    "idle_timeout",
)


class UpstreamConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[upstream]]` table.

    `url` ends before `/chat/completions`; `embedded:` is the model that ships with everytoken. The key is `key`, or in the environment variable that `key_env` names, or in the file `key_file`.
    `redirect_hosts` are other hosts it may redirect to, which get the key. `http2`: speak HTTP/2 from the first connection, not only after
    the server has refused HTTP/1.1.
    `models` maps the names callers use to the names it uses (a list: the same names); empty: any name is passed on.
    `key_header`: the header that the key goes in as it is; None: `Authorization: Bearer`, or what Anthropic's API takes for one
    that offers nothing but Messages. `api`: which APIs it offers, which also serve callers of
    the others; None: those that are known of its host, or else whichever a caller speaks is tried first, then chat completions.
    The rest is explained at `everytoken.recovery.Target`.
    """

    url: str
    name: str = ""
    key: str | None = None
    key_env: str | None = None
    key_file: str | None = None
    key_header: str | None = None
    models: list[str] | dict[str, str] = []
    api: ApiName | list[ApiName] | None = None
    headers: dict[str, str] = {}
    redirect_hosts: list[str] = []
    http2: bool = False
    prefill: Literal["yes", "no", "auto"] = "auto"
    seeds: bool = True
    usage: bool = True
    omits_finish_reason: bool = False
    extra: dict[str, Any] = {}
    prefill_extra: dict[str, Any] = {}
    prefill_message: dict[str, Any] = {}
    weight: float = 1.0
    cost: float = 0.0
    max_running: int = 0
    policy: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not 0 < self.weight < math.inf:
            raise ValueError("weight must be a finite number above 0")
        if not 0 <= self.cost < math.inf:
            raise ValueError("cost must be a finite number, 0 or more")
        if self.max_running < 0:
            raise ValueError("max_running must be 0 or more")

    @property
    def names(self) -> dict[str, str]:
        """The models as a mapping from the callers' names."""
        return self.models if isinstance(self.models, dict) else {name: name for name in self.models}

    def header_of_key(self, url: str) -> str:
        """Return the header that the key goes in as it is, "" for `Authorization: Bearer`."""
        if self.key_header:
            return "" if self.key_header.lower() == "authorization" else self.key_header
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            return ""  # such a URL is refused
        only_messages = self.api in ("messages", ["messages"])
        return "x-api-key" if only_messages or f".{host}".endswith(".anthropic.com") else ""

    def api_key(self, environ: Mapping[str, str]) -> str | None:
        """Return the key to send. Raises `ConfigurationError` when `key_env` names a variable that is not set."""
        if self.key_env is None:
            return with_key(self).key if self.key is None else self.key
        key = environ.get(self.key_env)
        if not key:
            raise ConfigurationError(
                f"upstream {self.name!r}: the environment variable {self.key_env} is not set"
            )
        return key


class BreakerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[breaker]` table: `failures` in a row for a model set an upstream aside for `pause` seconds.

    Each further failure doubles the pause, up to `pause_max` seconds.
    """

    failures: int = 3
    pause: float = 5.0
    pause_max: float = 20.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.failures < 1:
            raise ValueError("failures must be 1 or more")
        if not 0 < self.pause <= self.pause_max < math.inf:
            raise ValueError("pause must be above 0 and not above pause_max, which must be finite")


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of the gateway; sizes are in bytes, times in seconds.

    `workers`: processes that serve together, 0 for one on each core; more than one need a journal that they can share.
    `journal`: where responses are kept, `retention` long and within `max_journal`; `durability`: whose
    death they survive, the process's or, with a sync at every commit, the machine's, or with `replicated` that of the server. `grace`: how long a response
    continues without a reader (negative: `max_grace`). `drain`: how long responses may continue when the server is to stop
    (SIGTERM), before they are handed over. `lease`: how long a node may give no sign of life before its responses are
    taken over by another. `api_keys`: the keys of callers, besides those that `everytoken keys` makes; as long as there are none, anyone who can
    reach it may call, which beyond loopback needs `no_auth`. `require_key`: nobody may call without a key, also when there is
    none yet. `admin_keys`: the keys that may administer. `log_format`: lines of `text` or of `json`. `log_content`: entries have what was asked and answered, too. `keep_log`: how long entries
    of the request log are kept, 0 for no log; a journal in memory keeps none. `limits`: of all together, of each key, of models. `prices`: by model, of those that the price list
    does not know or knows otherwise. `default_model`: for callers that name none. `ids`: whether events of
    responses have `id:` lines, for callers that do not say. `long_poll`: how long a reader that polls is kept waiting
    for the next record. `cache`: how long caches may keep parts of streams that can change no more; 0: not at all. `origins`: web pages of other origins that may call, such as `https://app.example`; `*` stands
    for all. `hosts`: names besides the loopback ones by which a gateway on loopback may be addressed. `tls_cert`,
    `tls_key`: PEM files; with them the gateway speaks TLS. `pass_up`, `pass_down`: the headers of callers that upstreams
    get, and of upstreams that callers get; a `*` at the end stands for any rest of a name. `metrics`: who may read `/metrics`:
    anybody (`open`), an administrator (`admin`), nobody (`off`, and then nothing is counted); `auto`: anybody on this machine
    while it listens on loopback and has no `hosts`, otherwise an administrator. `otel`: export metrics and spans by OTLP. `observers`: what is told of
    events, by the names that packages give in their entry points `everytoken.observers`. `dialects`: the APIs of other
    packages that are served at their paths, likewise. `pass_through`: paths below `/v1/` that are passed on besides those
    of OpenAI's other APIs; a `*` at the end stands for any rest. `route`: by which rule the first
    of several upstreams is chosen; see `everytoken.recovery.Router`.

    The rest are limits; `everytoken.gateway.limits` says what happens at each.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    journal: str = ""
    retention: float = 86_400.0
    max_journal: int = 2 * 1024**3
    durability: Literal["process", "power", "replicated"] = "process"
    grace: float = 60.0
    drain: float = 20.0
    lease: float = 10.0
    api_keys: list[str] = []
    admin_keys: list[str] = []
    require_key: bool = False
    max_body: int = 32 * 1024 * 1024
    default_model: str = ""
    ids: bool = True
    long_poll: float = 20.0
    cache: float = 0.0
    origins: list[str] = []
    hosts: list[str] = []
    no_auth: bool = False
    log_format: Literal["text", "json"] = "text"
    log_content: bool = False
    keep_log: float = 7 * 86_400.0
    prices: dict[str, PriceConfig] = {}
    limits: LimitsConfig = LimitsConfig()
    tls_cert: str = ""
    tls_key: str = ""
    metrics: Literal["auto", "open", "admin", "off"] = "auto"
    otel: bool = False
    observers: list[str] = []
    dialects: list[str] = []
    pass_up: list[str] = msgspec.field(default_factory=lambda: list(PASS_UP))
    pass_down: list[str] = msgspec.field(default_factory=lambda: list(PASS_DOWN))
    pass_through: list[str] = []
    max_running: int = 0
    queue: int = 1000
    queue_timeout: float = 10.0
    max_response: int = 64 * 1024 * 1024
    max_duration: float = 3600.0
    max_grace: float = 3600.0
    max_stream: int = Quota().stream
    max_key_bytes: int = Quota().key_bytes
    max_key_streams: int = Quota().key_streams
    max_connections: int = 16_384
    max_address_connections: int = 8_192
    max_head: int = 64 * 1024
    max_header_lines: int = 100
    max_url: int = 8 * 1024
    max_bodies: int = 256 * 1024 * 1024
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    idle_timeout: float = 75.0
    route: Route = "order"
    policy: Policy = Policy()
    breaker: BreakerConfig = BreakerConfig()
    upstream: list[UpstreamConfig] = []

    @property
    def quota(self) -> Quota:
        """What the streams of callers may take."""
        return Quota(stream=self.max_stream, key_bytes=self.max_key_bytes, key_streams=self.max_key_streams)

    def __post_init__(self) -> None:
        """Refuse what cannot work; msgspec turns the ValueError into its ValidationError with the path."""
        if not 0 <= self.port <= 65535:
            raise ValueError("port must be from 0 to 65535")
        if not 0 <= self.workers <= MAX_WORKERS:
            raise ValueError(f"workers must be from 0 (one for each core) to {MAX_WORKERS}")
        if not 0 <= self.cache < math.inf:
            raise ValueError("cache must be a finite number, 0 or more")
        for name in _POSITIVE:
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a finite number above 0")
        for name in ("max_running", "queue"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more")
        if not 0 <= self.keep_log < math.inf:
            raise ValueError("keep_log must be a finite number of seconds, 0 or more")
        if math.isnan(self.grace):
            raise ValueError("grace must be a number of seconds")
        if not 0 <= self.drain < math.inf:
            raise ValueError("drain must be a finite number of seconds, 0 or more")
        if not self.retention > 0:
            raise ValueError("retention must be more than 0 seconds")
        for name in ("pass_up", "pass_down"):
            if (problem := problem_with(getattr(self, name))) is not None:
                raise ValueError(f"{name}: {problem}")
        for path in self.pass_through:
            # Elsewhere nothing keeps web pages of other origins away.
            if not path.startswith("/v1/") or "*" in path[:-1] or set(path.split("/")) & {".", ".."}:
                raise ValueError(
                    f"pass_through: {path!r} is not a path below '/v1/', with or without a '*' at its end"
                )
        if not 0 <= self.long_poll <= 3600:
            raise ValueError("long_poll must be from 0 to 3600 seconds")


# Tables first: what is set of them by itself is laid over them.
SETTINGS = sorted(
    [*settings(Config), *settings(Policy, "policy"), *settings(BreakerConfig, "breaker", "BREAKER_")],
    key=lambda setting: not setting.is_table,
)


def named(upstreams: list[UpstreamConfig]) -> list[UpstreamConfig]:
    """Give every upstream a name of its own. Raises `ConfigurationError` when two have the same."""
    result = [
        upstream if upstream.name else msgspec.structs.replace(upstream, name=f"upstream-{number}")
        for number, upstream in enumerate(upstreams, 1)
    ]
    names = [upstream.name for upstream in result]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"two upstreams are named {name!r}")
    return result


def with_key(upstream: UpstreamConfig) -> UpstreamConfig:
    """Return an upstream with the key that its file holds. Raises `ConfigurationError`, also for two sources of a key."""
    sources = [name for name in ("key", "key_env", "key_file") if getattr(upstream, name) is not None]
    if upstream.key_file is None:
        return upstream
    if len(sources) > 1:
        raise ConfigurationError(f"upstream {upstream.name!r}: use one of {' and '.join(sources)}, not both")
    key = read_secret(upstream.key_file, f"upstream {upstream.name!r}: key_file")
    return msgspec.structs.replace(upstream, key=key)


def policy_of(upstream: UpstreamConfig, policy: Policy) -> Policy:
    """Return the policy for `upstream`: the common one with its own settings over it."""
    if not upstream.policy:
        return policy
    return _convert({**msgspec.to_builtins(policy), **upstream.policy}, Policy, f"upstream {upstream.name!r}")


def load(path: Path | None, environ: Mapping[str, str] | None = None) -> Config:
    """Read a configuration file (None: the defaults) and the environment. Raises `ConfigurationError`."""
    environ = os.environ if environ is None else environ
    if path is None:
        return parse("", environ, where="the environment")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"cannot read {path}: {reason}") from error
    return parse(text, environ, where=str(path))


def parse(text: str, environ: Mapping[str, str], *, where: str) -> Config:
    """Read a configuration in TOML, with the environment over it: `EVERYTOKEN_<NAME>` for every setting.

    `EVERYTOKEN_<NAME>_FILE` names a file that holds the value. A setting of the policy has its variable too, such as
    `EVERYTOKEN_CONTENT_GAP`, and one of the breaker, such as `EVERYTOKEN_BREAKER_PAUSE`; whole tables are in JSON, or as
    values in TOML. Raises `ConfigurationError`.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{where} is not TOML: {error}") from error
    for setting in SETTINGS:
        value = value_of(setting, environ)
        if value is not None:
            # By itself, so that an error names its variable.
            _convert({setting.name: value}, setting.kind, f"the environment variable {setting.variable}")
            lay_over(values, setting, value)
    config = _convert(values, Config, where)
    return msgspec.structs.replace(config, upstream=[with_key(one) for one in named(config.upstream)])


def lay_over(values: dict[str, Any], setting: Setting, value: Any) -> None:
    """Put what the environment says of a setting into what a file says."""
    if not setting.table:
        values[setting.name] = value
        return
    table = values.get(setting.table)
    if not isinstance(table, dict):
        table = {}
    values[setting.table] = {**table, setting.name: value}


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a warning for each `EVERYTOKEN_*` variable that sets nothing."""
    known = _ELSEWHERE | variables(SETTINGS)
    warnings = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings.append(f"the environment variable {name} is not a setting{hint}")
    return warnings


def _convert(values: Any, kind: type[_T], where: str) -> _T:
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
