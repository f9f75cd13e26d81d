"""Copying a whole store: back it up, or move it to another database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, func, select

from tokenspace.domain import Scope
from tokenspace.errors import CorruptLedger, UsageError
from tokenspace.store.bodies import SEALED
from tokenspace.store.schema import branch, erasure, keyring, metadata
from tokenspace.store.sealing import Body, Erased, as_text
from tokenspace.store.sql import SqlStore
from tokenspace.store.verify import verify

BATCH: Final = 1_000
Progress = Callable[[str, int, int], None]


def _nothing(_table: str, _done: int, _total: int) -> None:
    """No progress is shown."""


def move(source: SqlStore, target: SqlStore, *, progress: Progress = _nothing) -> int:
    """Copy everything into an empty store of either kind, every id kept; returns the number of rows.

    All or nothing: it is one transaction of the target, which is verified before it is committed, and one consistent
    state of the source, which is left as it is. What is sealed is sealed anew, with the target's keys if it has any.
    Which keys were destroyed, and what receipts are signed with, goes along. `progress(table, rows done, rows of that
    table)` is called after each batch. Raises `UsageError` if the target holds anything or an erasure is not finished,
    `CorruptLedger` if the copy does not verify, `NotFound` if a key of the source is missing.
    """
    for scope in source.admin.scopes():
        target.db.seals.ready(scope, making=True)
    return _move(source, target, progress, _Resealed(source, target))


def _move(source: SqlStore, target: SqlStore, progress: Progress, bodies: _Bodies) -> int:
    with source.db.administering(snapshot=True) as old, target.db.administering() as new:
        target.db.hooks.lock(new)
        if new.execute(select(func.count()).select_from(branch)).scalar():
            raise UsageError("the target store is not empty", hint="move into a new file or database")
        bodies.begin(old, new)
        total = sum(_copy(old, new, table, progress, bodies) for table in bodies.tables())
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

    SQLite copies its own pages; a PostgreSQL store is moved into the file. What is sealed stays so, and no key is in
    the copy: who destroys one makes it useless in all copies. Raises `UsageError` if the file exists.
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
            _move(store, target, progress, _Bodies())
        finally:
            target.close()
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _no_clock() -> datetime:
    raise AssertionError("copying commits nothing")


def _copy(old: Connection, new: Connection, table: Table, progress: Progress, bodies: _Bodies) -> int:
    total = old.execute(select(func.count()).select_from(table)).scalar_one()
    done = 0
    rows = old.execution_options(yield_per=BATCH).execute(select(table).order_by(*table.primary_key.columns))
    for batch in rows.mappings().partitions(BATCH):
        new.execute(table.insert(), [bodies.row(table, row) for row in batch])
        done += len(batch)
        progress(table.name, done, total)
    return total


class _Bodies:
    """What becomes of bodies on their way: here they stay as they are, in the form that every database takes."""

    def begin(self, old: Connection, new: Connection) -> None:
        """The keys of the copy are those of the source."""
        new.execute(delete(keyring))

    def tables(self) -> list[Table]:
        """What is copied, in an order that foreign keys allow."""
        return metadata.sorted_tables

    def row(self, table: Table, row: Mapping[Any, Any]) -> dict[str, Any]:
        """What is kept of a row."""
        return {**row, "body": self._body(table, row)} if table in SEALED else dict(row)

    def _body(self, table: Table, row: Mapping[Any, Any]) -> Body:
        return as_text(row["body"])


class _Resealed(_Bodies):
    """Opened with the keys of one store, sealed with those of another; what nobody can read any more stays as it is."""

    def __init__(self, source: SqlStore, target: SqlStore) -> None:
        self._from, self._to = source.db.seals, target.db.seals
        self._scopes: dict[int, Scope] = {}

    def begin(self, old: Connection, new: Connection) -> None:
        lines = old.execute(select(branch.c.id, branch.c.agent, branch.c.tenant, branch.c.user))
        self._scopes = {id: Scope(agent=agent, tenant=tenant, user=user) for id, agent, tenant, user in lines}
        if old.execute(select(func.count()).where(erasure.c.finished.is_(None))).scalar():
            raise UsageError(  # it names keys that the copy does not have
                "an erasure is not finished, and what is to go would be copied",
                hint="finish it first: tokenspace forget --resume",
            )
        self._to.inherit(self._from)

    def tables(self) -> list[Table]:
        return [table for table in metadata.sorted_tables if table is not keyring]  # the target has its own

    def _body(self, table: Table, row: Mapping[Any, Any]) -> Body:
        scope, id = self._scopes[row["branch"]], bytes(row[SEALED[table]])
        try:
            text = self._from.unseal(scope, table.name, id, row["body"])
        except Erased:
            return as_text(row["body"])
        return self._to.seal(scope, table.name, id, text)
