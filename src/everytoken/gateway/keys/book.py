"""All keys that count at this node: those of the configuration and those in the journal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from everytoken.errors import AuthenticationError, InvalidRequestError, KeyNotFoundError
from everytoken.gateway.keys.key import configured, digest_of, limits_from, new_key, new_secret
from everytoken.gateway.keys.stored import StoredKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.gateway.config import Config
    from everytoken.gateway.keys.key import Key
    from everytoken.journal import Journal

__all__ = ["KeyBook"]

_LONGEST_OVERLAP = 30 * 86_400.0  # seconds


class HasHeaders(Protocol):
    """A request, as far as it matters here."""

    def header(self, name: bytes) -> str | None:
        """Return a header by its lower-case name, or None."""


class KeyBook:
    """Knows who a caller is, and makes, revokes and rotates keys.

    `revoked` is called with the id of a key that was revoked together with what runs. `now`: seconds since 1970.
    """

    def __init__(
        self,
        config: Config,
        journal: Journal,
        revoked: Callable[[str], None] = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._revoked = revoked
        self._stored: dict[str, Key] = {}  # by id, in the order in which they were made
        self._by_digest: dict[str, str] = {}  # ids
        self._made = False  # whether there has been a key for callers
        self.change(config)
        self._stream = StoredKeys(journal, self._take)

    def change(self, config: Config) -> None:
        """Use the keys of another configuration."""
        self._configured = {
            key.digest: key
            for key in [*configured(config.api_keys), *configured(config.admin_keys, admin=True)]
        }
        self._asks = bool(config.api_keys) or config.require_key

    async def start(self) -> None:
        """Read the keys in the journal, and follow it. Raises `JournalUnavailableError`."""
        await self._stream.start()

    async def stop(self) -> None:
        """Follow the journal no more."""
        await self._stream.stop()

    # Who calls

    @property
    def required(self) -> bool:
        """Whether a caller needs a key: once there is, or ever was, one for callers."""
        return self._asks or self._made

    def of(self, request: HasHeaders) -> Key | None:
        """Return the caller's key; None while none is needed. Raises `AuthenticationError`."""
        if not self.required:
            return None
        secret = _given(request)
        if not secret:
            raise AuthenticationError("an API key is needed: send it as 'Authorization: Bearer KEY'")
        key = self._find(secret)
        if key is None:
            raise AuthenticationError("unknown API key", guessed=True)
        key.check(self._now())
        return key

    def administrator(self, request: HasHeaders) -> Key:
        """Return the key of a caller who may administer. Raises `AuthenticationError`."""
        secret = _given(request)
        key = self._find(secret) if secret else None
        if key is None:
            raise AuthenticationError(
                "unknown admin key" if secret else "an admin key is needed", guessed=bool(secret)
            )
        if not key.admin:
            raise AuthenticationError(f"the API key {key.name!r} is not an admin key")
        key.check(self._now())
        return key

    def _find(self, secret: str) -> Key | None:
        # What is looked up is a hash, so how long that takes says nothing of the secret.
        digest = digest_of(secret)
        found = self._configured.get(digest)
        if found is not None:
            return found
        key = self._stored.get(self._by_digest.get(digest, ""))
        if key is None or (key.digest != digest and key.old_until <= self._now()):
            return None
        return key

    # Administration

    def all(self) -> list[dict[str, Any]]:
        """Return what there is, in the order in which it was made."""
        now = self._now()
        ours = [{**key.shown(now), "configured": True} for key in self._configured.values()]
        return ours + [{**key.shown(now), "configured": False} for key in self._stored.values()]

    def named(self, name: str) -> Key:
        """Return a stored key by its id or its name. Raises `KeyNotFoundError`."""
        if name in self._stored:
            return self._stored[name]
        found = [key for key in self._stored.values() if key.name == name]
        # Of several, which were revoked before a new one got the name, the last is meant.
        if not found:
            if any(name in (key.id, key.name) for key in self._configured.values()):
                raise InvalidRequestError(
                    f"the key {name!r} is of the configuration: change it there", param="key"
                )
            raise KeyNotFoundError(f"there is no key {name[:100]!r}")
        return found[-1]

    def name_of(self, owner: str) -> str:
        """Return the name of the key with an id, "" for nobody's."""
        key = self._stored.get(owner) or next(
            (key for key in self._configured.values() if key.id == owner), None
        )
        return owner if key is None else key.name

    def shown(self, key: Key) -> dict[str, Any]:
        """Return what an administrator sees of a key."""
        return key.shown(self._now())

    async def create(self, value: dict[str, Any]) -> tuple[Key, str]:
        """Make a key; return it and its secret, which nobody can find out later. Raises `InvalidRequestError`."""
        now, secret = self._now(), new_secret()
        key = new_key(value, secret, now)
        if any(other.name == key.name and other.state(now) == "active" for other in self._all_keys()):
            raise InvalidRequestError(f"there is an active key named {key.name!r} already", param="name")
        await self._stream.put(key)
        return key, secret

    async def revoke(self, name: str, *, stop: bool = False) -> Key:
        """Revoke a key for good; if `stop`, its running responses are cancelled. Raises `KeyNotFoundError`."""
        key = self.named(name)
        if key.revoked is None or (stop and not key.stops):
            key = msgspec.structs.replace(key, revoked=key.revoked or self._now(), stops=stop)
            await self._stream.put(key)
        return key

    async def limit(self, name: str, limits: Any) -> Key:
        """Give a key other limits; None: those of each key. Raises `KeyNotFoundError`, `InvalidRequestError`."""
        key = msgspec.structs.replace(self.named(name), limits=limits_from(limits))
        await self._stream.put(key)
        return key

    async def rotate(self, name: str, overlap: float) -> tuple[Key, str]:
        """Give a key another secret; the old one counts for `overlap` more seconds.

        Raises `KeyNotFoundError`, `InvalidRequestError`.
        """
        key, now = self.named(name), self._now()
        if key.state(now) != "active":
            raise InvalidRequestError(f"the key {key.name!r} is {key.state(now)}", param="key")
        if not 0 <= overlap <= _LONGEST_OVERLAP:
            raise InvalidRequestError("'overlap' must be 0 to 2592000 seconds", param="overlap")
        secret = new_secret()
        key = msgspec.structs.replace(
            key,
            digest=digest_of(secret),
            hint=secret[: len(key.hint)],
            old_digest=key.digest,
            old_until=now + overlap,
        )
        await self._stream.put(key)
        return key, secret

    def active(self) -> list[Key]:
        """Return the keys that count now."""
        now = self._now()
        return [key for key in self._all_keys() if key.state(now) == "active"]

    def _all_keys(self) -> Sequence[Key]:
        return [*self._configured.values(), *self._stored.values()]

    def _take(self, key: Key) -> None:
        """Take a key as it is from now on."""
        before = self._stored.get(key.id)
        if before is not None:
            for digest in (before.digest, before.old_digest):
                self._by_digest.pop(digest or "", None)
        self._stored[key.id] = key
        self._made = self._made or not key.admin
        for digest in (key.digest, key.old_digest):
            if digest is not None:
                self._by_digest[digest] = key.id
        if key.stops and not (before is not None and before.stops):
            self._revoked(key.id)


def _given(request: HasHeaders) -> str:
    """Return the secret that a request brings, "" without one."""
    scheme, _, secret = (request.header(b"authorization") or "").partition(" ")
    if not scheme:  # as Azure's and Anthropic's clients send it
        return (request.header(b"api-key") or request.header(b"x-api-key") or "").strip()
    return secret.strip() if scheme.lower() == "bearer" else ""
