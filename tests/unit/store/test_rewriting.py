"""I10, on PostgreSQL: what was forgotten is in no file of the server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from tokenspace.domain import Scope
from tokenspace.forget import find, forget
from tokenspace.testing.histories import Happening, Stage

CANARY = "walrus-5521"
ANN = Scope(agent="desk", tenant="acme", user="ann-walrus-5521")
BOB = Scope(agent="desk", tenant="acme", user="bob")


def holding(folder: Path) -> list[str]:
    """The server's files in which the canary is."""
    files = [path for part in ("base", "global", "pg_wal") for path in (folder / part).rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(folder)) for path in files if CANARY.encode() in path.read_bytes())


@pytest.mark.slow
def test_i10_tables_statistics_and_log_of_the_server_hold_nothing_of_it(postgresql_url):
    with psycopg.connect(postgresql_url, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET wal_recycle = off")
        admin.execute("SELECT pg_reload_conf()")
        folder = Path(admin.execute("SHOW data_directory").fetchone()[0])
    stage = Stage(postgresql_url)
    for number in range(60):
        scope, text = (ANN, f"{CANARY} {number}") if number % 2 else (BOB, f"words {number}")
        act, say = f"{number:032x}", f"{number + 1000:032x}"
        stage.play([
            Happening("act", scope, act, text=text),
            Happening("say", scope, say, (act,), text, scope.user),
            Happening("learn", scope, say, (say,), by="note@1"),
        ])  # fmt: skip
    with psycopg.connect(postgresql_url, autocommit=True) as admin:
        admin.execute("ANALYZE")  # as the server does it by itself
        samples = admin.execute("SELECT * FROM pg_stats WHERE schemaname = 'tokenspace'").fetchall()
        assert f"{CANARY} " not in str(samples), "no text is sampled, only names that are looked up"
        admin.execute("CHECKPOINT")
    assert holding(folder)
    told = asyncio.run(forget(stage.parts, stage.store.admin, find(stage.store.admin, ANN, "user")))
    assert "the old removed" in told.scrubbed
    assert stage.store.admin.verify() == []
    stage.store.close()
    assert holding(folder) == []
