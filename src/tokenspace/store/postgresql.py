"""PostgreSQL: its own schema, the lock around migrations, and what its errors mean."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.pool import NullPool

from tokenspace.errors import BadData, StoreUnavailable, TokenspaceError

SCHEMA: Final = "tokenspace"
_LOCK: Final = 0x746F6B656E  # any number that no other program is likely to lock
_HINTS: Final = {
    "53100": "free some space on the server's disk and try again: what was acknowledged is kept",
    "53300": "the server has no connection left: close some, or raise max_connections",
    "25006": "the server is read-only: connect to the primary",
    "28P01": "check user and password in the URL",
    "3D000": "create the database first: createdb NAME",
    "42501": "the role needs the right to create and use the schema tokenspace",
}


class PostgresqlHooks:
    """A database on a server; our tables are in a schema of their own, beside whatever else lives there."""

    begin = "BEGIN"
    snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    one_writer = False

    def __init__(self, url: URL) -> None:
        self.url = url.set(drivername="postgresql+psycopg")
        try:
            import psycopg
        except ImportError as error:
            raise StoreUnavailable(
                "PostgreSQL needs the package psycopg", hint="pip install 'tokenspace[postgres]'"
            ) from error
        self._psycopg = psycopg

    def engine(self) -> Engine:
        """Connections whose tables are those of our schema."""
        engine = create_engine(self.url, poolclass=NullPool, connect_args={"autocommit": True})
        event.listen(engine, "connect", _configure)
        return engine

    def errors(self) -> type[Exception]:
        """The driver's root exception."""
        return self._psycopg.Error

    def explain(self, error: Exception) -> TokenspaceError | None:
        """Unreachable, full, read-only, forbidden."""
        if not isinstance(error, self._psycopg.Error):
            return None
        state = error.sqlstate or ""
        if state == "22021":
            return BadData("a text holds bytes that the server does not keep", hint="remove NUL bytes from it")
        operational = isinstance(error, (self._psycopg.OperationalError, self._psycopg.InterfaceError))
        if operational or state in _HINTS:
            hint = _HINTS.get(state, "check that the server runs and that the URL is right, then try again")
            return StoreUnavailable(f"PostgreSQL: {str(error).strip()}", hint=hint)
        return None

    def in_place(self) -> bool:
        """A server does not move."""
        return True

    def lock_schema(self, connection: Connection) -> None:
        """Two processes that start at once take turns; the lock ends with the transaction."""
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))

    def after_load(self, connection: Connection) -> None:
        """New branches and names are numbered after those that were copied."""
        for table in ("branch", "name"):
            last = f"SELECT coalesce(max(id), 0) + 1 FROM {table}"  # noqa: S608 - our own names
            connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), ({last}), false)"))


def _configure(connection: Any, _record: object) -> None:
    connection.execute(f"SET search_path TO {SCHEMA}")
