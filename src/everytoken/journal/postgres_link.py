"""Connections to PostgreSQL, and what its errors mean for a journal."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

import asyncpg

from everytoken.errors import ConfigurationError, JournalUnavailableError, NotStorableError
from everytoken.journal.postgres_schema import SCHEMA, VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["NOT_STORABLE", "UNAVAILABLE", "PostgresLink"]

_PATIENCE: Final = 3.0  # seconds without a reply after which a connection counts as dead
_AT_ONCE: Final = 4  # connections for what is not appended or followed
_LOCK: Final = 0x65766572_79746F6B  # of those who make the tables: one at a time

# Of the server, the connection, or the library, which can be in the middle of something when a connection breaks.
UNAVAILABLE: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
# What no further try can store: the error belongs to what was to be stored. The statement has changed nothing.
NOT_STORABLE: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
_REFUSED: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidSchemaNameError,
)
_SETTINGS: Final = {"application_name": "everytoken", "jit": "off", "synchronous_commit": "on"}
_TLS: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# The joins of a commit go from its few streams to their rows, however many there are. Statistics that are minutes old
# must not turn that around.
_PLANS: Final = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}


class PostgresLink:
    """Makes connections; those that are only needed for a statement are in a pool."""

    def __init__(self, url: str) -> None:
        """Raises `ConfigurationError` for a URL that is none."""
        parts = urlsplit(url)
        try:
            port = parts.port if "," not in parts.netloc else None
            options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
            if options.get("sslmode", "prefer") not in _TLS:
                raise ValueError(f"sslmode is none of {', '.join(_TLS)}")  # noqa: TRY301
        except ValueError as error:
            raise ConfigurationError(
                f"not a URL of PostgreSQL ({error}): write postgresql://USER@HOST:PORT/DATABASE"
            ) from error
        hosts = parts.netloc.rpartition("@")[2] if "," in parts.netloc else parts.hostname or "localhost"
        self.place = f"{hosts}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
        self._url = url
        # Of several servers, the one that can be written to: after a fail-over that is another one.
        several = "," in hosts and "target_session_attrs" not in options
        self._which = {"target_session_attrs": "read-write"} if several else {}
        self._pool: asyncpg.Pool[Any] | None = None
        self._starting = False  # then what is wrong with the URL is said as such

    async def start(self) -> None:
        """Connect, and make the tables. Raises `JournalUnavailableError`, `ConfigurationError`."""
        self._starting = True
        with self._meant():
            self._pool = await asyncpg.create_pool(
                self._url, min_size=0, max_size=_AT_ONCE, reset=_keep_as_it_is, **self._options({})
            )
            try:
                await self._make_tables()
            except BaseException:
                self._pool.terminate()
                self._pool = None
                raise
        self._starting = False

    async def _make_tables(self) -> None:
        async with self.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            if await connection.fetchval("SELECT to_regclass('everytoken.version')") is None:
                await connection.execute(SCHEMA)
                await connection.execute("INSERT INTO everytoken.version VALUES ($1)", VERSION)
            found = await connection.fetchval("SELECT max(number) FROM everytoken.version")
            if found != VERSION:
                raise ConfigurationError(
                    f"the journal in PostgreSQL at {self.place} is of version {found}, and this everytoken knows {VERSION}"
                )

    async def stop(self) -> None:
        """Let go of the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    async def connect(self, *, durable: bool = True) -> Any:
        """Return a new connection; what is stored over one that is not `durable` the server may lose when it crashes.

        Raises `JournalUnavailableError`.
        """
        settings = {**_PLANS, "synchronous_commit": "on" if durable else "off"}
        with self._meant():
            return await asyncpg.connect(self._url, **self._options(settings))

    def _options(self, settings: dict[str, str]) -> dict[str, Any]:
        return {
            **self._which,
            "timeout": _PATIENCE,
            "command_timeout": _PATIENCE,
            "server_settings": {**_SETTINGS, **settings},
        }

    async def fetch(self, statement: str, *values: Any, sent: Callable[[], None] | None = None) -> list[Any]:
        """Return the rows of a statement; `sent` is called when it is about to be sent.

        Raises `JournalUnavailableError`, `NotStorableError`.
        """
        async with self._lent() as connection:
            if sent is not None:
                sent()
            rows: list[Any] = await connection.fetch(statement, *values)
            return rows

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Lend a connection for one transaction. Raises `JournalUnavailableError`, `NotStorableError`."""
        async with self._lent() as connection, connection.transaction():
            yield connection

    @contextlib.asynccontextmanager
    async def _lent(self) -> AsyncIterator[Any]:
        if self._pool is None:
            raise JournalUnavailableError(f"PostgreSQL at {self.place} cannot be reached")
        with self._meant():
            async with self._pool.acquire(timeout=_PATIENCE) as connection:
                yield connection

    @contextlib.contextmanager
    def _meant(self) -> Iterator[None]:
        try:
            yield
        except NOT_STORABLE as error:
            raise NotStorableError("what was to be stored cannot be stored") from error
        except _REFUSED as error:
            if not self._starting:
                raise JournalUnavailableError(f"PostgreSQL: {error}") from error
            raise ConfigurationError(f"PostgreSQL at {self.place}: {error}") from error
        except UNAVAILABLE as error:
            raise self.unavailable(error) from error
        except ValueError as error:
            if not self._starting:
                raise
            raise ConfigurationError(f"not a URL of PostgreSQL: {error}") from error

    def unavailable(self, error: BaseException) -> JournalUnavailableError:
        """Return the error for a server that cannot do it now."""
        if isinstance(error, asyncpg.PostgresError):
            return JournalUnavailableError(f"PostgreSQL: {error}")
        return JournalUnavailableError(f"PostgreSQL at {self.place} cannot be reached")


async def _keep_as_it_is(connection: Any) -> None:
    """Spare the statement that would undo what we never do to a connection of the pool."""
