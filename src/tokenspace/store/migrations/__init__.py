"""Alembic's environment; there is no ini file: `tokenspace.store.migrate` configures it."""
