"""Copying a whole store: back it up, or move it to another database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Table, func, select

from tokenspace.errors import CorruptLedger, UsageError
from tokenspace.store.schema import branch, metadata
from tokenspace.store.sql import SqlStore
from tokenspace.store.verify import verify

BATCH: Final = 1_000
Progress = Callable[[str, int, int], None]


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
