"""Opening a database: create the tables where there are none, migrate an older store, refuse a newer one."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from tokenspace.errors import SchemaMismatch
from tokenspace.store.database import Database
from tokenspace.store.schema import SCHEMA_VERSION, VERSION_TABLE, metadata


def prepare(db: Database) -> None:
    """Bring the schema to `SCHEMA_VERSION`, one process at a time. Raises `SchemaMismatch`."""
    with db.administering(snapshot=True, owner=True) as connection:
        if _version(connection) == SCHEMA_VERSION:
            return
    with db.administering(owner=True) as connection:
        db.hooks.lock_schema(connection)
        version = _version(connection)
        if version == SCHEMA_VERSION:
            return  # another process was quicker
        if version is None:
            taken = sorted(set(inspect(connection).get_table_names()) & set(metadata.tables))
            if taken:
                raise SchemaMismatch(
                    f"the database has tables of another program: {', '.join(taken)}",
                    hint="give tokenspace a file or database of its own",
                )
        _upgrade(connection, version)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - our constant


def _upgrade(connection: Connection, version: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    try:
        ScriptDirectory.from_config(config).get_revision(version or "base")
    except CommandError:
        raise SchemaMismatch(
            f"the store has schema {version}, and this tokenspace knows {SCHEMA_VERSION}",
            hint="a newer tokenspace wrote it: upgrade with pip install --upgrade tokenspace; nothing was changed",
        ) from None
    command.upgrade(config, "head")
