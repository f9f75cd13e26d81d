"""What an operator does across scopes: list them, verify the ledger, back it up, move it to another database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Table, func, literal_column, select

from tokenspace.domain import Scope
from tokenspace.errors import CorruptLedger, UsageError
from tokenspace.store.database import Database
from tokenspace.store.schema import branch, metadata
from tokenspace.store.verify import verify

if TYPE_CHECKING:
    from tokenspace.store.sql import SqlStore

BATCH: Final = 1_000
Progress = Callable[[str, int, int], None]

SCOPES: Final = select(branch.c.agent, branch.c.tenant, branch.c.user).where(branch.c.name == literal_column("''"))


class SqlAdmin:
    """Implements `protocols.Admin`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def scopes(self, agent: str | None = None) -> list[Scope]:
        """Every scope that holds anything, sorted; of one agent, or of all."""
        rows = self._db.rows(SCOPES)
        return sorted(
            Scope(agent=name, tenant=tenant, user=user) for name, tenant, user in rows if agent in {None, name}
        )

    def verify(self) -> list[str]:
        """Re-derive the whole ledger; the problems found, in words. Empty: every byte is as it was committed."""
        try:
            with self._db.administering(snapshot=True) as connection:
                return verify(connection)
        except CorruptLedger as error:  # not even readable
            return [str(error)]


def _nothing(_table: str, _done: int, _total: int) -> None:
    """No progress is shown."""


def move(source: SqlStore, target: SqlStore, *, progress: Progress = _nothing) -> int:
    """Copy everything into an empty store of either kind, every id kept; returns the number of rows.

    All or nothing: it is one transaction of the target, which is verified before it is committed, and one consistent
    state of the source, which is left as it is. `progress(table, rows done, rows of that table)` is called after
    each batch. Raises `UsageError` if the target holds anything, `CorruptLedger` if the copy does not verify.
    """
    with source.db.administering(snapshot=True) as old, target.db.administering() as new:
        target.db.hooks.lock_schema(new)
        if new.execute(select(func.count()).select_from(branch)).scalar():
            raise UsageError("the target store is not empty", hint="move into a new file or database")
        total = sum(_copy(old, new, table, progress) for table in metadata.sorted_tables)
        target.db.hooks.after_load(new)
        problems = verify(new)
        if problems:
            raise CorruptLedger(
                f"the copy does not verify: {problems[0]} ({len(problems)} problems)",
                hint="nothing was written to the target; run tokenspace verify on the source",
            )
    return total


def backup(store: SqlStore, path: Path, *, progress: Progress = _nothing) -> None:
    """A copy of a store as a new SQLite file, made while the store is in use.

    SQLite copies its own pages; a PostgreSQL store is moved into the file. Raises `UsageError` if the file exists.
    """
    from tokenspace.store.sql import SqlStore
    from tokenspace.store.sqlite import SqliteHooks

    if path.exists():
        raise UsageError(f"{path} exists already", hint="name a new file: a backup never overwrites one")
    hooks = store.db.hooks
    try:
        if isinstance(hooks, SqliteHooks):
            with store.db.translating():
                hooks.copy(path)
            return
        target = SqlStore(SqliteHooks(path), clock=_no_clock)
        try:
            move(store, target, progress=progress)
        finally:
            target.close()
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _no_clock() -> datetime:
    raise AssertionError("copying commits nothing")


def _copy(old: Connection, new: Connection, table: Table, progress: Progress) -> int:
    total = old.execute(select(func.count()).select_from(table)).scalar_one()
    done = 0
    rows = old.execution_options(yield_per=BATCH).execute(select(table).order_by(*table.primary_key.columns))
    for batch in rows.mappings().partitions(BATCH):
        new.execute(table.insert(), [dict(row) for row in batch])
        done += len(batch)
        progress(table.name, done, total)
    return total
