"""PostgreSQL: its own schema, whose rows a transaction sees, the lock around migrations, and what its errors mean."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.pool import NullPool

from tokenspace.domain import Scope
from tokenspace.errors import BadData, StoreUnavailable, TokenspaceError, UsageError
from tokenspace.store.rewriting import scrub
from tokenspace.store.roundtrip import RoundTrips, Rows, failure
from tokenspace.store.rowlevel import ADMIN, APP, SCHEMA, SETTING, install, problems
from tokenspace.store.schema import metadata
from tokenspace.store.scoped import EVERYWHERE, Reach

if TYPE_CHECKING:
    from tokenspace.store.database import Database

OFF: Final = "TOKENSPACE_ROW_SECURITY"
"""The setting that, when it is "off", runs a store without row-level security: for one's own machine only."""
_LOCK: Final = 0x746F6B656E  # any number that no other program is likely to lock
_HINTS: Final = {
    "53100": "free some space on the server's disk and try again: what was acknowledged is kept",
    "53300": "the server has no connection left: close some, or raise max_connections",
    "25006": "the server is read-only: connect to the primary",
    "28P01": "check user and password in the URL",
    "3D000": "create the database first: createdb NAME",
    "42501": "the user needs the right to create and use the schema tokenspace, and to act as tokenspace_app and "
    "tokenspace_admin: GRANT tokenspace_app, tokenspace_admin TO that_user",
}


class PostgresqlHooks:
    """A database on a server; our tables are in a schema of their own, beside whatever else lives there."""

    begin = "BEGIN"
    snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    one_writer = False

    def __init__(self, url: URL, *, row_security: bool | None = None) -> None:
        """`row_security` False runs without it; by default the environment's TOKENSPACE_ROW_SECURITY says so."""
        said = os.environ.get(OFF, "on").lower()
        if said not in {"on", "off"}:
            raise UsageError(f"{OFF}={said!r}", hint=f"set {OFF} to on or off")
        self.row_security = said == "on" if row_security is None else row_security
        self._secured = False
        self.owner = ""
        self.url = url.set(drivername="postgresql+psycopg")
        try:
            import psycopg
        except ImportError as error:
            raise StoreUnavailable(
                "PostgreSQL needs the package psycopg", hint="pip install 'tokenspace[postgres]'"
            ) from error
        self._psycopg = psycopg
        self._trips = RoundTrips(psycopg)

    def engine(self) -> Engine:
        """Connections whose tables are those of our schema."""
        engine = create_engine(
            self.url, poolclass=NullPool, connect_args={"autocommit": True, "client_encoding": "utf-8"}
        )
        event.listen(engine, "connect", self._configure)
        return engine

    def _configure(self, connection: Any, _record: object) -> None:
        connection.execute(f"SET search_path TO {SCHEMA}")
        if self._secured:
            connection.execute(f"SET ROLE {APP}")

    def control(self, raw: Any, sql: str) -> None:
        """One trip for several statements, which end with the state that the last of them says."""
        pq, connection = self._psycopg.pq, raw.driver_connection.pgconn
        result = connection.exec_(sql.encode())
        if result.status not in {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK}:
            raise failure(self._psycopg, connection, result)

    def read(self, raw: Any, cursor: Any, reach: Reach, sql: str, values: Any) -> Rows:
        """Execute in a transaction of its own, which begins by saying whose it is."""
        return self._trips.read(raw, _settings(reach) if self._secured else {}, sql, values)

    def writing(self, reach: Reach | None) -> str:
        """A transaction in a scope, or in none: what then says no scope of its own sees nothing."""
        return f"{self.begin}; {_scope(reach)}" if self._secured else self.begin

    def within(self, reach: Reach | None) -> str:
        """The role and the scope until the transaction ends."""
        return _within(reach) if self._secured else ""

    def secure(self, database: Database) -> None:
        """Make roles and policies if they are missing and may be made; refuse to serve without them."""
        if not self.row_security:
            return
        with database.administering(snapshot=True, owner=True) as connection:
            found = problems(connection)
        if found:
            try:
                with database.administering(owner=True) as connection:
                    self.lock(connection)
                    install(connection)
                    found = problems(connection)
            except StoreUnavailable as error:
                if _state(error) != "42501":  # the owner did not set it up, and this user may not
                    raise
        if found:
            what, mended = "; ".join(each for each, _ in found), "; ".join(dict.fromkeys(sql for _, sql in found))
            raise StoreUnavailable(
                f"PostgreSQL: scopes are not kept apart: {what}",
                hint=f"as the owner of the schema {SCHEMA} run: {mended}. On your own machine {OFF}=off does without",
            )
        self._secured, self.owner = True, "SET LOCAL ROLE NONE"

    def errors(self) -> type[Exception]:
        """The driver's root exception."""
        return self._psycopg.Error

    def explain(self, error: Exception) -> TokenspaceError | None:
        """Unreachable, full, read-only, forbidden."""
        if not isinstance(error, self._psycopg.Error):
            return None
        state = error.sqlstate or ""
        if state == "22021" or (isinstance(error, self._psycopg.DataError) and "NUL" in str(error)):
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
        """Two processes that start at once take turns; the lock ends with the transaction.

        A migration that rewrites rows must see them: policies bind its owner again once `secure` has run.
        """
        self.lock(connection)
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        for (table,) in connection.execute(text(_FORCED)).all():
            connection.execute(text(f"ALTER TABLE {SCHEMA}.{table} NO FORCE ROW LEVEL SECURITY"))

    def lock(self, connection: Connection) -> None:
        """Let only one process at a time set up, migrate or fill the store, within the current transaction."""
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))

    def scrub(self, database: Database, *, tables: Sequence[str] = ()) -> str:
        """Rewrite the tables without their dead rows, and begin a new write-ahead log where this user may."""
        names = tables or [table.name for table in metadata.sorted_tables]
        with database.translating():
            raw = database.engine.raw_connection()
            try:
                cursor = raw.cursor()
                cursor.execute("SET ROLE NONE")
                return scrub(cursor, [f"{SCHEMA}.{name}" for name in names])
            finally:
                raw.invalidate()

    def after_load(self, connection: Connection) -> None:
        """New branches and names are numbered after those that were copied."""
        for table in ("branch", "name"):
            last = f"SELECT coalesce(max(id), 0) + 1 FROM {table}"  # noqa: S608 - our own names
            connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), ({last}), false)"))


