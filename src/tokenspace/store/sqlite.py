"""SQLite: the pragmas, the library's version, and what its errors mean.

A private SQLite is loaded (`pysqlite3`), because versions before 3.51.3 can corrupt a WAL database that several
connections use, and that is what most Python builds link. Never open the same file with Python's own `sqlite3` module
in one process: closing one library's connection drops the other's locks.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from tokenspace.errors import BadData, CorruptLedger, StoreUnavailable, TokenspaceError

if TYPE_CHECKING:
    from tokenspace.store.database import Database
    from tokenspace.store.scoped import Reach

MIN_VERSION: Final = (3, 51, 3)
BUSY_TIMEOUT_MS: Final = 15_000

# synchronous=FULL: a commit that was acknowledged survives a power cut, at the price of one fsync.
_PRAGMAS: Final = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
)

_HINTS: Final = (
    ("locked", "another process is writing: try again, or stop the one that holds the file"),
    ("full", "free some space on the disk and try again: what was acknowledged is kept"),
    ("readonly", "make the file and its directory writable, or open a copy"),
    ("unable to open", "check that the directory exists and may be written to"),
    ("disk I/O", "check the disk (space, quota, health) and try again: what was acknowledged is kept"),
)


class SqliteHooks:
    """A file."""

    begin = "BEGIN IMMEDIATE"
    snapshot = "BEGIN"
    one_writer = True
    owner = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = (0, 0)
        self._module: Any = importlib.import_module("pysqlite3.dbapi2")
        if self._module.sqlite_version_info < MIN_VERSION:
            raise StoreUnavailable(
                f"SQLite {self._module.sqlite_version} may corrupt a store that two connections write to",
                hint=f"install pysqlite3 with SQLite {'.'.join(map(str, MIN_VERSION))} or later",
            )

    def engine(self) -> Engine:
        """Makes the file, readable by its owner only, where there is none."""
        _touch(self.path)
        self.in_place()
        engine = create_engine(
            f"sqlite:///{self.path}",
            module=self._module,
            poolclass=NullPool,
            connect_args={"check_same_thread": False, "isolation_level": None, "timeout": BUSY_TIMEOUT_MS / 1000},
        )
        event.listen(engine, "connect", _configure)
        return engine

    def control(self, raw: Any, sql: str) -> None:
        """Run what begins or ends a transaction."""
        raw.driver_connection.execute(sql)

    def read(self, raw: Any, cursor: Any, reach: Reach, sql: str, values: Any) -> None:
        """Execute; the file knows no scopes."""
        cursor.execute(sql, values)

    def writing(self, reach: Reach | None) -> str:
        """Begin as a writer."""
        return self.begin

    def within(self, reach: Reach | None) -> str:
        """Nothing: scopes are in the statements."""
        return ""

    def secure(self, database: Database) -> None:
        """Nothing to set up: who can read the file can read all of it, and `scoped.check` guards every statement."""

    def errors(self) -> type[Exception]:
        """The driver's root exception."""
        return self._module.Error

    def explain(self, error: Exception) -> TokenspaceError | None:
        """Locked, full, read-only, unreachable; not a database; damaged."""
        text = str(error)
        if "not a database" in text:
            return BadData(f"{self.path} is not a tokenspace store", hint="name another file, or a new one")
        if "malformed" in text or "Could not decode" in text:
            return CorruptLedger(
                f"{self.path} is damaged: {text}", hint="restore a backup (tokenspace backup makes them)"
            )
        if isinstance(error, self._module.OperationalError):
            for part, hint in _HINTS:
                if part in text:
                    return StoreUnavailable(f"{self.path}: {text}", hint=hint)
        return None

    def in_place(self) -> bool:
        """Whether the file is still the one that it was; raises `StoreUnavailable` where it is gone."""
        try:
            found = self.path.stat()
        except OSError as error:
            raise StoreUnavailable(
                f"{self.path} is gone: {error.strerror}", hint="put it back, or restore a backup in its place"
            ) from error
        before, self._place = self._place, (found.st_dev, found.st_ino)
        return before == self._place

    def lock_schema(self, connection: Connection) -> None:
        """BEGIN IMMEDIATE holds the file already."""

    def lock(self, connection: Connection) -> None:
        """BEGIN IMMEDIATE holds the file already."""

    def after_load(self, connection: Connection) -> None:
        """Row ids go on from the largest by themselves."""

    def scrub(self, database: Database, *, tables: Sequence[str] = ()) -> str:
        """Rewrite the file without what is free in it, and empty the log beside it; for few tables, only empty that.

        Rows are overwritten when they are deleted, but copies of them may stay behind where the tree was balanced: so
        the file is rewritten. Raises `StoreUnavailable` while a reader keeps the log from being emptied.
        """
        with database.translating():
            connection = self._module.connect(str(self.path), isolation_level=None)
            try:
                for pragma in _PRAGMAS:
                    connection.execute(pragma).fetchall()
                if not tables:
                    connection.execute("VACUUM")
                busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.close()
        if busy and not tables:
            hint = "stop who reads it for so long, then run tokenspace forget --resume"
            raise StoreUnavailable(f"{self.path}: its log is still being read", hint=hint)
        return "the file was rewritten and its log emptied"

    def copy(self, path: Path) -> None:
        """All pages of one consistent state into a new file, while others read and write this one."""
        _touch(path)
        source, target = self._module.connect(str(self.path)), self._module.connect(str(path))
        try:
            source.execute(_PRAGMAS[0])
            source.backup(target)
        finally:
            target.close()
            source.close()


def _touch(path: Path) -> None:
    """Make the file, readable by its owner only, where there is none."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreUnavailable(
            f"cannot open {path}: {error.strerror}", hint="check that its directory exists and that you may write there"
        ) from error


def _configure(connection: Any, _record: object) -> None:
    for pragma in _PRAGMAS:
        connection.execute(pragma).fetchall()
