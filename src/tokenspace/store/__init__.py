"""Stores: SQLite, PostgreSQL and memory, behind one protocol and one conformance suite (`testing.check_store`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tokenspace.errors import UsageError
from tokenspace.store.memory import MemoryStore

if TYPE_CHECKING:
    from tokenspace.store.sql import SqlStore

__all__ = ["MemoryStore", "open_store"]


def _now() -> datetime:
    return datetime.now(UTC)


def open_store(url: str, *, clock: Callable[[], datetime] = _now) -> SqlStore | MemoryStore:
    """The store at a URL: `sqlite:///file.db`, `postgresql://user@host/database` or `memory:`.

    An empty database is created, an older one migrated. Revisions are stamped by `clock`. Raises `UsageError` for
    another URL, `SchemaMismatch` for a store of a newer version, `BadData` for a file that is no database and
    `StoreUnavailable` for one that cannot be reached.
    """
    if url == "memory:":
        return MemoryStore(clock=clock)
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from tokenspace.store.sql import SqlStore
        from tokenspace.store.sqlite import SqliteHooks

        return SqlStore(SqliteHooks(Path(rest[1:])), clock=clock)
    if scheme in {"postgresql", "postgres"}:
        from sqlalchemy import make_url

        from tokenspace.store.postgresql import PostgresqlHooks
        from tokenspace.store.sql import SqlStore

        return SqlStore(PostgresqlHooks(make_url(f"postgresql://{rest}")), clock=clock)
    raise UsageError(
        f"{url!r} is not the URL of a store", hint="use sqlite:///path/to/file.db, postgresql://… or memory:"
    )