def _state(error: StoreUnavailable) -> str:
    return str(getattr(getattr(error.__cause__, "orig", error.__cause__), "sqlstate", ""))


_OURS: Final = f"relnamespace = '{SCHEMA}'::regnamespace"
_FORCED: Final = f"SELECT relname FROM pg_class WHERE {_OURS} AND relforcerowsecurity"  # noqa: S608 - our own names


@lru_cache(maxsize=4_096)
def _spelled(scope: Scope) -> str:
    """A scope as policies read it. No name holds a slash; one that was forged to is refused once more."""
    parts = (scope.agent, scope.tenant, scope.user)
    if any("/" in part or "\0" in part for part in parts):
        raise UsageError(f"{scope!r:.60} is not a scope", hint="make one: Scope(agent=…, tenant=…, user=…)")
    return "/".join(parts)


def _settings(reach: Reach) -> dict[str, str]:
    """What makes a read that of a scope, or an operator's."""
    return {SETTING: _spelled(reach)} if isinstance(reach, Scope) else {"role": ADMIN, SETTING: ""}


def _scope(reach: Reach | None) -> str:
    """What makes a transaction that of a scope: the same as set_config(…, true), at half its price.

    A connection acts as the application's role, so only an operator's verb changes it.
    """
    if isinstance(reach, Scope):
        return f"SET LOCAL {SETTING} = {_literal(_spelled(reach))}"
    return f"SET LOCAL {SETTING} = ''" if reach is None else f"SET LOCAL ROLE {ADMIN}; SET LOCAL {SETTING} = ''"


def _within(reach: Reach | None) -> str:
    """As `_scope`, where the transaction may have been an operator's so far."""
    return _scope(reach) if reach is EVERYWHERE else f"SET LOCAL ROLE {APP}; {_scope(reach)}"


def _literal(words: str) -> str:
    """A string constant that means the same however the server is set: quotes doubled, backslashes escaped."""
    return "E'" + words.replace("\\", "\\\\").replace("'", "''") + "'"
