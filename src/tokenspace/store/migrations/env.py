"""Runs migrations on the connection, and in the transaction, that `tokenspace.store.migrate` opened."""

from __future__ import annotations

from alembic import context

from tokenspace.store.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
context.run_migrations()
