"""An API key: what it is known by, and what it may do. The secret itself is kept nowhere."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.errors import AuthenticationError, InvalidRequestError, NotAllowedError
from everytoken.gateway.rates import Rates

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["APIS", "Key", "configured", "digest_of", "fingerprint", "limits_from", "new_key", "new_secret"]

APIS: Final = ("chat", "messages", "responses", "completions", "streams", "other")
"""What a key can be limited to: the APIs of models, streams of callers' own, and what is passed on besides."""

_SHOWN: Final = 12  # characters of a secret that tell one key from another
_PREFIX: Final = "sk-et-"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@:/-]{0,63}")
_MAX_MODELS: Final = 100
_MAX_LABELS: Final = 20
_MAX_TEXT: Final = 200  # characters of a model's name, or of a label
_FOR_A_WHILE: Final = 10 * 365 * 86_400.0  # seconds; a time far ahead is a mistake in its unit


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is stored, shown and asked. Times are in seconds since 1970.

    `id` stays when the key is rotated, and owns its responses. `digest`: SHA-256 of the secret, in hexadecimal;
    `hint`: the first characters of the secret. `models`, `apis`: what it is for, everything if empty. `limits`: None for those of each key. `expires`,
    `revoked`: from when on it is refused. `stops`: revoked together with what runs. `old_digest` counts too until
    `old_until`.
    """

    id: str
    name: str
    digest: str
    hint: str
    created: float = 0.0
    models: list[str] = []
    apis: list[str] = []
    labels: dict[str, str] = {}
    admin: bool = False
    limits: Rates | None = None
    expires: float | None = None
    revoked: float | None = None
    stops: bool = False
    old_digest: str | None = None
    old_until: float = 0.0

    def check(self, now: float) -> None:
        """Raise `AuthenticationError` if the key does not count any more."""
        if self.revoked is not None and self.revoked <= now:
            raise AuthenticationError(f"the API key {self.name!r} was revoked")
        if self.expires is not None and self.expires <= now:
            raise AuthenticationError(f"the API key {self.name!r} has expired")

    def check_api(self, api: str) -> None:
        """Raise `NotAllowedError` if the key is not for this API."""
        if self.apis and api not in self.apis:
            raise NotAllowedError(
                f"the API key {self.name!r} is not for this API ({api}): it is for {', '.join(self.apis)}"
            )

    def allows(self, model: str) -> bool:
        """Whether the key is for this model; a `*` at the end of what is listed stands for any rest."""
        return not self.models or any(
            model.startswith(name[:-1]) if name.endswith("*") else model == name for name in self.models
        )

    def check_model(self, model: str) -> None:
        """Raise `NotAllowedError` if the key is not for this model."""
        if not self.allows(model):
            raise NotAllowedError(
                f"the API key {self.name!r} is not for the model {model[:_MAX_TEXT]!r}: it is for {', '.join(self.models)}",
                param="model",
            )

    def state(self, now: float) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.revoked is not None and self.revoked <= now:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"

    def shown(self, now: float) -> dict[str, Any]:
        """Return what an administrator sees of it: everything but the digests."""
        value: dict[str, Any] = msgspec.to_builtins(self)
        for name in ("digest", "old_digest", "stops"):
            del value[name]
        if self.old_digest is None or self.old_until <= now:
            del value["old_until"]
        return {**value, "hint": f"{self.hint}…", "state": self.state(now)}


def new_key(value: dict[str, Any], secret: str, now: float) -> Key:
    """Return a key with the properties that an administrator asks for. Raises `InvalidRequestError`."""
    name = value.get("name")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise InvalidRequestError(
            "'name' must have 1 to 64 letters, digits, spaces and ._@:/- and begin with a letter or digit",
            param="name",
        )
    unknown = value.keys() - {"name", "models", "apis", "labels", "admin", "expires", "limits"}
    if unknown:
        raise InvalidRequestError(
            f"unknown property {min(unknown)[:_MAX_TEXT]!r} of a key", param=min(unknown)
        )
    apis = _texts(value, "apis", len(APIS))
    for api in apis:
        if api not in APIS:
            raise InvalidRequestError(f"unknown API {api!r}: there are {', '.join(APIS)}", param="apis")
    admin = value.get("admin", False)
    if not isinstance(admin, bool):
        raise InvalidRequestError("'admin' must be true or false", param="admin")
    return Key(
        id=f"key_{secrets.token_hex(8)}",
        name=name,
        digest=digest_of(secret),
        hint=secret[:_SHOWN],
        created=now,
        models=_texts(value, "models", _MAX_MODELS),
        apis=apis,
        labels=_labels(value.get("labels", {})),
        admin=admin,
        limits=limits_from(value.get("limits")),
        expires=_expiry(value.get("expires"), now),
    )


def new_secret() -> str:
    """Return a secret that nobody can guess. It begins as the field's tools expect of a key."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode("latin-1", "replace")).hexdigest()


def fingerprint(secret: bytes) -> str:
    """Return who owns what a key of the configuration has made."""
    return hashlib.sha256(secret).hexdigest()[:32]


def configured(secrets_: Iterable[str], *, admin: bool = False) -> list[Key]:
    """Return keys of the configuration. They may do everything, and own what their fingerprint says."""
    setting = "admin_keys" if admin else "api_keys"
    return [
        Key(
            id=fingerprint(secret.encode()),
            name=f"{setting} {number}",
            # As it comes in a header: the bytes that the client sent.
            digest=hashlib.sha256(secret.encode()).hexdigest(),
            hint=secret[: min(_SHOWN, len(secret) // 4)],
            admin=admin,
        )
        for number, secret in enumerate(secrets_, 1)
    ]


def _texts(value: dict[str, Any], name: str, most: int) -> list[str]:
    found = value.get(name, [])
    if (
        not isinstance(found, list)
        or len(found) > most
        or not all(isinstance(one, str) and 0 < len(one) <= _MAX_TEXT and one.isprintable() for one in found)
    ):
        raise InvalidRequestError(f"{name!r} must be a list of up to {most} texts", param=name)
    return found


def _labels(value: Any) -> dict[str, str]:
    if (
        not isinstance(value, dict)
        or len(value) > _MAX_LABELS
        or not all(isinstance(one, str) and len(one) <= _MAX_TEXT for pair in value.items() for one in pair)
    ):
        raise InvalidRequestError(
            f"'labels' must be an object of up to {_MAX_LABELS} short texts", param="labels"
        )
    return value


def limits_from(value: Any) -> Rates | None:
    """Return limits as an administrator gives them. Raises `InvalidRequestError`."""
    if value is None:
        return None
    try:
        return msgspec.convert(value, Rates)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"'limits': {error}", param="limits") from error


def _expiry(value: Any, now: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not now < value < now + _FOR_A_WHILE:
        raise InvalidRequestError(
            "'expires' must be a time ahead, in seconds since 1970, within ten years", param="expires"
        )
    return float(value)
