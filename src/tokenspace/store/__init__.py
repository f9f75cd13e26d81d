"""Stores: SQLite, PostgreSQL and memory, behind one protocol and one conformance suite (`testing.check_store`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tokenspace.errors import UsageError
from tokenspace.store.memory import MemoryStore

if TYPE_CHECKING:
    from tokenspace.store.keyfiles import KeyFolder
    from tokenspace.store.sql import SqlStore

__all__ = ["MemoryStore", "open_store"]

KEYS: Final = "TOKENSPACE_KEYS"
"""The environment variable that names the folder of keys; "off" for none."""


def _now() -> datetime:
    return datetime.now(UTC)


def open_store(
    url: str, *, clock: Callable[[], datetime] = _now, keys: str | Path | KeyFolder | None = None
) -> SqlStore | MemoryStore:
    """The store at a URL: `sqlite:///file.db`, `postgresql://user@host/database` or `memory:`.

    An empty database is created, an older one migrated. Revisions are stamped by `clock`. `keys` is the folder of the
    keys that seal what users say, or "off"; by default TOKENSPACE_KEYS names it, and if that is unset it is the folder
    `keys` beside a SQLite file, and none for PostgreSQL.

    Raises `UsageError` for another URL, `SchemaMismatch` for a store of a newer version, `BadData` for a file that is
    no database and `StoreUnavailable` for one that cannot be reached.
    """
    if url == "memory:":
        return MemoryStore(clock=clock)
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from tokenspace.store.sql import SqlStore
        from tokenspace.store.sqlite import SqliteHooks

        path = Path(rest[1:])
        return SqlStore(SqliteHooks(path), clock=clock, keys=_folder(keys, path.parent / "keys"))
    if scheme in {"postgresql", "postgres"}:
        from sqlalchemy import make_url

        from tokenspace.store.postgresql import PostgresqlHooks
        from tokenspace.store.sql import SqlStore

        return SqlStore(PostgresqlHooks(make_url(f"postgresql://{rest}")), clock=clock, keys=_folder(keys, None))
    raise UsageError(
        f"{url!r} is not the URL of a store", hint="use sqlite:///path/to/file.db, postgresql://… or memory:"
    )


def _folder(given: str | Path | KeyFolder | None, default: Path | None) -> KeyFolder | None:
    """The folder of keys that was named, or else the default one, which need not be usable."""
    from tokenspace.store.keyfiles import KeyFolder

    if isinstance(given, KeyFolder):
        return given
    named = given or os.environ.get(KEYS, "")
    if named == "off":
        return None
    if named:
        return KeyFolder(Path(named))
    return None if default is None else KeyFolder(default, needed=False)
